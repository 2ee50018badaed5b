"""Some originals with the right answers, by which a device knows that it works."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from serving.images import PNG_START

FOLDER = "golden"


def write_golden(
    originals: Mapping[str, bytes], pixels: np.ndarray, probabilities: np.ndarray, bundle: Path
) -> None:
    """Writes `golden/0.png` and so on, byte for byte, and `golden/golden.npz`.

    Args:
        originals: PNGs or JPEGs by image id.
        pixels: what the network sees of them, uint8 [G, S, S].
        probabilities: what the source says of that, float32 [G, C].
        bundle: where the folder `golden` goes.

    The archive holds `names` of the files, string [G], `pixels` and `probabilities`.
    """
    folder = bundle / FOLDER
    folder.mkdir()
    names = []
    for index, original in enumerate(originals.values()):
        names.append(f"{index}.{'png' if original.startswith(PNG_START) else 'jpg'}")
        (folder / names[-1]).write_bytes(original)
    np.savez_compressed(
        folder / "golden.npz", names=np.array(names), pixels=pixels, probabilities=probabilities
    )
