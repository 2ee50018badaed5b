"""Which golden images prove what."""

import numpy as np
import pytest

from cxrflow.components.edge.export.golden import least_alike, not_told_apart, write_golden

ANSWERS = np.array([[0.1, 0.5], [0.11, 0.5], [0.9, 0.5], [0.5, 0.9], [0.1, 0.5]], np.float32)


def test_the_images_farthest_apart_are_taken():
    assert least_alike({"a": ANSWERS}, {"a": 0.01}, 2) == [0, 2]
    assert least_alike({"a": ANSWERS}, {"a": 0.01}, 3) == [0, 2, 3]
    assert least_alike({"a": ANSWERS}, {"a": 0.01}, 9) == [0, 1, 2, 3, 4]
    assert least_alike({"a": ANSWERS[:1]}, {"a": 0.01}, 3) == [0]
    assert len(least_alike({"a": ANSWERS}, {"a": 0.01}, 1)) == 1


def test_every_variant_must_tell_them_apart_by_its_own_tolerance():
    """By `b` images 0 and 2 are nearly the same, and it is allowed more."""
    others = np.array([[0.1, 0.1], [0.3, 0.1], [0.12, 0.1], [0.6, 0.1], [0.13, 0.1]], np.float32)
    both = {"a": ANSWERS, "b": others}
    assert least_alike(both, {"a": 0.001, "b": 0.05}, 2) == [0, 3]


@pytest.mark.parametrize(
    ("chosen", "tolerance", "said"),
    [
        ([0, 2, 3], 0.19, ""),  # .4 between 2 and 3
        ([0, 2, 3], 0.21, "answers by a are nearly the same"),
        ([0, 1], 0.001, ""),
        ([0, 4], 0.001, "nearly the same"),
        ([0], 0.001, "one golden image only, so that a constant answer isn't noticed"),
    ],
)
def test_what_cannot_be_proved_is_said(chosen, tolerance, said):
    note = not_told_apart({"a": ANSWERS[chosen]}, {"a": tolerance})
    assert said in note
    assert bool(note) == bool(said)


def test_the_archive_holds_each_variants_own_answers(tmp_path):
    pixels = np.zeros((2, 4, 4), np.uint8)
    answers = {"litert_int8": ANSWERS[:2], "onnx": ANSWERS[2:4]}
    originals, scores = [b"\x89PNG\r\n\x1a\n1", b"\xff\xd8 2"], np.float32([7, 8])
    write_golden(originals, pixels, ANSWERS[1:3], answers, scores, tmp_path)
    assert (tmp_path / "golden" / "1.jpg").read_bytes() == b"\xff\xd8 2"
    with np.load(tmp_path / "golden" / "golden.npz") as archive:
        assert archive["names"].tolist() == ["0.png", "1.jpg"]
        assert (archive["answers_onnx"] == ANSWERS[2:4]).all()
        assert (archive["answers_litert_int8"] == ANSWERS[:2]).all()
        assert (archive["probabilities"] == ANSWERS[1:3]).all()
        assert archive["out_of_distribution"].tolist() == [7, 8]
