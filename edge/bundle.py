"""The bundle: the folder that the pipeline pushed, whole, and what its model.json says."""

import hashlib
import json
import os
from typing import Any, Dict, NamedTuple, Optional

from description import DETECTOR, verify
from image_rules import Limits

MANIFEST = "manifest.json"
FORMAT = 2  # of the bundles that these scripts read, and all before
POINTS = ("youden", "sensitivity", "specificity")  # of model.json's thresholds
_CHUNK = 1 << 20


class Refused(ValueError):
    """Bad input; its text is one line that says what is wrong and what to do."""


class Unfit(Refused):
    """A variant's file isn't what model.json says of it."""


class Preprocessing(NamedTuple):
    """What becomes of an image before the network; model.json's `preprocessing`."""

    compact_size: int  # pixels, of the compact image that Transform writes
    encoding: str  # of it, jpeg or raw
    jpeg_quality: int
    image_size: int  # pixels, of the network's input
    min_side: int  # pixels an original must have
    max_side: int
    max_bytes: int  # of its file

    @property
    def originals(self) -> Limits:
        """What an image may be."""
        return Limits(self.min_side, self.max_side, self.max_bytes)


class _Bundle(NamedTuple):
    folder: str  # absolute
    version: int
    info: Dict[str, Any]  # model.json
    sha256: Dict[str, str]  # of each file, by its path in the folder


class Bundle(_Bundle):
    """A bundle whose files are those of its manifest."""

    @property
    def format(self) -> int:
        """1 where model.json doesn't tell, as it didn't before 2."""
        return int(self.info.get("bundle_format", 1))

    def thresholds(self, variant: str) -> Dict[str, Any]:
        """By class, those that decide: the variant's own, where it has some; else the model's."""
        own = self.info["variants"].get(variant, {}).get("thresholds")
        return own or self.info.get("thresholds") or {}

    @property
    def usual_score(self) -> Optional[float]:
        """Up to this score an image is like the training X-rays; None in bundles without."""
        return (self.info.get("out_of_distribution") or {}).get("threshold")

    def detector(self) -> Any:
        """The Detector of what is no chest X-ray; None in bundles of models that don't tell.

        Raises Refused if its file is none.
        """
        if self.usual_score is None:
            return None
        from out_of_distribution import read_detector  # scripts that don't ask need no NumPy

        try:
            return read_detector(os.path.join(self.folder, DETECTOR))
        except (OSError, ValueError) as error:
            raise Refused(reason(error)) from error

    @property
    def preprocessing(self) -> Preprocessing:
        """What becomes of an image before the network."""
        return Preprocessing(**self.info["preprocessing"])

    def path(self, variant: str) -> str:
        """The file of a variant. Raises Refused if the bundle has none."""
        variants = self.info["variants"]
        if variant not in variants:
            raise Refused(
                "the bundle has no variant {!r}: it has {}".format(variant, ", ".join(variants))
            )
        return os.path.join(self.folder, variants[variant]["file"])


def open_bundle(folder: str) -> Bundle:
    """Reads a bundle, every byte of it, and compares it with its manifest.

    Files that the manifest doesn't list are ignored.

    Raises:
        Refused: the folder is no edge bundle of cxrflow, or a file is missing or was changed.
    """
    folder = os.path.realpath(folder)
    try:
        manifest = _read_json(os.path.join(folder, MANIFEST))
        files = {str(file["path"]): str(file["sha256"]) for file in manifest["files"]}
        version = int(manifest["version"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise Refused(f"{folder} is no edge bundle: {MANIFEST}: {reason(error)}") from error
    for path, sha256 in sorted(files.items()):
        problem = _compare(folder, path, sha256)
        if problem:
            raise Refused(f"the bundle {folder} is damaged: {path} {problem}; copy it anew")
    try:
        if "model.json" not in files:
            raise KeyError("model.json isn't listed")
        bundle = Bundle(folder, version, _read_json(os.path.join(folder, "model.json")), files)
        newer = bundle.format > FORMAT
        if not newer:
            verify(bundle.info, files)
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise Refused(f"{folder} is no edge bundle: model.json: {reason(error)}") from error
    if newer:
        raise Refused(
            f"{folder} is an edge bundle of format {bundle.format}, these scripts read {FORMAT} and"
            " before: run the scripts that lie in it"
        )
    return bundle


def reason(error: BaseException) -> str:
    """An error's text in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"lacks {error}"
    return " ".join(str(text).split())


def _compare(folder: str, path: str, sha256: str) -> str:
    """What is wrong with a file, "" if nothing."""
    parts = path.split("/")
    if os.path.isabs(path) or ".." in parts:
        return "lies outside of it"
    file = os.path.join(folder, *parts)
    if os.path.islink(file) or not os.path.isfile(file):
        return "is missing"
    digest = hashlib.sha256()
    try:
        with open(file, "rb") as reader:
            for chunk in iter(lambda: reader.read(_CHUNK), b""):
                digest.update(chunk)
    except OSError as error:
        return f"can't be read ({reason(error)})"
    return "" if digest.hexdigest() == sha256 else "was changed"


def _read_json(path: str) -> Dict[str, Any]:
    """An object. Raises OSError, or ValueError for what is none."""
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file, parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError("its values lie too deep in each other") from None
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content


def _refuse_constant(name: str) -> None:
    """NaN and Infinity, which JSON hasn't got."""
    raise ValueError(f"{name} is no number")
