"""TensorFlow's import without what makes it slow; nothing is imported here."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Keras 3 imports these where they are installed, for wrappers and pictures; they take as long to
# load as TensorFlow itself.
BESIDE_KERAS = ("matplotlib", "pandas", "sklearn")


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, Python doesn't look for garbage; what is there at the end is never looked through.

    For imports, of which all stays: of TensorFlow's a quarter of the time is that search, of TFX's
    a sixth, and each later one would take half a second.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def lean_import() -> Iterator[None]:
    """Inside, TensorFlow is imported as if those weren't installed; afterwards they are found.

    For processes that only run a model. What is loaded already stays.
    """
    hidden = [name for name in BESIDE_KERAS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not to be had
    try:
        with uncollected():
            yield
    finally:
        for name in hidden:
            del sys.modules[name]
