"""What others promise in no version is used in the places that are named here, and in no others."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from cxrflow.pipeline.cache_key import Sources

# A new version: run the tests of the places below that use the package, then add it here.
TRIED = {
    "tensorflow": {"2.21.0"},
    "keras": {"3.12.4", "3.15.1"},  # the first is what Python 3.10 gets
    "ai-edge-litert": {"2.3.0"},
    "apache-beam": {"2.75.0", "2.77.0"},
    "tfx": {"1.21.0"},
    "pillow": {"12.3.0"},
    "pynetdicom": {"3.0.4"},
}
ALL_OF_IT = "components/private_api.py"
# By file, what is used there; methods of `self` are inherited ones, which TFX and Keras call too.
PLACES = {
    "components/evaluate/together/executor.py": {"self._get_tmp_dir"},  # TFX's
    "components/ingest/executor.py": {"self._make_beam_pipeline"},  # TFX's
    "components/publish/executor.py": {"self._MarkNotPushed", "self._MarkPushed"},  # TFX's
    "components/study/executor.py": {"self._get_tmp_dir"},  # TFX's
    "components/train/optimizers.py": {"self._get_variable_index"},  # Keras's
    "components/transform/executor.py": {"self._make_beam_pipeline"},  # TFX's
    "edge/build_trt.py": {"tensorflow.python.compiler.tensorrt"},  # of the device's TensorFlow 2.7
    "edge/png_pixels.py": {"Image._getdecoder"},  # Pillow's
    "pipeline/beam_options.py": {"kind._add_argparse_args", "parser._actions"},  # Beam's, Python's
    "pipeline/beam_workers.py": {  # Beam's
        "apache_beam.runners.portability.fn_api_runner",
        "apache_beam.runners.portability.fn_api_runner.fn_runner",
        "apache_beam.runners.worker.sdk_worker",
        "self.control_conn._futures_by_id",
    },
    "pipeline/worker_pool.py": {"apache_beam.runners.worker.sdk_worker"},  # Beam's
    "serving/gateway/receive.py": {"pynetdicom._config"},  # which its documentation names
    "serving/gateway/send.py": {"pynetdicom._config"},
}
PRIVATE_MODULE = re.compile(
    r"keras\.src|tensorflow\.(python|lite)|apache_beam\.\S*\b_"
    r"|apache_beam\.runners\.(portability\.fn_api_runner|worker)\b"
)
PRIVATE_NAME = re.compile("_[A-Za-z]")
# What is changed at import: environment variables, which libraries read as they are loaded, and
# what belongs to a process whose main module this is.
CHANGED = {
    "components/publish/candidate.py": {
        "os.environ['CUDA_VISIBLE_DEVICES']",
        "os.environ['TF_USE_LEGACY_KERAS']",
    },
    "edge/engines.py": {"os.environ.setdefault"},
    "edge/infer.py": {"sys.dont_write_bytecode"},
    "pipeline/__init__.py": {"os.environ.setdefault", "os.environ['no_proxy']"},
    "pipeline/setup/bootstrap.py": {"sys.path[0]"},
}
# Methods that change a table, and contexts that change one while they last.
CHANGING = {"append", "clear", "extend", "insert", "pop", "setdefault", "update"}
PATCHES = {"bare_tensorflow", "lean_import"}
PUBLIC = {"_asdict", "_exit", "_fields", "_replace"}  # Python's documentation names them


@pytest.mark.parametrize("package", TRIED)
def test_the_version_here_was_tried(package: str) -> None:
    assert version(package) in TRIED[package]


def test_the_insides_of_others_are_used_where_it_is_said() -> None:
    trees = {
        path: ast.parse(source)
        for path, source in Sources.read().files.items()
        if path.endswith(".py") and path != ALL_OF_IT
    }
    own = {name for tree in trees.values() for name in _defined(tree)}
    found = {path: set(_private(tree, own)) for path, tree in trees.items()}
    assert {path: names for path, names in found.items() if names} == PLACES


def test_the_check_sees_what_it_should() -> None:
    source = """
