"""schema.pbtxt against the names and classes that the code uses."""

from pathlib import Path

import pytest

from cxrflow.schema import features
from cxrflow.schema.classes import CLASSES_14, DEFAULT_CLASSES

SCHEMA = Path(__file__).parents[2] / "schema" / "schema.pbtxt"


def test_default_classes_are_all_but_hernia() -> None:
    assert len(CLASSES_14) == 14
    assert sorted(CLASSES_14) == list(CLASSES_14)
    assert set(CLASSES_14) - set(DEFAULT_CLASSES) == {"Hernia"}


@pytest.mark.tf
def test_schema_is_that_of_the_raw_example() -> None:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = text_format.Parse(SCHEMA.read_text(), schema_pb2.Schema())
    integers = {features.AGE, features.FOLLOW_UP, features.HEIGHT, features.WIDTH}
    strings = {
        features.IMAGE,
        features.IMAGE_ID,
        features.PATIENT_ID,
        features.SEX,
        features.VIEW,
        features.FINDINGS,
    }
    types = {feature.name: feature.type for feature in schema.feature}
    assert types == dict.fromkeys(integers, schema_pb2.INT) | dict.fromkeys(
        strings, schema_pb2.BYTES
    )
    domains = {domain.name: tuple(domain.value) for domain in schema.string_domain}
    assert domains == {"sex": ("F", "M"), "view": ("AP", "PA"), "finding": CLASSES_14}
    required = {f.name for f in schema.feature if f.presence.min_fraction == 1}
    assert required == (integers | strings) - {features.IMAGE, features.FINDINGS}
