"""Some originals with each variant's own answers, by which a device knows that it works."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.schema.portable.image_rules import PNG_START

FOLDER = "golden"
ANSWERS = "answers_"  # before a variant's name, in the archive


def least_alike(
    answers: Mapping[str, np.ndarray], tolerances: Mapping[str, float], count: int
) -> list[int]:
    """Indices of `count` images, all if there are fewer, whose answers are farthest apart.

    The two farthest come first, then one by one what is farthest from those that are there
    (Gonzalez, Clustering to minimize the maximum intercluster distance, 1985).

    Args:
        answers: each variant's probabilities [N, C].
        tolerances: how far a device's answer may be from a variant's; apart is counted in these.
        count: at least 1.
    """
    apart = np.min([_apart(answers[key], tolerances[key]) for key in answers], axis=0)
    first, second = np.unravel_index(np.argmax(apart), apart.shape)
    chosen = [int(first)] if count == 1 or first == second else [int(first), int(second)]
    while len(chosen) < min(count, len(apart)):
        nearest = apart[chosen].min(axis=0)
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
    return sorted(chosen)


def not_told_apart(answers: Mapping[str, np.ndarray], tolerances: Mapping[str, float]) -> str:
    """What the golden images [G] can't prove, in words; "" where each is known by its answers.

    Two are known by them if a probability differs by more than twice the tolerance: then no answer
    is right for both.
    """
    if len(next(iter(answers.values()))) < 2:
        return "there is one golden image only, so that a constant answer isn't noticed"
    pairs = {key: _apart(answers[key], tolerances[key]) for key in answers}
    alike = [key for key, one in pairs.items() if one[np.triu_indices(len(one), 1)].min() <= 1.0]
    if not alike:
        return ""
    return (
        f"golden images whose answers by {', '.join(alike)} are nearly the same are all that eval"
        " has, so that the answer to another image might pass"
    )


def _apart(answers: np.ndarray, tolerance: float) -> np.ndarray:
    """The largest difference of a probability between any two images, in twice the tolerance."""
    differences = np.abs(answers[:, None] - answers[None])
    return differences.max(axis=-1) / (2 * tolerance)


def write_golden(
    originals: Sequence[bytes],
    pixels: np.ndarray,
    probabilities: np.ndarray,
    answers: Mapping[str, np.ndarray],
    scores: np.ndarray | None,
    bundle: Path,
) -> None:
    """Writes `golden/0.png` and so on, byte for byte, and `golden/golden.npz`.

    Args:
        originals: PNGs or JPEGs.
        pixels: what the network sees of them, uint8 [G, S, S].
        probabilities: what the source says of that, float32 [G, C].
        answers: what each variant says of it, float32 [G, C].
        scores: how unlike the training X-rays each is, float32 [G]; None if the model doesn't tell.
        bundle: where the folder `golden` goes.

    The archive holds `names` of the files, string [G], `pixels`, `probabilities`,
    `answers_<variant>` of each, and `out_of_distribution` where there are scores.
    """
    folder = bundle / FOLDER
    folder.mkdir()
    names = []
    for index, original in enumerate(originals):
        names.append(f"{index}.{'png' if original.startswith(PNG_START) else 'jpg'}")
        (folder / names[-1]).write_bytes(original)
    arrays: dict[str, Any] = {ANSWERS + key: found for key, found in answers.items()}
    if scores is not None:
        arrays["out_of_distribution"] = scores
    np.savez_compressed(
        folder / "golden.npz",
        names=np.array(names),
        pixels=pixels,
        probabilities=probabilities,
        **arrays,
    )
