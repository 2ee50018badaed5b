"""The private TensorFlow 2.7: where it can't be had, tests learn why, and nothing stays."""

import pytest

from pipeline.bootstrap import SetupError, Source
from tests.edge import roots, tf27

MIRROR = Source("http://mirror.example/debian", "bookworm", ("main",), "")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CXRFLOW_TF27_CACHE", str(tmp_path))
    monkeypatch.setattr(roots, "distribution", lambda text: ("debian", "bookworm"))
    monkeypatch.setattr(roots, "configured_sources", lambda folder: [MIRROR])
    monkeypatch.setattr(tf27.platform, "system", lambda: "Linux")
    monkeypatch.setattr(tf27.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(roots.shutil, "which", lambda name: name)
    return tmp_path


def test_no_mirror(cache, monkeypatch):
    monkeypatch.setattr(roots, "configured_sources", lambda folder: [])
    with pytest.raises(tf27.Unavailable, match="come from a Debian mirror"):
        tf27.python()


def test_other_machines(cache, monkeypatch):
    monkeypatch.setattr(tf27.platform, "machine", lambda: "aarch64")
    with pytest.raises(tf27.Unavailable, match="x86_64 only"):
        tf27.python()


def test_what_fails_leaves_nothing_and_is_tried_again(cache, monkeypatch):
    tried = []

    def fetch(run, source, suite, packages, into, architecture) -> None:
        tried.append(suite)
        (into / "half").touch()
        raise SetupError("no network")

    monkeypatch.setattr(roots, "fetch_from", fetch)
    for _ in range(2):
        with pytest.raises(tf27.Unavailable, match="no network"):
            tf27.python()
    assert tried == ["bullseye"] * 2
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
