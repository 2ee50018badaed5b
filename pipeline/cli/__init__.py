"""The `cxrflow` command, one module a command group.

TensorFlow and TFX are imported only by the commands that need them.
"""

from cxrflow.pipeline.cli.app import app
from cxrflow.pipeline.cli.main import main

__all__ = ["app", "main"]
