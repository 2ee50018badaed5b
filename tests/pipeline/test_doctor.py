"""`cxrflow doctor`: what it finds, and what it says where something is missing."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.pipeline import config, doctor, gpus, needs
from cxrflow.pipeline.setup import machine

LOCK = """\
--hash-less-line
absl-py==2.3.1 ; python_full_version < '4' \\
    --hash=sha256:00
nothing-for-us==1.0 ; sys_platform == 'amiga' \\
plain==3.2
"""


def test_locked_versions_keep_to_what_fits_here() -> None:
    assert doctor.locked_versions(LOCK) == {"absl-py": "2.3.1", "plain": "3.2"}


def test_the_lock_of_this_repository_is_read() -> None:
    lock = Path(doctor.__file__).resolve().parents[1] / "requirements.lock"
    assert doctor.locked_versions(lock.read_text())["tfx"] == "1.21.0"


def findings(folder: Path) -> dict[str, doctor.Finding]:
    return {each.name: each for each in doctor.examine(folder, imports=False)}


def test_a_folder_that_is_not_there_yet(tmp_path) -> None:
    found = findings(tmp_path / "a" / "b")
    assert found["output"] == doctor.Finding("output", "ok", f"{tmp_path} can be written")
    assert str(tmp_path) in found["disk"].text


def test_what_can_not_be_written_is_a_problem(tmp_path, monkeypatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = findings(tmp_path)
    assert found["output"].status == "problem"
    assert "can't be written (Read-only file system)" in found["output"].text


def test_little_space_is_a_problem(tmp_path, monkeypatch) -> None:
    usage = doctor.shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert findings(tmp_path)["disk"].text.startswith("1.0 GB free in")
    assert findings(tmp_path)["disk"].status == "problem"


@pytest.mark.parametrize("profile", ["nih", "nih_baseline"])
def test_what_a_profile_for_gpus_needs_is_what_its_head_says(profile: str) -> None:
    needed = needs.of_profile(profile)
    head = (config.PROFILES / f"{profile}.yaml").read_text().partition("train:")[0]
    for text in (
        f"GPU of {needed.gpu} GB",
        f"{needed.disk} GB of disk",
        f"{needed.memory} GB of memory",
    ):
        assert text in " ".join(head.replace("#", "").split())
    assert needs.of_profile(f"{profile}+external") == needed
    assert needs.of_profile("nih_mini") == needs.of_profile(None) == needs.DEMO


@pytest.mark.parametrize(
    ("of_gb", "profile", "status"),
    [
        ([], None, "note"),
        ([8], None, "ok"),
        ([], "nih", "problem"),
        ([8, 8], "nih", "problem"),
        ([8, 12.88], "nih", "ok"),
    ],
)
def test_gpus_and_their_memory(
    monkeypatch: pytest.MonkeyPatch, of_gb: list[float], profile: str | None, status: str
) -> None:
    here = [gpus.Gpu(f"GPU-{i}", "RTX", gb) for i, gb in enumerate(of_gb)]
    monkeypatch.setattr(gpus, "installed", lambda: here)
    found = doctor._gpus(needs.of_profile(profile))
    assert found.status == status
    for gb in of_gb:
        assert f"RTX of {gb:.1f} GB" in found.text
    assert ("nih is meant for one of 12 GB" in found.text) is bool(profile)


@pytest.mark.parametrize(
    ("version", "status", "text"),
    [
        (("glibc", "2.39"), "ok", "glibc 2.39"),
        (("glibc", "2.100"), "ok", "glibc 2.100"),
        (("glibc", "2.36"), "problem", "glibc 2.36: TFX's packages need 2.39: run `make setup`"),
        (("", ""), "problem", "no glibc: TFX's packages need glibc 2.39"),
    ],
)
def test_the_c_library_is_judged(
    monkeypatch: pytest.MonkeyPatch, version: tuple[str, str], status: str, text: str
) -> None:
    monkeypatch.setattr(doctor.platform, "libc_ver", lambda: version)
    assert ".".join(map(str, machine.GLIBC)) == doctor._GLIBC
    assert doctor._libc() == doctor.Finding("C library", status, text)


OF_KERAS = {
    "MobileNet": "mobilenet_7_5_224_tf_no_top.h5",
    "InceptionV3": "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "VGG19": "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "DenseNet121": "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "ResNet50V2": "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "ConvNeXtTiny": "convnext_tiny_notop.h5",
}


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras's folder with OF_KERAS."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in OF_KERAS.values():
        (folder / name).touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return folder


def test_weights_are_named_for_their_backbones(downloaded: Path) -> None:
    text = f"of {', '.join(OF_KERAS)} in {downloaded}"
    assert doctor._weights() == doctor.Finding("ImageNet weights", "ok", text)


@pytest.mark.parametrize(
    ("train", "status", "text"),
    [
        ({"backbone": "VGG19"}, "ok", "those that are needed are here"),
        ({"alpha": 0.75}, "ok", "those that are needed are here"),
        ({"alpha": 1.0}, "note", "Keras will download those of MobileNet: or give"),
        ({"weights": "none"}, "ok", "those that are needed are here"),
        ({"weights_dir": "/nowhere"}, "problem", "mobilenet_1_0_224_tf_no_top.h5 is missing"),
        ({"backbone": "EfficientNetLite0"}, "problem", "efficientnet_lite0_224_no_top.h5 is miss"),
    ],
)
@pytest.mark.usefixtures("downloaded")
def test_weights_that_a_profile_needs(train: dict[str, object], status: str, text: str) -> None:
    found = doctor._weights_of(config.parse({"train": train}))
    assert found.status == status
    assert text in found.text


def test_missing_package_is_a_problem(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("tfx", "no-such-package"))
    found = findings(tmp_path)["packages"]
    assert (found.status, found.text) == ("problem", "no-such-package missing: run `make setup`")


def test_a_port_in_use_is_a_note(tmp_path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8500))
        except OSError:
            pytest.skip("port 8500 is in use")
        taken.listen()
        found = findings(tmp_path)["gRPC port"]
    assert found.status == "note"
    assert "--port N" in found.text


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("raise ImportError('no libfoo')", "problem", "doesn't start: ImportError: no libfoo"),
        ("import os; os.abort()", "problem", "doesn't start: exit code -6"),
        (
            'print(\'noise\'); print(\'{"backend": "tensorflow", "gpus": ["GPU:0"]}\')',
            "ok",
            "Keras on tensorflow; GPU:0",
        ),
    ],
)
def test_tensorflow_is_started_in_a_child(monkeypatch, code: str, status: str, text: str) -> None:
    monkeypatch.setattr(doctor, "_IMPORT", code)
    found = doctor._tensorflow()
    assert found.status == status
    assert text in found.text


def test_command_ends_with_1_where_something_is_missing(tmp_path, monkeypatch) -> None:
    code = (
        "import sys, cxrflow.pipeline.doctor as d; d._PACKAGES = ('no-such-package',);"
        "from cxrflow.pipeline.cli import main;"
        "sys.argv = ['cxrflow', 'doctor', '--quick', '--profile', 'nih']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "problem packages: no-such-package missing" in done.stdout
    assert "nih needs 60" in done.stdout
