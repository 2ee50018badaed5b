"""Shows where a model looks: sheets of X-ray, attention maps, boxes and probabilities."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.evaluate.boxes import Box, find_boxes, read_boxes
from components.evaluate.overlay import Panel, over_image, sheet
from components.ingest.image import BadImage, Limits, read_image
from components.progress import report
from components.train.model_info import read_info
from schema.errors import CxrflowError

SHOWN = 3  # most probable classes, where none are asked for


@dataclass(frozen=True)
class Explained:
    """What became of the images."""

    sheets: tuple[Path, ...]
    problems: tuple[str, ...]  # a line for each image that has no sheet
    synthetic: bool  # the model was trained on phantoms


def find_model(folder: Path) -> Path:
    """The SavedModel in a SavedModel's, a Model artifact's or a serving folder (its last version).

    Raises:
        CxrflowError: there is none.
    """
    versions = sorted((p for p in folder.glob("*") if p.name.isdigit()), key=lambda p: int(p.name))
    for candidate in (folder, folder / "Format-Serving", *reversed(versions)):
        if (candidate / "saved_model.pb").is_file():
            return candidate
    raise CxrflowError(
        f"{folder} is no model: --model takes a SavedModel, a pushed version or a run's folder"
    )


def check_classes(model: Path, classes: Sequence[str]) -> None:
    """Raises CxrflowError if a SavedModel doesn't know one of the classes, or isn't cxrflow's."""
    known = read_info(model)["classes"]
    if unknown := [name for name in classes if name not in known]:
        raise CxrflowError(
            f"the model has no class {', '.join(unknown)}; it has {', '.join(known)}"
        )


def explain(
    images: Sequence[Path],
    model: Path,
    to: Path,
    limits: Limits,
    classes: Sequence[str] = (),
    boxes: Path | None = None,
) -> Explained:
    """Writes a sheet for each image: `<to>/<image's name>.png`.

    An image that can't be read has no sheet but a problem; the others go on.

    Args:
        images: PNG or JPEG files.
        model: SavedModel, as `find_model` finds it.
        to: folder, made if missing.
        limits: what an image may be.
        classes: whose maps are shown; empty for the most probable of each image.
        boxes: list of boxes; None takes the one in the image's data folder, if there is one.

    Raises:
        CxrflowError: the folder is no model of cxrflow, or it doesn't know a class.
    """
    check_classes(model, classes)
    info = read_info(model)
    box_lists = {boxes: read_boxes(boxes)} if boxes else {}
    network = _attention_of(model)
    to.mkdir(parents=True, exist_ok=True)
    sheets: dict[Path, Path] = {}  # where it went -> image
    problems = []
    for done, image in enumerate(images, 1):
        sheet_path = to / f"{image.stem}.png"
        if sheet_path in sheets:
            problems.append(f"{image}: {sheets[sheet_path]} has the same name")
            continue
        try:
            data, _ = read_image(image, limits)
        except BadImage as error:
            problems.append(f"{image}: {error.reason.value}: {error.detail}")
            continue
        listed = boxes or find_boxes(image)
        if listed and listed not in box_lists:
            box_lists[listed] = read_boxes(listed)
        of_image = box_lists[listed].get(image.name, []) if listed else []
        pixels, attention, probabilities = network(data)
        drawn = _draw(image.name, pixels, attention, probabilities, info, classes, of_image)
        _write(drawn, sheet_path)
        sheets[sheet_path] = image
        report(done, len(images), "images")
    return Explained(tuple(sheets), tuple(problems), bool(info.get("synthetic")))


Network = Callable[[bytes], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _attention_of(folder: Path) -> Network:
    """Bytes -> pixels uint8 [H, W], attention [h, w] or [h, w, C], probabilities [C]."""
    import tensorflow as tf

    from components.transform.images import decode

    signatures = tf.saved_model.load(str(folder)).signatures
    if "attention" not in signatures:
        raise CxrflowError(f"the model in {folder} has no attention signature: train it again")

    def network(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = signatures["attention"](image_bytes=tf.constant([data]))
        pixels = decode(tf.constant(data))[..., 0].numpy()
        return pixels, found["attention"][0].numpy(), found["probabilities"][0].numpy()

    return network


def _draw(
    name: str,
    pixels: np.ndarray,
    attention: np.ndarray,
    probabilities: np.ndarray,
    info: dict[str, Any],
    classes: Sequence[str],
    boxes: Sequence[Box],
) -> np.ndarray:
    names = info["classes"]
    shown = list(classes) or [names[i] for i in np.argsort(-probabilities)[:SHOWN]]
    texts = {c: _probability(probabilities[names.index(c)], _threshold(info, c)) for c in shown}
    boxed = ", ".join(dict.fromkeys(box.name for box in boxes))
    panels = [Panel("X-ray", f"boxes: {boxed}" if boxed else "no boxes known", None, boxes)]
    if attention.ndim == 3:
        for c in shown:
            found = over_image(attention[..., names.index(c)], *pixels.shape)
            panels.append(Panel(c, texts[c], found, [box for box in boxes if box.name == c]))
        note = "maps: one a class, each with its own colour scale"
    else:
        found = over_image(attention, *pixels.shape)
        panels.append(Panel("all classes", "one map: it tells no class apart", found, boxes))
        note = "; ".join(f"{c} {texts[c]}" for c in shown)
    head = [f"{name}  ·  {_model_line(info)}", note]
    if info.get("synthetic"):
        head.append("trained on synthetic X-rays: this says nothing about real ones")
    head.append("not a medical device")
    return sheet(pixels, panels, head)


def _model_line(info: dict[str, Any]) -> str:
    members = [f"{m['backbone']} {m['head']}" for m in info["members"]]
    return f"{info.get('name', 'model')} ({', '.join(members)})"


def _threshold(info: dict[str, Any], name: str) -> float:
    """Youden's operating point; NaN where the model has none."""
    points = info.get("thresholds", {}).get(name) or {}
    return (points.get("youden") or {}).get("threshold", math.nan)


def _probability(probability: float, threshold: float) -> str:
    if math.isnan(threshold):
        return f"{probability:.3f}"
    side = "above" if probability >= threshold else "below"
    return f"{probability:.3f}, {side} its threshold {threshold:.3f}"


def _write(drawn: np.ndarray, path: Path) -> None:
    aside = path.with_suffix(".tmp")
    Image.fromarray(drawn).save(aside, "PNG")
    aside.replace(path)
