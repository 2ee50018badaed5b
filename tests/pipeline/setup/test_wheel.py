"""The wheel: one package, all its data, and a client that needs none of TensorFlow."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import cv2
import numpy as np
import pytest
from packaging.requirements import Requirement

from tests.serving.answering import answering

pytestmark = pytest.mark.slow  # a wheel is built, and Python starts often

REPO = Path(__file__).resolve().parents[3]
SOURCES = ("pipeline", "components", "schema", "serving", "edge", "LICENSE", "README.md")
DATA = (
    "py.typed",
    "components/study/study_2019.yaml",
    "edge/README.md",
    "edge/Dockerfile",
    "edge/inference.ipynb",
    "edge/infer.py",
    "edge/tx2-up.sh",
    "pipeline/profiles/demo.yaml",
    "pipeline/reports/dashboard/static/style.css",
    "pipeline/reports/dashboard/templates/report.html",
    "schema/reference.csv",
    "schema/schema.pbtxt",
    "serving/client/protos.json",
    "serving/deploy/kubernetes.yaml",
    "serving/tf_serving/files/compose.yaml",
    "serving/tf_serving/files/nginx/nginx.conf",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources by the setuptools that is here."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    copy.mkdir()
    for name in (*SOURCES, "pyproject.toml", "setup.py"):
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / done.stdout.split()[-1]


def test_one_package_with_all_its_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cxrflow"}
    assert not [name for name in DATA if f"cxrflow/{name}" not in names]
    assert not [name for name in names if "setup" in name or "tests" in name]
    tracked = subprocess.run(
        ["git", "ls-files", "pipeline", "components", "schema", "serving", "edge"],
        cwd=REPO,
        capture_output=True,
        text=True,
    ).stdout.split()
    left_out = {n for n in tracked if f"cxrflow/{n}" not in names}
    assert {n for n in left_out if not n.startswith("pipeline/setup/")} == set()


@pytest.fixture(scope="module")
def light(wheel: Path) -> dict[str, str]:
    """Environment variables under which Python finds the wheel and what it asks for, no more.

    What it asks for is linked from the environment that runs the tests.
    """
    site = wheel.parent / "site"
    zipfile.ZipFile(wheel).extractall(site)
    (info,) = site.glob("*.dist-info")
    asked = [
        line.partition(": ")[2]
        for line in (info / "METADATA").read_text("utf-8").splitlines()
        if line.startswith("Requires-Dist: ")
    ]
    for name in sorted(_closure(asked, frozenset())):
        here = distribution(name)
        for file in here.files or ():
            top = file.parts[0]
            if top not in ("..", "bin", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(str(here.locate_file(top))))
    cleared = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TF_"))}
    return {**cleared, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


def _closure(lines: list[str], extras: frozenset[str]) -> set[str]:
    """The names of all distributions that requirements ask for, with these extras."""
    found: set[str] = set()
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": e}) for e in (*extras, "")):
            continue
        try:
            below = distribution(requirement.name).requires or []
        except PackageNotFoundError:
            pytest.fail(f"{requirement.name} is missing here")
        found |= {requirement.name} | _closure(below, frozenset(requirement.extras))
    return found


def run(light: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    # -S: without the environment's own site-packages.
    return subprocess.run(
        [sys.executable, "-S", *command],
        env=light,
        cwd=Path(light["PYTHONPATH"]).parent,
        capture_output=True,
        text=True,
    )


def cxrflow(light: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return run(light, "-m", "cxrflow.pipeline.cli", *args)


def test_no_tensorflow_comes_along(light: dict[str, str]) -> None:
    there = os.listdir(light["PYTHONPATH"])
    assert "numpy" in there and "pydicom" in there
    assert not [name for name in there if name.lower().startswith(("tensorflow", "tfx", "keras"))]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--help"], 0, "predict"),
        (["--version"], 0, "tfx missing"),
        (["predict", "--help"], 0, "--server"),
        (["config", "show", "train"], 0, "train"),
        (["models", "list", "--help"], 0, "--root"),
    ],
)
def test_commands_that_need_no_tensorflow(
    light: dict[str, str], args: list[str], code: int, said: str
) -> None:
    done = cxrflow(light, *args)
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout


def test_the_doctor_says_what_is_missing(light: dict[str, str]) -> None:
    done = cxrflow(light, "doctor", "--quick")
    assert done.returncode == 1 and not done.stderr
    assert 'tfx, apache-beam, keras, tensorflow-serving-api missing: pip install "cxrflow' in (
        done.stdout
    )


@pytest.mark.parametrize(
    ("args", "extra"),
    [
        (["run"], "pipeline"),
        (["data", "phantom", "--to", "phantoms"], "pipeline"),
    ],
)
def test_others_name_the_extra_in_one_line(
    light: dict[str, str], args: list[str], extra: str
) -> None:
    done = cxrflow(light, *args)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f'pip install "cxrflow[{extra}]"' in done.stderr
    assert not list(Path(light["PYTHONPATH"]).parent.glob("runs"))


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "xray.png"
    path.write_bytes(cv2.imencode(".png", np.full((80, 96), 128, np.uint8))[1].tobytes())
    yield path


def test_predict_and_the_client_ask_a_server(light: dict[str, str], image: Path) -> None:
    with answering() as address:
        done = cxrflow(light, "predict", str(image), "--server", address, "--format", "csv")
        code = (
            "import sys\n"
            "from cxrflow.serving.client import ClientConfig\n"
            "from cxrflow.serving.client.client import Client\n"
            f"with Client(ClientConfig(server={address!r})) as client:\n"
            f"    print(client.check(), client.predict(open({str(image)!r}, 'rb').read()))\n"
            "assert 'tensorflow' not in sys.modules\n"
        )
        asked = run(light, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "Edema" in done.stdout and "0.45" in done.stdout
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("7 Answer(") and "Hernia" in asked.stdout
