"""What models say about each image of a split, as files that are read without TensorFlow.

A folder of scores holds a folder a model, and in it `scores.json` and `<split>.npz`:

- `scores.json`: `model` (its name), `classes` (in the order of the columns), `synthetic` (the
  images are phantoms), `splits`, and `note` (how the scores came about, empty where a model was
  simply asked).
- `<split>.npz`, in the order of the split's files: `image_id`, `patient_id`, `sex`, `view`,
  `age_band` (text [N]), `age` (int64 [N], years), `labels` (float32 [N, C], k-hot, NaN for
  unknown), `probabilities` (float32 [N, C], calibrated, in 0..1), where a model has them, `logits`
  (float32 [N, C], before calibration), and of a described source `slice/NAME` (text [N]).

A model that was cross-fitted has a third split, `out_of_fold`: the images of train and eval, each
scored by a model that was fitted on other patients. Its scores of eval are taken from there.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import (
    AGE,
    AGE_BAND,
    IMAGE_ID,
    PATIENT_ID,
    SEX,
    SLICE_PREFIX,
    T_LABELS,
    VIEW,
)
from cxrflow.schema.files import whole_file, write_whole

DESCRIPTION = "scores.json"
OUT_OF_FOLD = "out_of_fold"
# By array, the feature of a transformed example.
COLUMNS = {
    "image_id": IMAGE_ID,
    "patient_id": PATIENT_ID,
    "age": AGE,
    "sex": SEX,
    "view": VIEW,
    "age_band": AGE_BAND,
    "labels": T_LABELS,
}


@dataclass(frozen=True)
class Table:
    """What is known of N images of a split, besides their pixels."""

    image_id: np.ndarray  # text [N]
    patient_id: np.ndarray  # text [N]
    age: np.ndarray  # int64 [N], years
    sex: np.ndarray  # text [N], M or F
    view: np.ndarray  # text [N], PA or AP
    age_band: np.ndarray  # text [N]
    labels: np.ndarray  # float32 [N, C], k-hot, NaN where nothing is known
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)  # text [N] by a further group

    @classmethod
    def joined(cls, batches: Sequence[Mapping[str, np.ndarray]]) -> "Table":
        """From batches of features as TensorFlow gives them, text as bytes; by `COLUMNS`' names,
        and further groups by their features'.
        """
        names = batches[0].keys()
        columns = {name: np.concatenate([batch[name] for batch in batches]) for name in names}
        return cls.of({n: _text(v) if v.dtype == object else v for n, v in columns.items()})

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Table":
        """From what `arrays` gives; other arrays are left out."""
        named = {name: arrays[name] for name in COLUMNS}
        further = {n.removeprefix(SLICE_PREFIX): arrays[n] for n in arrays if _is_slice(n)}
        return cls(**named, slices=further)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All columns by the names that they have in a file."""
        named = {name: getattr(self, name) for name in COLUMNS}
        return named | {f"{SLICE_PREFIX}{name}": one for name, one in self.slices.items()}

    def groups(self, attribute: str) -> np.ndarray:
        """The group of each image, text [N], by sex, view, age_band or a further slice."""
        found: np.ndarray = (
            self.slices[attribute] if attribute in self.slices else getattr(self, attribute)
        )
        return found

    @classmethod
    def together(cls, *tables: "Table") -> "Table":
        """All rows of several tables."""
        each = [table.arrays for table in tables]
        return cls.of({name: np.concatenate([one[name] for one in each]) for name in each[0]})

    def __len__(self) -> int:
        return len(self.image_id)


