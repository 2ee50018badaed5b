"""The other Pythons: where one can't be had, tests learn why, and nothing stays."""

import platform

import pytest

from cxrflow.pipeline.setup.debian import Source
from cxrflow.pipeline.setup.errors import SetupError
from tests.edge import arm64, python36, roots, tf27

MIRROR = Source("http://mirror.example/debian", "bookworm", ("main",), "")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    for name in ("TF27", "ARM64", "PYTHON36"):
        monkeypatch.setenv(f"CXRFLOW_{name}_CACHE", str(tmp_path))
    monkeypatch.setattr(roots, "distribution", lambda text: ("debian", "bookworm"))
    monkeypatch.setattr(roots, "configured_sources", lambda folder: [MIRROR])
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(roots.shutil, "which", lambda name: name)
    return tmp_path


@pytest.mark.parametrize("get", [tf27.python, arm64.root])
def test_no_mirror(cache, monkeypatch, get):
    monkeypatch.setattr(roots, "configured_sources", lambda folder: [])
    with pytest.raises(roots.Unavailable, match="come from a Debian mirror"):
        get()


@pytest.mark.parametrize("get", [tf27.python, arm64.root])
def test_other_machines(cache, monkeypatch, get):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(roots.Unavailable, match="Linux on x86_64"):
        get()


def test_no_python_36(cache, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(cache))
    shim = cache / "python3.6"
    shim.write_text("#!/bin/sh\necho pyenv: python3.6: command not found >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setattr(python36.shutil, "which", lambda name: str(shim))
    with pytest.raises(roots.Unavailable, match=r"no python3\.6 on PATH nor in pyenv"):
        python36.python()


def test_what_fails_leaves_nothing_and_is_tried_again(cache, monkeypatch):
    tried = []

    def fetch(run, source, suite, packages, into, architecture) -> None:
        tried.append(suite)
        (into / "half").touch()
        raise SetupError("no network")

    monkeypatch.setattr(roots, "fetch_from", fetch)
    for _ in range(2):
        with pytest.raises(roots.Unavailable, match="no network"):
            tf27.python()
    assert tried == ["bullseye"] * 2
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
