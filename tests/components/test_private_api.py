"""What no version of TensorFlow, Keras and LiteRT promises stays in one module."""

import ast
import re
from importlib.metadata import version

import pytest

from cxrflow.pipeline.cache_key import Sources

# A new version: run the tests of components/edge/export and components/model, then add it here.
TRIED = {
    "tensorflow": {"2.21.0"},
    "keras": {"3.15.1"},
    "ai-edge-litert": {"2.3.0"},
    "apache-beam": {"2.75.0", "2.77.0"},  # StandardOptions.DEFAULT_RUNNER, see pipeline/engines.py
}
ONE_PLACE = "components/private_api.py"
PRIVATE_MODULE = re.compile(r"keras\.src|tensorflow\.(python|lite)|apache_beam\.\S*\b_")
OF_OTHERS = ("tf", "keras", "beam", "interpreter", "tfx", "tft", "tfdv", "tfma")


@pytest.mark.parametrize("package", TRIED)
def test_the_version_here_was_tried(package: str) -> None:
    assert version(package) in TRIED[package]


def test_no_other_module_reaches_inside() -> None:
    found = {
        f"{path}: {what}"
        for path, source in Sources.read().files.items()
        # The device's scripts run on TensorFlow 2.7 and choose among its interpreters.
        if path.endswith(".py") and not path.startswith("edge/") and path != ONE_PLACE
        for what in _private(ast.parse(source))
    }
    assert not found


def test_the_check_sees_what_it_should() -> None:
    source = """
import keras.src.utils
from apache_beam.options.pipeline_options import StandardOptions
from tensorflow.python.framework import ops
interpreter._get_ops_details()
tf.keras._private
StandardOptions.DEFAULT_RUNNER = "x"
keras.Model.fit = None
from tensorflow.core.framework.graph_pb2 import GraphDef
self._own
logger = logging.getLogger("own")
logger.propagate = False
def scoped():
    StandardOptions.DEFAULT_RUNNER = "x"
"""
    assert sorted(_private(ast.parse(source))) == [
        "StandardOptions.DEFAULT_RUNNER = ...",
        "interpreter._get_ops_details",
        "keras.Model.fit = ...",
        "keras.src.utils",
        "tensorflow.python.framework",
        "tf.keras._private",
    ]


@pytest.mark.tf
def test_it_can_all_be_imported() -> None:
    from cxrflow.components import private_api

    assert all(hasattr(private_api, name) for name in private_api.__all__)


def _private(tree: ast.Module) -> list[str]:
    """Private modules and names of others, and changes of others' attributes at import."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if PRIVATE_MODULE.match(a.name)]
        elif isinstance(node, ast.ImportFrom) and PRIVATE_MODULE.match(node.module or ""):
            found.append(node.module)
        elif isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            whole = ast.unparse(node)
            found += [whole] if whole.split(".")[0] in OF_OTHERS else []
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            target = ast.unparse(node.targets[0])
            found += [f"{target} = ..."] if target.split(".")[0] in imported else []
    return found
