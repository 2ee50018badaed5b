"""Serves one candidate until its input ends, as `python -m` with the argument SERVING_ROOT.

A process of its own, so that its memory is the server's. The first line of its output is
{"port": N} or {"error": "why the server doesn't take the model"}. It stops when its parent does.
"""

import json
import os
import sys
from pathlib import Path

# The process that trained may still hold the GPU's memory.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_USE_LEGACY_KERAS"] = "0"

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.lean import lean_import
from cxrflow.serving.settings import ServerConfig


def main(root: Path) -> None:
    """Serves `root` on a free port."""
    with lean_import():
        from cxrflow.serving.server import running

    try:
        with running(root, ServerConfig(grpc_port=0, rest_port=0)) as server:
            print(json.dumps({"port": server.grpc_port}), flush=True)
            sys.stdin.read()
    except CxrflowError as error:
        print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
