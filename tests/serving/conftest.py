"""Small models that answer in no time, served from a temporary root."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.tiny import write_tiny
from tests.support.odd_images import make_odd_images

Push = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> dict[float, Path]:
    """Two models that differ in their mark."""
    folder = tmp_path_factory.mktemp("tiny")
    return {mark: write_tiny(folder / str(mark), mark) for mark in (0.25, 0.75)}


@pytest.fixture(scope="session")
def push_version() -> Push:
    """push_version(model, base, number): a whole version, as the Pusher leaves it."""
    from cxrflow.schema.store.manifest import Manifest, file_paths, read_file, write_manifest

    def push(model: Path, base: Path, number: int) -> Path:
        base.mkdir(parents=True, exist_ok=True)
        aside = base / f".push-{number}"
        shutil.copytree(model, aside)
        files = tuple(read_file(aside, path) for path in file_paths(aside))
        write_manifest(aside, Manifest(number, files))
        return aside.rename(base / str(number))

    return push


@pytest.fixture(scope="session")
def odd_images() -> dict:
    """Bad and odd images by kind, each with `data` and its `outcome`: see tests/support."""
    return make_odd_images()
