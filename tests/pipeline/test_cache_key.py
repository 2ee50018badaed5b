"""A node's key follows the code that it runs, all of it and nothing else."""

import os
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from cxrflow.pipeline.cache_key import FOLDERS, ROOT, Sources
from tests.support.executors import EXECUTORS


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources.read()


@pytest.fixture(scope="module")
def package_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with nothing but the package cxrflow, as it is installed."""
    path = tmp_path_factory.mktemp("package")
    (path / "cxrflow").mkdir()
    (path / "cxrflow" / "__init__.py").touch()
    for folder in FOLDERS:
        (path / "cxrflow" / folder).symlink_to(ROOT / folder)
    return str(path)


@pytest.mark.parametrize("node", EXECUTORS)
def test_all_that_python_itself_would_import_counts(
    node: str, sources: Sources, package_path: str
) -> None:
    """The standard library's finder reads compiled code, and so is another witness."""
    finder = ModuleFinder([package_path])
    for module in EXECUTORS[node]:
        finder.import_hook(module)
    imported = {
        os.path.relpath(module.__file__, f"{package_path}/cxrflow")
        for module in finder.modules.values()
        if module.__file__
    } - {"__init__.py"}
    assert {_path(module) for module in EXECUTORS[node]} <= imported  # the finder works
    missing = imported - set(sources.closure(*EXECUTORS[node]))
    assert not missing


@pytest.mark.parametrize("node", EXECUTORS)
def test_a_key_changes_with_what_the_node_needs_and_with_nothing_else(
    node: str, sources: Sources
) -> None:
    modules = EXECUTORS[node]
    before, needed = sources.key(*modules), set(sources.closure(*modules))
    assert needed < sources.files.keys()
    for path in needed:
        changed = sources.changed(path, sources.files[path] + b"\n# changed\n")
        assert changed.key(*modules) != before, path
    others = sources
    for path in sources.files.keys() - needed:
        others = others.changed(path, b"raise SystemExit\n")
    assert others.key(*modules) == before


# What no import statement tells: (node, file).
NEEDED = (
    ("Evaluator", "components/evaluate/ece.py"),  # TFMA imports the metrics by name
    ("ServingCheck", "components/publish/candidate.py"),  # a process of its own
    ("ServingCheck", "serving/rest.py"),  # which that process imports
    ("ServingCheck", "schema/dicom/run_gdcm.py"),  # a script beside its caller
    ("EdgeExport", "components/edge/runners.py"),  # a process of its own
    ("EdgeExport", "edge/infer.py"),  # copied into the bundle
    ("EdgeExport", "edge/tx2-up.sh"),
    ("EdgeExport", "schema/portable/label_table.py"),
    ("EdgeEvaluator", "edge/frozen.py"),
    # The image's rules are part of the graph that is exported.
    ("Trainer", "schema/image_rules.py"),
    ("Ensemble", "schema/image_rules.py"),
    ("ImageExampleGen", "schema/image_rules.py"),
)
NOT_NEEDED = (
    ("Evaluator", "pipeline/reports/dashboard/pages.py"),
    ("Gate", "pipeline/reports/dashboard/pages.py"),
    ("Gate", "components/train/fit.py"),
    ("Trainer", "components/train/check.py"),
    ("Trainer", "components/evaluate/gate.py"),
    ("Trainer", "serving/server.py"),
    ("ImageExampleGen", "components/ingest/phantom/writer.py"),
    ("RecipeCheck", "components/train/fit.py"),
    ("Transform", "components/train/inputs.py"),
    ("EdgeExport", "components/train/inputs.py"),
    ("Ensemble", "components/train/out_of_distribution.py"),
    ("Pusher", "serving/rest.py"),
    ("EdgePusher", "edge/infer.py"),
    ("Tuner", "components/study/tables.py"),
    ("EdgeExport", "schema/schema.pbtxt"),  # schema/portable is meant, not all of schema
)


@pytest.mark.parametrize(("node", "path"), NEEDED)
def test_what_no_import_tells_counts_too(node: str, path: str, sources: Sources) -> None:
    assert path in sources.closure(*EXECUTORS[node])


@pytest.mark.parametrize(("node", "path"), NOT_NEEDED)
def test_what_a_node_does_not_need_leaves_it_cached(node: str, path: str, sources: Sources) -> None:
    assert path in sources.files
    assert path not in sources.closure(*EXECUTORS[node])


def _path(module: str) -> str:
    return f"{'/'.join(module.split('.')[1:])}.py"


MADE_UP = {
    "components/__init__.py": b"",
    "components/a/__init__.py": b"from cxrflow.schema import in_package\n",
    "components/a/run.py": b"""
import os
from cxrflow.schema.plain import value
from . import beside
from ..b import other as renamed
if True:
    def inside():
        import cxrflow.schema.inside
        class C:
            from cxrflow.schema.deep import x
PROCESS = ["-m", "cxrflow.schema.process"]
TEXT = "read cxrflow.schema.in_text for more"
DATA = Path(__file__).parent / "data.yaml"
FOLDER = Path(__file__).resolve().parents[2] / "edge"
SCRIPT = str(Path(__file__).with_name("script.py"))
PART = Path(__file__).parents[2] / "serving" / "part"
ABOVE = Path(__file__).parents[9] / "x"
""",
    "components/a/beside.py": b"import cxrflow.schema.further as further",
    "components/a/data.yaml": b"",
    "components/a/data.yaml.txt": b"",
    "components/a/script.py": b"from cxrflow.schema.of_script import x",
    "components/a/unused.py": b"",
    "components/b/__init__.py": b"",
    "components/b/other.py": b"import cxrflow.components.a.run  # a circle",
    "edge/device.sh": b"",
    "edge/below/device.py": b"",
    "serving/part/file.txt": b"",
    "serving/whole.py": b"",
    "schema/deep.py": b"",
    "schema/further.py": b"",
    "schema/in_package.py": b"",
    "schema/in_text.py": b"",
    "schema/inside.py": b"",
    "schema/of_script.py": b"",
    "schema/plain.py": b"",
    "schema/process.py": b"",
    "schema/unused.py": b"",
}


def test_what_counts_in_a_made_up_package() -> None:
    unused = {
        "components/a/data.yaml.txt",
        "components/a/unused.py",
        "schema/in_text.py",
        "schema/unused.py",
        "serving/whole.py",
    }
    found = Sources(MADE_UP).closure("cxrflow.components.a.run.run_fn")
    assert found == sorted(MADE_UP.keys() - unused)


def test_a_new_file_that_is_imported_counts() -> None:
    before = Sources({"schema/a.py": b"from cxrflow.schema import b"})
    assert before.changed("schema/b.py", b"").key("cxrflow.schema.a") != before.key(
        "cxrflow.schema.a"
    )


@pytest.mark.parametrize(
    "module",
    ["cxrflow.components.missing.run", "cxrflow.components.a.missing", "tensorflow", "cxrflow"],
)
def test_a_module_that_is_not_there_is_refused(module: str) -> None:
    with pytest.raises(ValueError, match=f"there is no module {module}"):
        Sources(MADE_UP).key(module)


def test_the_place_of_the_package_does_not_count(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name / "schema" / "__pycache__").mkdir(parents=True)
        (tmp_path / name / "schema" / "a.py").write_bytes(b"1")
        (tmp_path / name / "schema" / "__pycache__" / "a.pyc").write_bytes(name.encode())
    here, there = Sources.read(tmp_path / "here"), Sources.read(tmp_path / "there")
    assert here.files == {"schema/a.py": b"1"}
    assert here.key("cxrflow.schema.a") == there.key("cxrflow.schema.a")
