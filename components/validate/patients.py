"""How many patients have each class, counted from the examples without their pixels."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from cxrflow.components.images.records import split_records
from cxrflow.schema.features import FINDINGS, PATIENT_ID


def patients_by_class(splits: Iterable[Path], classes: Sequence[str]) -> dict[str, int]:
    """Patients with at least one image that has the class, of these splits' folders together."""
    spec = {
        PATIENT_ID: tf.io.FixedLenFeature([], tf.string),
        FINDINGS: tf.io.RaggedFeature(tf.string),
    }
    patients: dict[str, set[bytes]] = {name: set() for name in classes}
    for folder in splits:
        for batch in split_records(folder).batch(1024):
            rows = tf.io.parse_example(batch, spec)
            for patient, names in zip(
                rows[PATIENT_ID].numpy(), rows[FINDINGS].to_list(), strict=True
            ):
                for name in {n.decode() for n in names} & patients.keys():
                    patients[name].add(patient)
    return {name: len(found) for name, found in patients.items()}
