"""Settings of the runner files, which TFX's command line starts without arguments of ours.

CXRFLOW_PROFILE  a profile's name or a YAML file (default: demo)
CXRFLOW_DATA     folder of X-rays (default: the profile's phantoms)
CXRFLOW_ROOT     folder of the run (default: runs/<profile> in the current folder)
CXRFLOW_SET      overrides, separated by spaces: "train.epochs=3 train.seed=1"
"""

import os
from pathlib import Path

from cxrflow.pipeline import config, data
from cxrflow.pipeline.holding import only_run_in
from cxrflow.pipeline.record import Origin, path_below
from cxrflow.pipeline.run import checked, create_pipeline, inside
from cxrflow.pipeline.temporary import temporary_files_in


def run_from_environment(engine: str) -> None:
    """Runs the pipeline that the environment variables describe, as `cxrflow run` does.

    Raises:
        CxrflowError: as `run.execute`.
    """
    profile = os.environ.get("CXRFLOW_PROFILE", "demo")
    given = os.environ.get("CXRFLOW_DATA")
    data_dir = Path(given) if given else None
    settings = config.load(profile, os.environ.get("CXRFLOW_SET", "").split(), data_dir)
    root = Path(os.environ.get("CXRFLOW_ROOT", config.run_folder(profile)))
    settings, root = checked(settings, data_dir, root)
    with only_run_in(root), temporary_files_in(root):
        folder = data.find(settings, data_dir, root)
        import cxrflow.pipeline.preloaded  # noqa: F401
        from cxrflow.pipeline import beam_workers, engines

        with inside(root):
            beam_workers.prepare(settings.beam.workers)
            pipeline = create_pipeline(settings, data.as_named(folder, root, settings), Path())
            if settings.metadata.is_server:
                pipeline.metadata_connection_config.mysql.password = settings.metadata.password()
            below, synthetic = path_below(str(folder), root), data.is_synthetic(folder)
            origin = Origin(config.to_dict(settings), below, synthetic)
            engines.run_pipeline(pipeline, root, origin, engine)
