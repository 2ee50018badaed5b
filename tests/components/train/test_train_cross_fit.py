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

    trained = []
    real = cross_fit.train

    def noting(network, known, new, *more):
        trained.append((network.full, len(known), len(new)))
        return real(network, known, new, *more)

    monkeypatch.setattr(cross_fit, "train", noting)
    run(str(tiny.folder), str(tmp_path), head="simple", cross_fit=2, epochs=4)

    saved_model = tmp_path / "Format-Serving"
    found = read_out_of_fold(saved_model)
    folds = list(patient_folds(found.patient_id, found.labels, 2))
    assert [sizes for _, *sizes in trained] == [[len(a), len(b)] for a, b in folds]
    assert per_class_auc(found.labels, found.logits)[:2].min() > 0.6
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    served = tf.saved_model.load(str(saved_model)).signatures["network"](image=pixels)
    for name in ("logits", "attention"):
        mean = np.mean([network(pixels)[name] for network, *_ in trained], axis=0)
        np.testing.assert_allclose(served[name], mean, atol=1e-4)
