"""The splits of a described source: its own lists, column or tables, else a hash of the patient."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cxrflow.components.ingest.quarantine import Problem, Reason
from cxrflow.components.ingest.source.files import find_tables
from cxrflow.components.ingest.source.settings import DataConfig, Split
from cxrflow.components.ingest.split import unit_hash
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.label_table import BadTable, read_names

if TYPE_CHECKING:
    import pandas as pd


def split_source(
    rows: "pd.DataFrame",
    root: Path,
    data: DataConfig,
    *,
    split: Literal["auto", "official", "hash"],
    eval_share: float,
    test_share: float,
    split_salt: str,
) -> tuple["pd.DataFrame", list[Problem]]:
    """Adds the column `split` (train, eval or test); no patient is in two of them.

    What the source says of its splits counts; a split that it doesn't name is cut out of train by a
    hash of the patient id.

    Args:
        rows: of `read.read_source`.
        root: the data folder.
        data: the description.
        split: auto and official follow the source, hash doesn't; official demands that it says.
        eval_share: share of the patients outside test that go to eval, where it names none.
        test_share: share of all patients that go to test, where it names none.
        split_salt: another salt gives another split.

    Returns:
        The rows that have a split, and a problem for each row that is in no list.

    Raises:
        CxrflowError: a list isn't there, two share an image, or two splits share a patient.
    """
    named = set() if split == "hash" else _named(data)
    if split == "official" and not named:
        raise CxrflowError("ingest.split is official, and the description names no splits")
    problems: list[Problem] = []
    if not named:
        said = ["train"] * len(rows)
    elif data.splits.lists:
        said = _by_lists(rows, root, data.splits.lists, bool(data.pseudonym_key))
        for row, image, one in zip(rows["row"], rows["image_id"], said, strict=True):
            if not one:
                detail = f"in none of {', '.join(data.splits.lists.values())}"
                problems.append(Problem(Reason.NOT_IN_LISTS.value, image, row, detail))
    else:
        said = [one or "train" for one in rows["said_split"]]
    rows = rows.assign(split=np.array(said, object))
    rows = rows[rows["split"] != ""].reset_index(drop=True)
    _refuse_shared_patients(rows)
    final = rows["split"].to_numpy(copy=True)
    patients = rows["patient_id"].to_numpy()
    for one, share in (("test", test_share), ("eval", eval_share)):
        if one not in named:
            chosen = _chosen(share, f"{split_salt}/{one}")
            moved = [final[i] == "train" and chosen(patients[i]) for i in range(len(final))]
            final[np.array(moved, bool)] = one
    return rows.assign(split=final), problems


def _named(data: DataConfig) -> set[str]:
    """The splits that a description names."""
    in_column = data.splits.values.values() if data.splits.column else ()
    return {*(table.split for table in data.tables if table.split), *data.splits.lists, *in_column}


def _by_lists(
    rows: "pd.DataFrame", root: Path, lists: Mapping[Split, str], secret: bool
) -> list[str]:
    """The split of each row whose image or patient is in a list; "" for the others."""
    known: dict[str, str] = {}
    for split, file in lists.items():
        for path in find_tables(root, file):
            try:
                names = read_names(str(path))
            except BadTable as error:
                raise CxrflowError(str(error)) from None
            for name in names:
                if known.setdefault(name, split) != split:
                    what = "a name" if secret else repr(name)  # it may be a patient's
                    raise CxrflowError(f"{file} has {what} that the list of {known[name]} has too")
    found = []
    for names in rows["names"]:
        splits = {known[name] for name in names if name in known}
        if len(splits) > 1:
            raise CxrflowError(
                f"an image of the table is in two lists ({', '.join(sorted(splits))}), by its own "
                "name and its patient's"
            )
        found.append(splits.pop() if splits else "")
    if len(rows) and not any(found):
        raise CxrflowError(
            f"no image of the table is in {', '.join(lists.values())}: each line must be an image "
            "or a patient as the table names it"
        )
    return found


def _refuse_shared_patients(rows: "pd.DataFrame") -> None:
    splits = rows.groupby("patient_id")["split"].nunique()
    shared = sorted(splits[splits > 1].index)
    if shared:
        some = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
        raise CxrflowError(
            f"{len(shared):,} patients are in two of the source's splits: {some}. Correct them, or "
            "set ingest.split=hash"
        )


def _chosen(share: float, salt: str) -> Callable[[str], bool]:
    return lambda patient: unit_hash(patient, salt) < share
