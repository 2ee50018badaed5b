"""Settings of the runner files, which TFX's command line starts without arguments of ours.

CXRFLOW_PROFILE  a profile's name or a YAML file (default: demo)
CXRFLOW_DATA     folder of X-rays (default: the profile's phantoms)
CXRFLOW_ROOT     folder of the run (default: runs/<profile> in the current folder)
CXRFLOW_SET      overrides, separated by spaces: "train.epochs=3 train.seed=1"
"""

import os
from pathlib import Path

from cxrflow.pipeline import config, data
from cxrflow.pipeline.run import create_pipeline, inside, with_absolute_paths
from cxrflow.schema.paths import require_root


def run_from_environment(engine: str) -> None:
    """Runs the pipeline that the environment variables describe, as `cxrflow run` does."""
    profile = os.environ.get("CXRFLOW_PROFILE", "demo")
    folder = os.environ.get("CXRFLOW_DATA")
    data_dir = Path(folder) if folder else None
    settings = config.load(profile, os.environ.get("CXRFLOW_SET", "").split(), data_dir)
    root = require_root(Path(os.environ.get("CXRFLOW_ROOT", config.run_folder(profile))))
    found = data.find(settings, data_dir, root)
    settings = with_absolute_paths(settings)
    root.mkdir(parents=True, exist_ok=True)
    import cxrflow.pipeline.preloaded  # noqa: F401
    from cxrflow.pipeline import beam_workers, engines

    with inside(root):
        beam_workers.prepare(settings.beam.workers)
        pipeline = create_pipeline(settings, data.as_named(found, root, settings), Path())
        if settings.metadata.is_server:
            pipeline.metadata_connection_config.mysql.password = settings.metadata.password()
        engines.run_pipeline(pipeline, engine)
