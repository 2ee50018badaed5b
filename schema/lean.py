"""TensorFlow's import without what Keras loads beside it; nothing is imported here."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Keras 3 imports these where they are installed, for wrappers and pictures; they take as long to
# load as TensorFlow itself.
BESIDE_KERAS = ("matplotlib", "pandas", "sklearn")


@contextmanager
def lean_import() -> Iterator[None]:
    """Inside, TensorFlow is imported as if those weren't installed; afterwards they are found.

    For processes that only run a model. What is loaded already stays.
    """
    hidden = [name for name in BESIDE_KERAS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not to be had
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
