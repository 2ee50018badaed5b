"""A distilled model beside the member with its recipe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxrflow.components.edge.parity.lessons import lessons
from cxrflow.components.score.files import write_scores
from cxrflow.schema.errors import CxrflowError
from tests.components.evaluate.evidence_maker import scored, table

SPLITS = ("eval", "test")


def written(folder: Path, name: str, strength: float, splits: tuple[str, ...]) -> Path:
    scores = [
        scored(table(300, seed), strength, seed + 9, split, name)
        for seed, split in enumerate(splits)
    ]
    write_scores(scores, folder)
    return folder


def test_it_is_told_on_eval_and_test_of_the_same_images(tmp_path: Path) -> None:
    members = written(tmp_path / "members", "small", 1.0, SPLITS)
    student = written(tmp_path / "student", "distilled", 2.0, SPLITS)

    found = lessons(student, members, "distilled", "small", draws=50)

    assert [(one.split, one.untaught) for one in found] == [("eval", "small"), ("test", "small")]
    for seed, one in enumerate(found):
        own, other = (scored(table(300, seed), s, seed + 9) for s in (2.0, 1.0))
        auc, untaught = (
            np.mean([roc_auc_score(s.images.labels[:, c], s.probabilities[:, c]) for c in range(3)])
            for s in (own, other)
        )
        assert (one.auc, one.untaught_auc) == pytest.approx((auc, untaught))
        assert one.difference == pytest.approx(auc - untaught)
        assert one.interval[0] <= one.difference <= one.interval[1]


def test_scores_of_other_images_are_refused(tmp_path: Path) -> None:
    members = written(tmp_path / "members", "small", 1.0, SPLITS)
    images = table(300, 0)
    images = replace(images, image_id=np.char.add(images.image_id, "x"))
    write_scores([scored(images, 1.0, 9, split, "d") for split in SPLITS], tmp_path / "student")
    with pytest.raises(CxrflowError, match="was scored on other images of eval"):
        lessons(tmp_path / "student", members, "d", "small", draws=5)
