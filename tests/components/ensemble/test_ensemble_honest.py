"""What chooses an ensemble where members have learned from eval."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

from cxrflow.components.ensemble.combine import Combination
from cxrflow.components.ensemble.compare import Method, Predictions
from cxrflow.components.ensemble.honest import cross_fitted, honest_predictions
from cxrflow.components.ensemble.members import Member
from cxrflow.components.ensemble.scores import all_scores
from cxrflow.components.model.calibration import Calibration
from cxrflow.components.model.out_of_fold import OutOfFold, write_out_of_fold
from cxrflow.schema.errors import CxrflowError
from tests.components.evaluate.evidence_maker import table

IMAGES = np.array(["t0", "t1", "e0", "e1"])
LOGITS = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
ASKED = Predictions(
    log_odds=np.full((2, 2, 1), 9.0),
    labels=np.array([[0.0], [1.0]]),
    patients=np.array(["b", "c"]),
    image_id=np.array(["e1", "e0"]),
)


def member(folder: Path, scored: OutOfFold | None) -> Member:
    """One whose calibration doubles its logits and takes 1 away."""
    (folder / "Format-Serving").mkdir(parents=True)
    if scored:
        write_out_of_fold(folder / "Format-Serving", scored)
    calibration = Calibration(np.array([2.0]), np.array([-1.0]))
    name = folder.name
    return Member(name, "MobileNet", "probe", folder / "Format-Serving", 64, calibration)


@pytest.fixture
def scored() -> OutOfFold:
    labels = np.array([[1], [0], [1], [0]], np.float32)
    patients = np.array(["a", "a", "b", "c"])
    return OutOfFold(IMAGES, patients, labels, LOGITS, expit(2 * LOGITS - 1))


def test_all_cross_fitted_members_are_compared_on_train_and_eval(scored, tmp_path):
    members = [member(tmp_path / name, scored) for name in "xy"]
    found, note = honest_predictions(members, ASKED)
    np.testing.assert_allclose(found.log_odds[1], [[-1.0], [1.0], [3.0], [5.0]])
    assert found.patients.tolist() == ["a", "a", "b", "c"]
    assert found.labels[:, 0].tolist() == [1, 0, 1, 0]
    assert "4 images" in note


def test_cross_fitted_members_need_not_be_asked_about_eval(scored, tmp_path):
    members = [member(tmp_path / name, scored) for name in "xy"]
    assert cross_fitted(members)
    assert not cross_fitted([*members, member(tmp_path / "z", None)])
    not_asked = dataclasses.replace(ASKED, log_odds=np.full((2, 2, 1), np.nan))
    found, _ = honest_predictions(members, not_asked)
    assert np.isfinite(found.log_odds).all()


def test_members_in_another_order_of_images_are_brought_into_one(scored, tmp_path):
    other = OutOfFold(
        **{f.name: getattr(scored, f.name)[::-1] for f in dataclasses.fields(OutOfFold)}
    )
    members = [member(tmp_path / "x", scored), member(tmp_path / "y", other)]
    found, _ = honest_predictions(members, ASKED)
    np.testing.assert_array_equal(found.log_odds[0], found.log_odds[1])


def test_a_cross_fitted_member_beside_others_is_scored_out_of_fold_on_eval(scored, tmp_path):
    members = [member(tmp_path / "x", None), member(tmp_path / "y", scored)]
    found, note = honest_predictions(members, ASKED)
    np.testing.assert_allclose(found.log_odds, [[[9.0], [9.0]], [[5.0], [3.0]]])  # e1, e0
    assert found.patients.tolist() == ["b", "c"]
    assert "out of fold" in note


def test_members_that_were_not_cross_fitted_are_asked(tmp_path):
    found, note = honest_predictions([member(tmp_path / name, None) for name in "xy"], ASKED)
    assert found is ASKED
    assert not note


def test_members_scored_on_other_images_are_refused(scored, tmp_path):
    other = dataclasses.replace(scored, image_id=np.array(["t0", "t1", "e0", "e9"]))
    members = [member(tmp_path / "x", scored), member(tmp_path / "y", other)]
    with pytest.raises(CxrflowError, match=r"y: 1 images, such as e1, have no out-of-fold scores"):
        honest_predictions(members, ASKED)


@pytest.mark.parametrize("content", [b"PK", b"", b"text"])
def test_a_broken_file_is_named(content, scored, tmp_path):
    one = member(tmp_path / "x", scored)
    (tmp_path / "x" / "out_of_fold.npz").write_bytes(content)
    with pytest.raises(CxrflowError, match=r"out_of_fold\.npz can't be read"):
        honest_predictions([one], ASKED)


def test_cross_fitted_members_and_their_ensemble_are_written_out_of_fold(scored, tmp_path):
    members = [member(tmp_path / name, scored) for name in "xy"]
    images = table(2, 0, (0.5,))
    images = dataclasses.replace(images, image_id=np.array(["e1", "e0"]))
    asked = dataclasses.replace(ASKED, images=images)
    known, _ = honest_predictions(members, asked)
    weights = np.array([0.5, 0.5])
    method = Method(Combination("mean", weights), known.log_odds.mean(axis=0))
    learned = dataclasses.replace(table(4, 1, (0.5,)), image_id=IMAGES[::-1])
    settings = SimpleNamespace(classes=("Mass",), synthetic=False)
    found = all_scores(
        ["x", "y"],
        {"eval": asked, "test": asked},
        known,
        method,
        Calibration.identity(1),
        settings,
        learned,
    )
    for scores in found:
        by_split = {one.split: one for one in scores}
        assert set(by_split) == {"eval", "test", "out_of_fold"}
        honest = by_split["out_of_fold"]
        assert honest.images.image_id.tolist() == ["e1", "e0", "t1", "t0"]
        np.testing.assert_allclose(honest.probabilities[:, 0], expit([5.0, 3.0, 1.0, -1.0]))
        np.testing.assert_allclose(by_split["eval"].probabilities[:, 0], expit([5.0, 3.0]))
