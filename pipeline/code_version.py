"""A hash of the code that a node runs, so that a change in it reruns the node and no other."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def code_version(*packages: str) -> str:
    """Hash of all Python files below `packages` (folders or files, relative to the repository).

    TFX's own cache key covers a module file at most, never what it imports.
    """
    digest = hashlib.sha256()
    for package in packages:
        path = ROOT / package
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            digest.update(str(file.relative_to(ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
