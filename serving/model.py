"""A model that is served: where its versions lie, which are in memory, and what they are called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxrflow.schema.store.load_record import LoadRecord
from cxrflow.serving.loading import Version


@dataclass(frozen=True)
class Source:
    """A model's folder, and what a configuration says about it.

    Without `labels` and `versions`, labels.json in the folder decides, and without that file the
    newest version is served and labelled stable.
    """

    folder: Path
    labels: Mapping[str, int] | None = None
    versions: Callable[[list[int]], list[int]] | None = None  # of those there, which are served


@dataclass(eq=False)
class Model:
    """One model's versions and labels; `default` answers requests that name neither."""

    name: str
    source: Source
    versions: dict[int, Version] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    default: int | None = None
    complaint: str = ""  # what was last logged about its labels
    record: LoadRecord | None = None  # what was last written for `cxrflow models`
