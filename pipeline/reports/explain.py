"""Shows where a model looks: sheets of X-ray, attention maps, labels, boxes and probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cxrflow.components.localise import places
from cxrflow.components.localise.boxes import SIDE, Box
from cxrflow.pipeline.record import Run
from cxrflow.pipeline.reports.overlay import Panel, over_image, sheet
from cxrflow.pipeline.reports.truth import Truth
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import whole_file
from cxrflow.schema.image_rules import BadImage
from cxrflow.schema.lean import uncollected
from cxrflow.schema.model_json import ModelJson, read_model_json
from cxrflow.schema.progress import report
from cxrflow.schema.store.versions import served_version
from cxrflow.schema.text import visible
from cxrflow.serving.client.files import Skipped, find_images
from cxrflow.serving.client.images import read_image
from cxrflow.serving.client.settings import ClientConfig

SHOWN = 3  # most probable classes, where none are asked for
_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")  # dropped for the sheet's name


@dataclass(frozen=True)
class Explained:
    """What became of the images."""

    sheets: tuple[Path, ...]
    bad: tuple[Skipped, ...]  # what may be an image and has no sheet
    skipped: tuple[Skipped, ...]  # what else lies in the folders
    notes: tuple[str, ...]  # on lists of boxes and tables that couldn't be read
    synthetic: bool  # the model was trained on phantoms


@dataclass(frozen=True)
class _Found:
    """What is known of one X-ray."""

    name: str
    notes: tuple[str, ...]  # what was done to make a picture of a DICOM
    labels: tuple[str, ...] | None  # None: not listed
    boxes: Sequence[Box]
    pixels: np.ndarray  # uint8 [H, W]
    attention: np.ndarray  # [h, w] or [h, w, C], in 0..1
    probabilities: np.ndarray  # [C]


def model_of_run(run: Run) -> Path:
    """The SavedModel that is served of what a run pushed; without a push, the run's candidate.

    Raises:
        CxrflowError: there is none.
    """
    return find_model(Path(run.pushed).parent if run.pushed else Path(run.candidate))


def find_model(folder: Path) -> Path:
    """The SavedModel in a SavedModel's, a Model artifact's or a served model's folder (its stable
    version).

    Raises:
        CxrflowError: there is none.
    """
    for candidate in (folder, folder / "Format-Serving"):
        if (candidate / "saved_model.pb").is_file():
            return candidate
    if folder.is_dir():
        served = folder / str(served_version(folder))
        if (served / "saved_model.pb").is_file():
            return served
    raise CxrflowError(
        f"{folder} is no model: --model takes a SavedModel, a pushed version or a run's folder"
    )


def check_classes(model: Path, classes: Sequence[str]) -> None:
    """Raises CxrflowError if a SavedModel doesn't know one of the classes, or isn't cxrflow's."""
    known = read_model_json(model).classes
    if unknown := [name for name in classes if name not in known]:
        raise CxrflowError(
            f"the model has no class {', '.join(unknown)}; it has {', '.join(known)}"
        )


def explain(
    paths: Sequence[Path],
    model: Path,
    to: Path,
    classes: Sequence[str] = (),
    boxes: Path | None = None,
    config: ClientConfig | None = None,
) -> Explained:
    """Writes a sheet for each image: `<to>/<image's name>.png`.

    An image that can't be read has no sheet but a reason; the others go on. Sheets that are
    written stay, whatever happens to the next.

    Args:
        paths: PNG, JPEG and DICOM files, and folders of them.
        model: SavedModel, as `find_model` finds it.
        to: folder, made if missing.
        classes: whose maps are shown; empty for those that the image is labelled with or has boxes
            of, then the most probable.
        boxes: list of boxes; None takes the one in the image's data folder, if there is one.
        config: what an image and a DICOM may be.

    Raises:
        CxrflowError: the folder is no model of cxrflow, it doesn't know a class, there are no
            images, or a sheet can't be written.
    """
    check_classes(model, classes)
    info = read_model_json(model)
    truth = Truth(boxes)
    files = find_images(paths)
    network = _attention_of(model)
    to.mkdir(parents=True, exist_ok=True)
    names: set[str] = set()
    sheets: list[Path] = []
    bad = [skipped for skipped in files.skipped if skipped.bad]
    for done, image in enumerate(files.images, 1):
        try:
            read = read_image(image, config or ClientConfig())
        except BadImage as error:
            bad.append(Skipped(image, error.reason, bad=True))
            continue
        found = _Found(
            visible(image.name),
            read.notes,
            truth.labels(image),
            truth.boxes(image),
            *network(read.data),
        )
        path = to / f"{_free_name(image, names)}.png"
        _write(_draw(found, info, classes), path)
        sheets.append(path)
        report(done, len(files.images), "images")
    return Explained(
        sheets=tuple(sheets),
        bad=tuple(bad),
        skipped=tuple(skipped for skipped in files.skipped if not skipped.bad),
        notes=tuple(truth.notes),
        synthetic=info.synthetic,
    )


