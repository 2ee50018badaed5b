"""The patient split: official lists where they lie, else a stable hash of the patient id."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cxrflow.components.ingest.quarantine import Problem, Reason
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.label_table import BadTable, read_names, shown

if TYPE_CHECKING:
    import pandas as pd


def assign_splits(
    rows: "pd.DataFrame",
    train_val_list: Path | None,
    test_list: Path | None,
    *,
    split: Literal["auto", "official", "hash"],
    eval_share: float,
    test_share: float,
    split_salt: str,
) -> tuple["pd.DataFrame", list[Problem]]:
    """Adds the column `split` (train, eval or test); no patient is in two of them.

    A patient's split depends on the patient alone (lists or hash, and the salt), so it stays when
    images or patients are added.

    Args:
        rows: of `table.read_table`.
        train_val_list: file with an image name a line, or None.
        test_list: the same.
        split: auto takes the lists when both are given.
        eval_share: share of the patients outside test that go to eval.
        test_share: share of all patients that go to test; unused with lists.
        split_salt: another salt gives another split.

    Returns:
        The rows that have a split, and a problem for each row that is in neither list.

    Raises:
        CxrflowError: a list is missing (both, for auto, is no error), or they share an image or a
            patient.
    """
    lists = [path for path in (train_val_list, test_list) if path]
    official = split == "official" or (split == "auto" and bool(lists))
    if official and len(lists) < 2:
        there = f"there is only {lists[0].name}" if lists else "there is neither"
        raise CxrflowError(
            "the official split needs train_val_list.txt and test_list.txt in the data folder, "
            f"{there}; ingest.split=hash splits without them"
        )
    if official:
        train_val, test = (_read_list(path) for path in lists)
        _refuse_overlap(rows, train_val, test)
        listed = rows["image_id"].isin(train_val | test)
        if len(rows) and not listed.any():
            raise CxrflowError(
                f"no image of the table is in {lists[0].name} or {lists[1].name}, which have "
                f"'{shown(min(train_val | test, default=''))}' for example: each line must be an "
                "image's name as in the table, without a folder; ingest.split=hash splits without "
                "them"
            )
        problems = [
            Problem(Reason.NOT_IN_LISTS.value, image, row, "in neither official list")
            for row, image in rows.loc[~listed, ["row", "image_id"]].itertuples(index=False)
        ]
        rows = rows[listed]
        in_test = rows["image_id"].isin(test)
    else:
        problems = []
        in_test = _chosen(rows, f"{split_salt}/test", test_share)
    in_eval = _chosen(rows, f"{split_salt}/eval", eval_share)
    names = [
        "test" if test else "eval" if eval_ else "train"
        for test, eval_ in zip(in_test, in_eval, strict=True)
    ]
    return rows.assign(split=np.array(names, object)).reset_index(drop=True), problems


def unit_hash(text: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but `text` and `salt`."""
    digest = hashlib.blake2b(text.encode(), key=hashlib.sha256(salt.encode()).digest()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _chosen(rows: "pd.DataFrame", salt: str, share: float) -> list[bool]:
    """For each row, whether its patient is among the `share` that the salt chooses."""
    chosen = {patient: unit_hash(patient, salt) < share for patient in set(rows["patient_id"])}
    return [chosen[patient] for patient in rows["patient_id"]]


def _read_list(path: Path) -> set[str]:
    try:
        return set(read_names(str(path)))
    except BadTable as error:
        raise CxrflowError(str(error)) from None


def _refuse_overlap(rows: "pd.DataFrame", train_val: set[str], test: set[str]) -> None:
    both = train_val & test
    if both:
        raise CxrflowError(f"{len(both):,} images are in both official lists: {_some(both)}")
    patients = [set(rows.loc[rows["image_id"].isin(x), "patient_id"]) for x in (train_val, test)]
    shared = patients[0] & patients[1]
    if shared:
        raise CxrflowError(
            f"{len(shared):,} patients have images in both official lists: {_some(shared)}"
        )


def _some(names: Iterable[str], n: int = 3) -> str:
    first = [shown(name) for name in sorted(names)]
    return ", ".join(first[:n]) + (", ..." if len(first) > n else "")
