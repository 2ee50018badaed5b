import math

import pytest

from cxrflow.schema.portable.scores import mean_auc


@pytest.mark.parametrize(
    ("aucs", "mean"),
    [
        ([], math.nan),
        ([math.nan, math.nan], math.nan),
        ([0.75], 0.75),
        ([0.5, math.nan, 1.0], 0.75),  # of the two that there are
        ((auc for auc in (0.5, 0.75, 1.0)), 0.75),
    ],
)
def test_mean_of_the_classes_that_have_an_auc(aucs, mean: float) -> None:
    assert mean_auc(aucs) == pytest.approx(mean, nan_ok=True)
