"""Where the environment and what it is made of lie."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
LOCK = REPO / "requirements.lock"
LOG = REPO / ".venv.log"
VENV = Path(os.path.realpath(str(REPO / ".venv")))  # a link to a larger disk is followed
STAMP = VENV / "cxrflow.json"  # written last: an environment without it is not used