@dataclass(frozen=True)
class Scores:
    """What one model says about a split."""

    model: str
    classes: tuple[str, ...]
    split: str
    synthetic: bool  # the images are phantoms
    images: Table
    probabilities: np.ndarray  # float32 [N, C]
    logits: np.ndarray | None = None  # float32 [N, C], before calibration
    note: str = ""  # how they came about, where it isn't simply asking the model

    def known(self, place: int) -> np.ndarray:
        """The images whose label of the class at `place` is known, a mask [N]."""
        mask: np.ndarray = ~np.isnan(self.images.labels[:, place])
        return mask

    def in_order_of(self, image_ids: np.ndarray) -> "Scores":
        """Returns the scores with their rows in the order of `image_ids` [N].

        Raises:
            CxrflowError: these aren't the same images, each once.
        """
        order, wanted = np.argsort(self.images.image_id), np.argsort(image_ids)
        if not np.array_equal(self.images.image_id[order], image_ids[wanted]):
            raise CxrflowError(
                f"{self.model} was scored on other images of {self.split}: run the pipeline again"
            )
        rows = np.empty_like(order)
        rows[wanted] = order
        return self.rows(rows)

    def rows(self, rows: np.ndarray) -> "Scores":
        """The rows of these indices or this mask."""
        table = Table.of({name: values[rows] for name, values in self.images.arrays.items()})
        logits = None if self.logits is None else self.logits[rows]
        return Scores(
            self.model,
            self.classes,
            self.split,
            self.synthetic,
            table,
            self.probabilities[rows],
            logits,
            self.note,
        )


def write_scores(by_split: Sequence[Scores], folder: Path) -> Path:
    """Writes one model's scores of one or more splits into `folder`; returns the model's folder.

    Each file is whole or not there.

    Raises:
        ValueError: they aren't of one model, or shapes don't fit.
    """
    first = by_split[0]
    if {(s.model, s.classes) for s in by_split} != {(first.model, first.classes)}:
        raise ValueError("scores of several models can't be written as one model's")
    to = folder / first.model
    to.mkdir(parents=True, exist_ok=True)
    for scores in by_split:
        shape = (len(scores.images), len(scores.classes))
        arrays: dict[str, Any] = scores.images.arrays
        arrays["probabilities"] = scores.probabilities.astype(np.float32)
        if scores.logits is not None:
            arrays["logits"] = scores.logits.astype(np.float32)
        for name in ("labels", "probabilities", "logits"):
            if name in arrays and arrays[name].shape != shape:
                raise ValueError(f"{name} of shape {arrays[name].shape}, not {shape}")
        with whole_file(to / f"{scores.split}.npz") as aside, open(aside, "wb") as file:
            np.savez(file, **arrays)
    described = {
        "model": first.model,
        "classes": list(first.classes),
        "synthetic": first.synthetic,
        "splits": [scores.split for scores in by_split],
        "note": "; ".join(dict.fromkeys(s.note for s in by_split if s.note)),
    }
    write_whole(to / DESCRIPTION, json.dumps(described, indent=1) + "\n")
    return to


def scored_models(folder: Path) -> list[str]:
    """Names of the models whose scores lie in a folder of scores; none where there is none."""
    return sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}"))


def has_scores(folder: Path, model: str, split: str) -> bool:
    """Whether a folder of scores holds one model's of one split."""
    return (folder / model / f"{split}.npz").is_file()


def read_scores(folder: Path, model: str, split: str) -> Scores:
    """Reads one model's scores of one split from a folder of scores.

    Raises:
        CxrflowError: they aren't there or can't be read.
    """
    path = folder / model / f"{split}.npz"
    try:
        described = json.loads((path.parent / DESCRIPTION).read_text(encoding="utf-8"))
        with np.load(path, allow_pickle=False) as arrays:
            table = Table.of(arrays)
            logits = arrays.get("logits")
            return Scores(
                described["model"],
                tuple(described["classes"]),
                split,
                described["synthetic"],
                table,
                arrays["probabilities"],
                logits,
                described["note"],
            )
    except FileNotFoundError:
        raise CxrflowError(f"there are no scores of {model} on {split} in {folder}") from None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CxrflowError(f"{path} can't be read ({error}): run the pipeline again") from error


def _is_slice(name: str) -> bool:
    return name.startswith(SLICE_PREFIX)


def _text(values: np.ndarray) -> np.ndarray:
    return np.array([value.decode() for value in values], np.str_)
