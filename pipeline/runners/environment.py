"""Settings of the runner files, which TFX's command line starts without arguments of ours.

CXRFLOW_PROFILE  a profile's name or a YAML file (default: demo)
CXRFLOW_DATA     folder of X-rays (default: the profile's phantoms)
CXRFLOW_ROOT     folder of the run (default: runs/<profile> in the current folder)
CXRFLOW_SET      overrides, separated by spaces: "train.epochs=3 train.seed=1"
"""

import os
from pathlib import Path

from tfx import v1 as tfx

from pipeline import config, dag, data
from schema.paths import require_root


def pipeline_from_environment() -> tfx.dsl.Pipeline:
    """The pipeline that the environment variables describe."""
    profile = os.environ.get("CXRFLOW_PROFILE", "demo")
    settings = config.load(profile, os.environ.get("CXRFLOW_SET", "").split())
    root = require_root(Path(os.environ.get("CXRFLOW_ROOT", f"runs/{Path(profile).stem}")))
    folder = os.environ.get("CXRFLOW_DATA")
    found = data.find(settings, Path(folder) if folder else None, root)
    return dag.create_pipeline(settings, data_dir=found, root=root)
