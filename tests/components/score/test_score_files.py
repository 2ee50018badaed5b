"""Scores survive their files, whole or not at all."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cxrflow.components.score.files import (
    Scores,
    Table,
    read_scores,
    scored_models,
    write_scores,
)
from cxrflow.schema.errors import CxrflowError


def scores(split: str = "test", model: str = "narrow", images: int = 3) -> Scores:
    random = np.random.default_rng(0)
    table = Table(
        image_id=np.array([f"{i}.png" for i in range(images)]),
        patient_id=np.array([f"ä{i // 2}" for i in range(images)]),
        age=np.arange(images) + 50,
        sex=np.array(["F"] * images),
        view=np.array(["AP"] * images),
        age_band=np.array(["40-59"] * images),
        labels=random.choice([0, 1, np.nan], (images, 2)).astype(np.float32),
    )
    p = random.random((images, 2)).astype(np.float32)
    return Scores(model, ("Edema", "Mass"), split, True, table, p, logits=np.log(p / (1 - p)))


def test_scores_survive_their_files(tmp_path) -> None:
    test, evaluated = scores(), scores("eval", images=2)
    assert write_scores([evaluated, test], tmp_path) == tmp_path / "narrow"
    assert scored_models(tmp_path) == ["narrow"]
    found = read_scores(tmp_path, "narrow", "test")
    assert repr(found) == repr(test)
    assert len(read_scores(tmp_path, "narrow", "eval").images) == 2
    assert json.loads((tmp_path / "narrow" / "scores.json").read_text()) == {
        "model": "narrow",
        "classes": ["Edema", "Mass"],
        "synthetic": True,
        "splits": ["eval", "test"],
        "note": "",
    }
    assert sorted(path.name for path in (tmp_path / "narrow").iterdir()) == [
        "eval.npz",
        "scores.json",
        "test.npz",
    ]


def test_further_groups_stay_with_their_images(tmp_path) -> None:
    one = scores()
    one = replace(one, images=replace(one.images, slices={"ward": np.array(["A", "B", "ä"])}))
    write_scores([one], tmp_path)
    read = read_scores(tmp_path, "narrow", "test").images
    assert read.groups("ward").tolist() == ["A", "B", "ä"]
    assert read.groups("sex").tolist() == ["F"] * 3
    assert one.rows(np.array([2, 0])).images.groups("ward").tolist() == ["ä", "A"]
    both = Table.together(one.images, one.rows(np.array([1])).images)
    assert both.groups("ward").tolist() == ["A", "B", "ä", "B"]
    batch = {
        name: np.array([t.encode() for t in values], object) if values.dtype.kind == "U" else values
        for name, values in one.images.arrays.items()
    }
    assert Table.joined([batch, batch]).groups("ward").tolist() == ["A", "B", "ä"] * 2


def test_a_table_from_tensorflows_batches() -> None:
    batch = {
        "image_id": np.array([b"\xc3\xa4.png"], object),
        "patient_id": np.array([b"7"], object),
        "age": np.array([61]),
        "sex": np.array([b"M"], object),
        "view": np.array([b"PA"], object),
        "age_band": np.array([b"60-79"], object),
        "labels": np.array([[1, 0]], np.float32),
    }
    table = Table.joined([batch, batch])
    assert table.image_id.tolist() == ["ä.png"] * 2 and table.labels.dtype == np.float32


def test_rows_are_put_in_anothers_order() -> None:
    one = scores()
    other = one.rows(np.array([2, 0, 1]))
    assert other.images.image_id.tolist() == ["2.png", "0.png", "1.png"]
    assert repr(other.in_order_of(one.images.image_id)) == repr(one)
    with pytest.raises(CxrflowError, match="other images of test"):
        other.rows(np.array([0, 1])).in_order_of(one.images.image_id)


def test_what_is_missing_or_broken_is_said(tmp_path) -> None:
    with pytest.raises(CxrflowError, match="no scores of narrow on test"):
        read_scores(tmp_path, "narrow", "test")
    write_scores([scores()], tmp_path)
    (tmp_path / "narrow" / "test.npz").write_bytes(b"no archive")
    with pytest.raises(CxrflowError, match="can't be read"):
        read_scores(tmp_path, "narrow", "test")
    with pytest.raises(ValueError, match="several models"):
        write_scores([scores(), scores(model="wide")], tmp_path)
    wrong = scores()
    with pytest.raises(ValueError, match="of shape"):
        write_scores(
            [Scores("m", ("Edema",), "test", True, wrong.images, wrong.probabilities)], tmp_path
        )