def _free_name(image: Path, taken: set[str]) -> str:
    """The image's name without its suffix; with it, or with a number, where that is taken."""
    stem = image.stem if image.suffix.lower() in _SUFFIXES else image.name
    candidates = [stem, image.name, *(f"{stem}-{i}" for i in range(2, len(taken) + 3))]
    name = next(name for name in candidates if name not in taken)
    taken.add(name)
    return name


Network = Callable[[bytes], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _attention_of(folder: Path) -> Network:
    """Bytes -> pixels uint8 [H, W], attention [h, w] or [h, w, C], probabilities [C]."""
    with uncollected():
        import tensorflow as tf

    from cxrflow.components.images.decoding import decode

    signatures = tf.saved_model.load(str(folder)).signatures
    if "attention" not in signatures:
        raise CxrflowError(f"the model in {folder} has no attention signature: train it again")

    def network(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = signatures["attention"](image_bytes=tf.constant([data]))
        pixels = decode(tf.constant(data))[..., 0].numpy()
        return pixels, found["attention"][0].numpy(), found["probabilities"][0].numpy()

    return network


def _draw(found: _Found, info: ModelJson, classes: Sequence[str]) -> np.ndarray:
    names = info.classes
    shown = list(classes) or _worth_showing(found, names)
    texts = {
        c: _probability(found.probabilities[names.index(c)], info.threshold(c, "youden"))
        for c in shown
    }
    body = places.body(found.pixels)
    panels = [Panel("X-ray", _label_text(found.labels, names), None, found.boxes)]
    if found.attention.ndim == 3:
        for c in shown:
            spread = over_image(found.attention[..., names.index(c)], *found.pixels.shape)
            boxes = [box for box in found.boxes if box.name == c]
            shares = _shares(spread, body, boxes)
            panels.append(Panel(_titled(found, c), texts[c], spread, boxes, shares))
        said = ["one map a class, all on one scale"]
    else:
        spread = over_image(found.attention, *found.pixels.shape)
        text = "one map: it tells no class apart"
        shares = _shares(spread, body, found.boxes)
        panels.append(Panel("all classes", text, spread, found.boxes, shares))
        said = [f"{_titled(found, c)}: {texts[c]}" for c in shown]
    head = [f"{found.name}  ·  {_model_line(info)}", *said, *found.notes]
    if info.synthetic:
        head.append("trained on synthetic X-rays: this says nothing about real ones")
    head.append("not a medical device")
    return sheet(found.pixels, panels, head)


def _shares(spread: np.ndarray, body: np.ndarray, boxes: Sequence[Box]) -> str:
    """How much of a map [H, W] lies where it should: within the body, and within its boxes."""
    text = f"{_percent(places.share_inside(spread, body))} inside the body"
    if not boxes:
        return text
    height, width = spread.shape
    inside = np.zeros(spread.shape, bool)
    for box in boxes:
        left, right = (round(x * width / SIDE) for x in (box.x, box.x + box.width))
        top, bottom = (round(y * height / SIDE) for y in (box.y, box.y + box.height))
        inside[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    share, covered = places.share_inside(spread, inside), float(inside.mean())
    which = "box, which is" if len(boxes) == 1 else "boxes, which are"
    return f"{text}, {_percent(share)} inside the {which} {covered:.0%} of the X-ray"


def _percent(share: float) -> str:
    return "nothing" if np.isnan(share) else f"{share:.0%}"


def _worth_showing(found: _Found, names: Sequence[str]) -> list[str]:
    """The classes known to be there, then the most probable of all."""
    known = [*(found.labels or ()), *(box.name for box in found.boxes)]
    probable = [names[i] for i in np.argsort(-found.probabilities)[:SHOWN]]
    return list(dict.fromkeys([*(name for name in known if name in names), *probable]))


def _titled(found: _Found, name: str) -> str:
    """A class and what speaks for it beside the model."""
    labelled = name in (found.labels or ())
    boxed = any(box.name == name for box in found.boxes)
    return name + ", labelled" * labelled + ", boxed" * boxed


def _label_text(labels: Sequence[str] | None, names: Sequence[str]) -> str:
    if labels is None:
        return "true labels: no table lists it"
    known = [name if name in names else f"{name} (not the model's)" for name in labels]
    return "true labels: " + (", ".join(known) or "No Finding")


def _model_line(info: ModelJson) -> str:
    members = ", ".join(f"{member.backbone} {member.head}" for member in info.members)
    return (info.name or "model") + (f" ({members})" if members else "")


def _probability(probability: float, threshold: float | None) -> str:
    if threshold is None:
        return f"{probability:.3f}"
    side = "above" if probability >= threshold else "below"
    return f"{probability:.3f}, {side} its threshold {threshold:.3f}"


def _write(drawn: np.ndarray, path: Path) -> None:
    """Writes a picture whole or not at all. Raises CxrflowError where it can't."""
    try:
        with whole_file(path) as aside:
            Image.fromarray(drawn).save(aside, "PNG")
    except OSError as error:
        raise CxrflowError(
            f"{path} can't be written: {error.strerror or error}; --to names another folder"
        ) from None
