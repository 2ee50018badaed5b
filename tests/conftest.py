"""Shared fixtures; the Keras and log settings must stand before any import of TensorFlow."""

import os
from pathlib import Path

import pytest

os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A child forked beside a gRPC server of an earlier test would run gRPC's handlers, and die.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

REPO = Path(__file__).resolve().parents[1]
pytest_plugins = ["tests.support.training_data"]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder ../shared with real images and weights; skips where there is none."""
    path = REPO.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"no real data: {path} is missing")
    return path
