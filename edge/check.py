"""What --check proves: a variant's answers to the bundle's golden images are its own."""

import os
import zipfile
import zlib
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from bundle import Bundle, Refused, Unfit, reason
from engines import TRT, Engine, trt_folder
from image_rules import BadImage
from images import prepare

_PIXEL_TOLERANCE = 1  # gray levels: JPEG decoders differ by so much
_ANSWERS = "answers_"  # before a variant's name, in the archive
# What NumPy raises for a file that is no archive of arrays.
_UNREADABLE = (
    OSError,
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
_SCORES = "out_of_distribution"  # in the archive; older bundles lack it
_SCORE_TOLERANCE = 1e-3  # of a score, as a share of it
_ONE_ANSWER = 2e-3  # golden answers nearer than this aren't told apart


class Golden(NamedTuple):
    """The golden images, and how this device decodes them."""

    names: List[str]  # [G]
    pixels: np.ndarray  # uint8 [G, S, S], as the pipeline decodes them
    levels: int  # gray levels, the largest difference of what this device decodes
    answers: Dict[str, np.ndarray]  # by variant, [G, C]
    scores: Optional[np.ndarray] = None  # how unlike the training X-rays each is, [G]


def to_check(bundle: Bundle) -> List[Optional[str]]:
    """All variants, and the engine that was built on this device."""
    built = [TRT] if os.path.isdir(trt_folder(bundle, None)) else []
    return [*built, *bundle.info["variants"]]


def check(
    bundle: Bundle,
    variants: Sequence[Optional[str]],
    open_engine: Callable[[Optional[str]], Engine],
    tolerance: Optional[float],
    say: Callable[[str], None],
) -> int:
    """Says of each variant whether its answers are right.

    Args:
        bundle: whose golden images.
        variants: what `open_engine` is to open; None lets it choose.
        open_engine: raises Unfit for a file that isn't what it should be, and Refused where only
            this device lacks something, which is said and no failure.
        tolerance: of a probability; None for the variant's own.
        say: prints a line.

    Returns the exit code, 1 if one failed. Raises Refused if no variant runs here.
    """
    golden = read_golden(bundle)
    if bundle.info.get("golden_note"):
        say(f"note: {bundle.info['golden_note']}")
    good, skipped = [], []  # type: List[bool], List[str]
    unlike = _check_scores(bundle, golden, say)
    for variant in variants:
        try:
            engine = open_engine(variant)
        except Unfit as error:
            good.append(False)
            say(f"{variant}: FAILED: {error}")
            continue
        except Refused as error:
            skipped.append(f"{variant}: {error}" if variant else str(error))
            if len(variants) > 1:
                say(f"not checked: {skipped[-1]}")
            continue
        found = engine.run(golden.pixels)
        allowed = engine.tolerance if tolerance is None else tolerance
        wrong = problems(golden, engine.variant, found, allowed)
        good.append(not wrong)
        say(
            f"{engine.variant}: {len(golden.names)} golden images: pixels differ by at most"
            f" {golden.levels} ({_PIXEL_TOLERANCE} is allowed), probabilities by"
            f" {_largest_difference(golden, engine.variant, found):.2g} ({allowed:.2g} is allowed):"
            f" {'; '.join([*wrong, 'FAILED' if wrong else 'passed'])}"
        )
    if not good:
        raise Refused("; ".join(skipped))
    return 0 if all(good) and unlike else 1


def _check_scores(bundle: Bundle, golden: Golden, say: Callable[[str], None]) -> bool:
    """Whether what is no chest X-ray is told as the pipeline tells it; True in older bundles.

    Raises Refused if the bundle's detector can't be read.
    """
    scores = golden.scores
    detector = None if scores is None else bundle.detector()
    if scores is None or detector is None:
        return True
    found = detector.scores(golden.pixels)
    apart = float((np.abs(found - scores) / np.maximum(scores, 1.0)).max())
    good = apart <= _SCORE_TOLERANCE  # not for NaN
    say(
        f"{_SCORES}: {len(golden.names)} golden images: scores differ by {apart:.2g} of theirs"
        f" ({_SCORE_TOLERANCE:.2g} is allowed): {'passed' if good else 'FAILED'}"
    )
    return good


def read_golden(bundle: Bundle) -> Golden:
    """Reads and decodes them.

    Raises Refused if there are none, one is no image, or the bundle is older than they are.
    """
    if bundle.format < 2:
        raise Refused(
            "this bundle is of format 1, which has no golden answers of each variant's own:"
            " export it anew"
        )
    folder = os.path.join(bundle.folder, "golden")
    try:
        with np.load(os.path.join(folder, "golden.npz")) as archive:
            arrays = {name: archive[name] for name in archive.files}
        names = [str(name) for name in arrays["names"]]
        pixels = arrays["pixels"]
        answers = {
            name[len(_ANSWERS) :]: found
            for name, found in arrays.items()
            if name.startswith(_ANSWERS)
        }
        size = bundle.preprocessing.image_size
        shape = (len(names), len(bundle.info["classes"]))
        fit = all(found.shape == shape and found.dtype.kind == "f" for found in answers.values())
        if not names or pixels.dtype != np.uint8 or pixels.shape != (len(names), size, size):
            raise ValueError("its pixels aren't those of its images")
        if not fit or not all(np.isfinite(found).all() for found in answers.values()):
            raise ValueError("its answers aren't probabilities of each image and class")
        scores = arrays.get(_SCORES)
        if scores is not None and (scores.shape != (len(names),) or scores.dtype.kind != "f"):
            raise ValueError("its out_of_distribution isn't a score of each image")
        if any(os.path.basename(name) != name for name in names):
            raise ValueError("it names files elsewhere")
    except _UNREADABLE as error:
        raise Refused(f"{folder}: golden.npz can't be read: {reason(error)}") from error
    levels = 0
    for name, right in zip(names, pixels):
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as file:
                found = prepare(file.read(), bundle.preprocessing)
        except (OSError, BadImage) as error:
            raise Refused(f"{path}: {reason(error)}") from error
        levels = max(levels, int(np.abs(found.astype(int) - right).max()))
    return Golden(names, pixels, levels, answers, scores)


def problems(golden: Golden, variant: str, found: np.ndarray, tolerance: float) -> List[str]:
    """What is wrong with a variant's answers to `golden.pixels`; [] if nothing.

    Each must be within `tolerance` of the variant's own, nearer to it than to any other golden
    image's, and all together nearer to the variant's own than to any other variant's: so that
    neither a constant nor another image's or variant's answer passes, however wide the tolerance.

    Raises Refused if the bundle has no answers of the variant's.
    """
    wrong = []
    if golden.levels > _PIXEL_TOLERANCE:
        wrong.append(f"pixels differ by {golden.levels} gray levels")
    own = _answers_of(golden, variant)
    if not np.isfinite(found).all():
        return [*wrong, "an answer isn't a number"]
    largest = _largest_difference(golden, variant, found)
    if not largest <= tolerance:  # not a number, too
        wrong.append(f"a probability differs by {largest:.2g}")
    for i, answer in enumerate(found):
        others = [j for j, other in enumerate(own) if _are_two(own[i], other)]
        nearest = min([i, *others], key=lambda j: (_apart(answer, own[j]), j == i))
        if nearest != i:
            wrong.append(f"the answer to {golden.names[i]} is {golden.names[nearest]}'s")
    for key, theirs in golden.answers.items():
        if variant != TRT and _are_two(own, theirs) and _apart(found, theirs) <= _apart(found, own):
            wrong.append(f"the answers are those of {key}")
    return wrong


def _answers_of(golden: Golden, variant: str) -> np.ndarray:
    """A variant's own, [G, C]; the engine that was built here is to answer as its graph does."""
    key = "frozen_graph" if variant == TRT else variant
    if key not in golden.answers:
        raise Refused(f"the bundle has no golden answers by {key}: export it anew")
    return golden.answers[key]


def _largest_difference(golden: Golden, variant: str, found: np.ndarray) -> float:
    """Largest difference of a probability from the variant's own."""
    return float(np.abs(found - _answers_of(golden, variant)).max())


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


def _are_two(one: np.ndarray, other: np.ndarray) -> bool:
    return float(np.abs(one - other).max()) > _ONE_ANSWER
