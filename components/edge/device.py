"""What runs on the device: Python 3.6 with LiteRT or NVIDIA's TensorFlow 2.7, and nothing else.

The files lie flat in a bundle and import each other by name, as a script's neighbours can.
"""

from pathlib import Path

EDGE = Path(__file__).parents[2] / "edge"
PORTABLE = Path(__file__).parents[2] / "schema" / "portable"  # shared with the device
_SUFFIXES = (".py", ".sh", ".md", ".ipynb")


def device_files() -> list[Path]:
    """The files that go into a bundle, sorted by name."""
    files = [path for folder in (EDGE, PORTABLE) for path in folder.iterdir() if path.is_file()]
    return sorted((path for path in files if _belongs(path)), key=lambda path: path.name)


def _belongs(path: Path) -> bool:
    if path.name == "__init__.py":
        return False
    return path.suffix in _SUFFIXES or path.name.startswith("Dockerfile")
