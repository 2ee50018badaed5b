"""Which constants may be stored as float16."""

import numpy as np

# Of weights: a vector or a small kernel weighs nothing, and may need what float16 hasn't.
_MIN_RANK, _MIN_ELEMENTS = 2, 3000


def to_half(values: np.ndarray | None) -> np.ndarray | None:
    """Weights float32 as float16; None if these are no weights, or beyond its range."""
    if values is None or values.ndim < _MIN_RANK or values.size < _MIN_ELEMENTS:
        return None
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    return halves if np.isfinite(halves).all() else None
