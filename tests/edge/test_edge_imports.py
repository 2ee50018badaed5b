"""What goes to the device finds there what it imports."""

import ast
import sys
from collections.abc import Iterator

import pytest

from cxrflow.components.edge.device import device_files

SCRIPTS = [path for path in device_files() if path.suffix == ".py"]
OWN = {path.stem for path in SCRIPTS}
# Beside Python's own: pictures, and engines with what they are given.
THERE = {"PIL", "google.protobuf", "numpy", "onnxruntime", "tensorflow"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_what_is_on_the_device(path):
    assert not set(elsewhere(path.read_text()))


def test_the_check_sees_what_it_should():
    source = """
import os.path, numpy as np
import cxrflow.schema.portable.scores
from google.protobuf.message import DecodeError
from google.cloud import storage
from tensorflow.python.compiler import tensorrt
from bundle import Bundle
from . import labels
def late():
    import cv2
    from schema.errors import CxrflowError
"""
    assert list(elsewhere(source)) == [
        "cxrflow.schema.portable.scores",
        "google.cloud",
        ".",
        "cv2",
        "schema.errors",
    ]


def elsewhere(source: str) -> Iterator[str]:
    """Modules that a script imports, late or not, and that aren't on the device."""
    for node in ast.walk(ast.parse(source)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        for module in modules:
            first = module.split(".")[0]
            known = first in sys.stdlib_module_names | OWN
            if not known and not any(f"{module}.".startswith(f"{one}.") for one in THERE):
                yield module