import keras.src.utils
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from pynetdicom import _config
from tensorflow.python.framework import ops
from tensorflow.core.framework.graph_pb2 import GraphDef
from cxrflow.schema.files import _own_too
interpreter._get_ops_details()
tf.keras._private
here.there[0]._deep
other._mine
pair._replace(a=1)
class Own(Theirs):
    def __init__(self):
        self._mine = self._theirs
"""
    tree = ast.parse(source)
    assert sorted(_private(tree, set(_defined(tree)))) == [
        "apache_beam.runners.portability.fn_api_runner",
        "here.there[0]._deep",
        "interpreter._get_ops_details",
        "keras.src.utils",
        "pynetdicom._config",
        "self._theirs",
        "tensorflow.python.framework",
        "tf.keras._private",
    ]


def test_nothing_of_others_is_changed_at_import_but_what_is_named() -> None:
    found = {
        path: set(_changes(ast.parse(source)))
        for path, source in Sources.read().files.items()
        if path.endswith(".py")
    }
    assert {path: changes for path, changes in found.items() if changes} == CHANGED


def test_the_check_of_changes_sees_what_it_should() -> None:
    source = """
import sys
import keras
from apache_beam.options.pipeline_options import StandardOptions
from launcher import OPERATORS
from cxrflow.schema.bare_tensorflow import bare_tensorflow
StandardOptions.DEFAULT_RUNNER = "x"
keras.Model.fit = keras.Model.evaluate = None
OPERATORS[int] = str
if True:
    sys.modules["tensorflow"] = None
    del sys.modules["tensorflow"]
sys.modules.update({})
sys.argv += ["x"]
with bare_tensorflow():
    import tensorflow
logger = logging.getLogger("own")
logger.propagate = False
own = {}
own["a"] = 1
own.update({})
class Own:
    OPERATORS[float] = str
    def scoped(self):
        StandardOptions.DEFAULT_RUNNER = "x"
def scoped():
    StandardOptions.DEFAULT_RUNNER = "x"
    with bare_tensorflow():
        import tensorflow
"""
    assert sorted(_changes(ast.parse(source))) == [
        "OPERATORS[float]",
        "OPERATORS[int]",
        "StandardOptions.DEFAULT_RUNNER",
        "bare_tensorflow()",
        "keras.Model.evaluate",
        "keras.Model.fit",
        "sys.argv",
        "sys.modules.update",
        "sys.modules['tensorflow']",
        "sys.modules['tensorflow']",
    ]


@pytest.mark.tf
def test_it_can_all_be_imported() -> None:
    from cxrflow.components import private_api

    assert all(hasattr(private_api, name) for name in private_api.__all__)


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names that a module gives to something, be it an attribute of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(getattr(node, "ctx", None), ast.Store):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls"):
                yield node.attr


def _private(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """Private modules of others, and private names that aren't among our `own`."""

    def is_private(name: str) -> bool:
        return bool(PRIVATE_NAME.match(name)) and name not in own | PUBLIC

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if PRIVATE_MODULE.match(a.name))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            if PRIVATE_MODULE.match(node.module):
                yield node.module
            elif not node.module.startswith("cxrflow."):
                names = (a.name for a in node.names if PRIVATE_NAME.match(a.name))
                yield from (f"{node.module}.{name}" for name in names)
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            yield ast.unparse(node)


def _changes(tree: ast.Module) -> Iterator[str]:
    """What a module changes of others at import: attributes, entries, and what a block changes."""
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    for node in _at_import(tree):
        changed = ""
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            changed = "" if isinstance(node.ctx, ast.Load) else ast.unparse(node)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in PATCHES:
                yield f"{called}()"
            changed = called if called.rpartition(".")[2] in CHANGING else ""
        if re.split(r"[.\[]", changed)[0] in imported:
            yield changed


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What is run as a module is imported: all but what lies in functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from _at_import(child)
