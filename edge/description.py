"""Whether a bundle's model.json says what the scripts read from it, each thing in its form."""

from typing import Any, Container, Dict

DETECTOR = "out_of_distribution.npz"  # what tells no chest X-rays; its module needs NumPy
_MOST_PIXELS = 1 << 15  # of a side
_MOST_BYTES = 1 << 40
_HUGE = 1e30  # no NaN is below it
_ENCODINGS = ("jpeg", "raw")
_DTYPES = ("float32", "uint8", "int8")
_PIXELS, _BYTES, _QUALITY = (1, _MOST_PIXELS), (1, _MOST_BYTES), (1, 100)
_PREPROCESSING = {
    "compact_size": _PIXELS,
    "jpeg_quality": _QUALITY,
    "image_size": _PIXELS,
    "min_side": _PIXELS,
    "max_side": _PIXELS,
    "max_bytes": _BYTES,
}


class Malformed(ValueError):
    """What is wrong with a model.json, in a line that names the field."""


def verify(info: Dict[str, Any], files: Container[str]) -> None:
    """Looks at everything that these scripts read; what they don't know may be there too.

    Args:
        info: model.json.
        files: paths that the bundle's manifest lists.

    Raises:
        Malformed: a field is missing or not of its type or range, or two contradict each other.
    """
    _preprocessing(_dict(info, "preprocessing"))
    classes = info.get("classes")
    named = isinstance(classes, list) and all(_is_text(name) for name in classes)
    if not (named and classes and len(set(classes)) == len(classes)):
        raise Malformed("classes is no list of different names")
    if info.get("image_size") != info["preprocessing"]["image_size"]:
        raise Malformed("contradicts itself: image_size and preprocessing's are two")
    for name in ("name", "golden_note"):
        if not isinstance(info.get(name, ""), str):
            raise Malformed(f"{name} is no text")
    members = info.get("members", [])
    if not isinstance(members, list) or not all(
        isinstance(one, dict) and _is_text(one.get("backbone")) for one in members
    ):
        raise Malformed("members is no list of networks, each with its backbone")
    _thresholds(info.get("thresholds"), "thresholds")
    unlike = _optional(info.get("out_of_distribution"), "out_of_distribution")
    if unlike and not _is_number(unlike.get("threshold")):
        raise Malformed("out_of_distribution.threshold is no number")
    if unlike and DETECTOR not in files:
        raise Malformed(f"contradicts itself: out_of_distribution without {DETECTOR}")
    variants = _dict(info, "variants")
    for name, one in variants.items():
        _variant(one, f"variants.{name}", files)
    if any(one["runtime"] == "tensorflow" for one in variants.values()):
        ends = _dict(info, "frozen_graph")
        if not (_is_text(ends.get("input")) and _is_text(ends.get("output"))):
            raise Malformed("frozen_graph doesn't name its input and output")


def _preprocessing(how: Dict[str, Any]) -> None:
    for name, (least, most) in _PREPROCESSING.items():
        if name not in how:
            raise Malformed(f"preprocessing lacks '{name}'")
        value = how[name]
        if type(value) is not int or not least <= value <= most:
            raise Malformed(f"preprocessing.{name} is no whole number from {least} to {most}")
    if how.get("encoding") not in _ENCODINGS:
        raise Malformed("preprocessing.encoding is none of {}".format(", ".join(_ENCODINGS)))
    unknown = sorted(set(how) - set(_PREPROCESSING) - {"encoding"})
    if unknown:
        raise Malformed(f"preprocessing has an unknown '{unknown[0]}'")


def _variant(one: Any, where: str, files: Container[str]) -> None:
    if not isinstance(one, dict):
        raise Malformed(f"{where} is no object")
    for name in ("file", "runtime"):
        if not _is_text(one.get(name)):
            raise Malformed(f"{where}.{name} is no text")
    if one["file"] not in files:
        raise Malformed(f"contradicts itself: {where}.file is none of the manifest's")
    if one.get("input_dtype", _DTYPES[0]) not in _DTYPES:
        raise Malformed(f"{where}.input_dtype is none of {', '.join(_DTYPES)}")
    for name in ("golden_tolerance", "golden_tolerance_older"):
        if name in one and not (_is_number(one[name]) and 0 <= one[name] <= 1):
            raise Malformed(f"{where}.{name} is no number from 0 to 1")
    _thresholds(one.get("thresholds"), f"{where}.thresholds")


def _thresholds(by_class: Any, where: str) -> None:
    """By class and operating point, of which each may be null."""
    for name, points in _optional(by_class, where).items():
        for point, one in _optional(points, f"{where}.{name}").items():
            value = _optional(one, f"{where}.{name}.{point}").get("threshold")
            if value is not None and not _is_number(value):
                raise Malformed(f"{where}.{name}.{point}.threshold is no number")


def _optional(value: Any, where: str) -> Dict[str, Any]:
    """An object, empty for null."""
    if value is not None and not isinstance(value, dict):
        raise Malformed(f"{where} is no object")
    return value or {}


def _dict(info: Dict[str, Any], name: str) -> Dict[str, Any]:
    if name not in info:
        raise Malformed(f"lacks '{name}'")
    if not isinstance(info[name], dict):
        raise Malformed(f"{name} is no object")
    return info[name]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _HUGE
