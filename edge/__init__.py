"""What runs on the device: Python 3.6 with LiteRT or NVIDIA's TensorFlow 2.7, and nothing else.

The files lie flat in a bundle and import each other by name, as a script's neighbours can.
"""

from pathlib import Path
from typing import List

_SUFFIXES = (".py", ".sh", ".md", ".ipynb")


def device_files() -> List[Path]:
    """The files of this folder that go into a bundle, sorted."""
    here = Path(__file__).resolve().parent
    return sorted(
        path
        for path in here.iterdir()
        if path.is_file()
        and path.name != "__init__.py"
        and (path.suffix in _SUFFIXES or path.name.startswith("Dockerfile"))
    )
