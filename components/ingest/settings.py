"""What is read and refused, and how it is split, as data."""

from typing import Literal

from pydantic import Field, model_validator

from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.schema.classes import DEFAULT_CLASSES
from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.settings import Positive, Share, settings

_UNSERVED = "models refuse such images once they are served"


@settings
class IngestConfig:
    """What ImageExampleGen reads and refuses, and how it splits."""

    classes: tuple[str, ...] = Field(default=DEFAULT_CLASSES, min_length=1)
    """Findings to predict, in the order of the outputs: of NIH's 14, or of those of `data`, which
    are all of them unless some are named here."""
    cohort: Literal["all", "findings"] = "all"
    """all: X-rays without a finding are negatives; findings: only X-rays with one of the
    classes."""
    split: Literal["auto", "official", "hash"] = "auto"
    """official: by the lists beside the table; hash: by patient id; auto: official where they
    lie."""
    eval_share: Share = 0.15
    """Share of the patients outside test that goes to eval."""
    test_share: Share = 0.2
    """Share of all patients that goes to test, where no official lists decide."""
    split_salt: str = "cxrflow"
    """Hashed with the patient id: another salt makes another split."""
    max_bad_share: Share = 0.01
    """Largest share of images in quarantine; above it the run stops."""
    min_side: Positive = 64
    """Shortest side of an image to train on, in pixels."""
    max_side: Positive = 5120
    """Longest side of an image to train on, in pixels."""
    max_bytes: Positive = 16 * 2**20
    """Largest image file to train on, in bytes."""

    @model_validator(mode="after")
    def _consistent(self) -> "IngestConfig":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a class twice")
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is above max_side {self.max_side}")
        served = ImageLimits()
        if self.min_side < served.min_side:
            raise ValueError(f"min_side {self.min_side} is below {served.min_side}: {_UNSERVED}")
        for name in ("max_side", "max_bytes"):
            if (value := getattr(self, name)) > (most := getattr(served, name)):
                raise ValueError(f"{name} {value} is above {most}: {_UNSERVED}")
        return self


@settings
class IngestSettings:
    """Settings of ImageExampleGen."""

    data_dir: str
    """The data folder."""
    data_version: str
    """Its `folder.fingerprint`: new data, new run."""
    ingest: IngestConfig
    """What is read and refused, and how it is split."""
    source: DataConfig | None = None
    """What describes the folder; none: NIH's X-rays in Kaggle's layout."""
