"""A network for each fold, served as their mean."""

import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.model.folds import patient_folds
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.out_of_fold import read_out_of_fold
from tests.support.tiny_training import run

pytestmark = [pytest.mark.tf, pytest.mark.usefixtures("tiny_backbone")]


def test_networks_of_folds_are_served_as_their_mean_and_judged_by_other_patients(
    tiny, tmp_path, monkeypatch
):
    from cxrflow.components.train import cross_fit

    trained, taken = [], []
    train, chosen = cross_fit.train, cross_fit.chosen

    def noting(network, known, stopping, *more):
        trained.append((network.full, len(known), len(stopping)))
        return train(network, known, stopping, *more)

    def noting_rows(splits, rows):
        taken.append(rows)
        return chosen(splits, rows)

    monkeypatch.setattr(cross_fit, "train", noting)
    monkeypatch.setattr(cross_fit, "chosen", noting_rows)
    run(str(tiny.folder), str(tmp_path), head="simple", cross_fit=2, epochs=4)

    saved_model = tmp_path / "Format-Serving"
    found = read_out_of_fold(saved_model)
    # What each network has learned from, what has stopped it, and what it is judged by.
    rows = [taken[0:3], taken[3:6]]
    assert [sizes for _, *sizes in trained] == [[len(a), len(b)] for a, b, _ in rows]
    for (learned, stopping, judged), (_, fold) in zip(
        rows, patient_folds(found.patient_id, found.labels, 2), strict=True
    ):
        assert judged.tolist() == fold.tolist()
        parts = [set(found.patient_id[part]) for part in (learned, stopping, judged)]
        assert sum(map(len, parts)) == len(set(found.patient_id)) and all(parts)
        assert 3 < len(learned) / len(stopping) < 5
    assert per_class_auc(found.labels, found.logits)[:2].min() > 0.6
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    served = tf.saved_model.load(str(saved_model)).signatures["network"](image=pixels)
    for name in ("logits", "attention"):
        mean = np.mean([network(pixels)[name] for network, *_ in trained], axis=0)
        np.testing.assert_allclose(served[name], mean, atol=1e-4)
