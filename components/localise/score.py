"""How well maps find radiologists' boxes, class by class, and what finds them without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from cxrflow.components.evaluate.statistics.draws import Draws, estimate
from cxrflow.components.localise import places
from cxrflow.components.localise.report import CONTROLS, ClassScore, Control, Figure, Overlap, Score
from cxrflow.components.localise.settings import LocaliseConfig

MODEL = "model"
ALL = "all classes"


@dataclass(frozen=True)
class Case:
    """One X-ray and one class that it has boxes of."""

    name: str  # of the class
    patient: str
    rectangles: np.ndarray  # [B, 4], see `places`
    attention: np.ndarray  # the model's map of the class [h, w], finite, 0 or more
    randomised: np.ndarray  # the same of the network with randomised weights
    body: np.ndarray  # bool [G, G]


@dataclass(frozen=True)
class _Found:
    """What one source of maps found on one case; a row of numbers."""

    pointing: float
    in_boxes: float  # share of the map's sum
    in_body: float
    found: np.ndarray  # true boxes found, by T(IoBB)
    false: np.ndarray  # predicted boxes that lie in none, by T(IoBB)


def score(cases: Sequence[Case], config: LocaliseConfig) -> tuple[ClassScore, ...]:
    """Scores each class, in alphabetical order, and all of them together; none without cases."""
    if not cases:
        return ()
    random = np.random.default_rng(config.seed)
    rows = [_of_case(case, config, random) for case in cases]
    names = sorted({case.name for case in cases})
    groups = {name: [i for i, case in enumerate(cases) if case.name == name] for name in names}
    if len(names) > 1:
        groups[ALL] = list(range(len(cases)))
    return tuple(
        _class_score(name, [cases[i] for i in chosen], [rows[i] for i in chosen], config)
        for name, chosen in groups.items()
    )


def _of_case(case: Case, config: LocaliseConfig, random: np.random.Generator) -> dict[str, _Found]:
    centre = places.centre_prior(max(case.attention.shape))
    found = {
        MODEL: _of_map(case.attention, case, config),
        "random_weights": _of_map(case.randomised, case, config),
        "centre_prior": _of_map(centre, case, config),
    }
    return found | {"random_box": _of_chance(case, config, random)}


def _of_map(attention: np.ndarray, case: Case, config: LocaliseConfig) -> _Found:
    fine = places.fine(attention, config.grid)
    boxes, false = _overlapping(places.outlined(fine, config.intensities), case, config)
    return _Found(
        places.pointing_hit(attention, case.rectangles),
        places.share_inside(fine, places.mask_of(case.rectangles, config.grid)),
        places.share_inside(fine, case.body),
        boxes,
        false,
    )


def _of_chance(case: Case, config: LocaliseConfig, random: np.random.Generator) -> _Found:
    """What is to be expected of the model's boxes at random places, and of a random point."""
    predicted = places.outlined(places.fine(case.attention, config.grid), config.intensities)
    drawn = [
        _overlapping(places.moved(predicted, random), case, config)
        for _ in range(config.random_boxes)
    ]
    covered = float(places.mask_of(case.rectangles, config.grid).mean())
    found, false = (np.mean([draw[i] for draw in drawn], axis=0) for i in (0, 1))
    return _Found(covered, covered, float(case.body.mean()), found, false)


def _overlapping(
    predicted: np.ndarray, case: Case, config: LocaliseConfig
) -> tuple[np.ndarray, np.ndarray]:
    """True boxes found and predicted boxes in none, by T(IoBB)."""
    share = places.overlaps(predicted, case.rectangles)  # [P, B]
    over = share[..., None] > np.array(config.overlaps)  # [P, B, T]
    found, false = over.any(axis=0).sum(axis=0), (~over.any(axis=1)).sum(axis=0)
    return found.astype(float), false.astype(float)


def _class_score(
    name: str, cases: Sequence[Case], rows: Sequence[Mapping[str, _Found]], config: LocaliseConfig
) -> ClassScore:
    patients = np.array([case.patient for case in cases])
    draws = Draws.of(patients, config.draws, config.seed)
    boxes = np.array([len(case.rectangles) for case in cases], np.float64)
    once = np.ones(len(cases))

    def compared(values: dict[str, np.ndarray], of: np.ndarray) -> Score:
        return _score(values, of, draws)

    def by_source(field: str) -> dict[str, np.ndarray]:
        return {
            source: np.array([getattr(row[source], field) for row in rows])
            for source in (MODEL, *CONTROLS)
        }

    found, false = by_source("found"), by_source("false")
    return ClassScore(
        name=name,
        images=len(cases),
        patients=len(np.unique(patients)),
        boxes=int(boxes.sum()),
        pointing=compared(by_source("pointing"), once),
        share_in_boxes=compared(by_source("in_boxes"), once),
        share_in_body=compared(by_source("in_body"), once),
        overlaps=tuple(
            Overlap(
                threshold=threshold,
                accuracy=compared({source: of[:, t] for source, of in found.items()}, boxes),
                false_positives=compared({source: of[:, t] for source, of in false.items()}, once),
            )
            for t, threshold in enumerate(config.overlaps)
        ),
        likeness=_mean([_likeness(case) for case in cases]),
    )


def _score(values: Mapping[str, np.ndarray], of: np.ndarray, draws: Draws) -> Score:
    """Sums of `values` over sums of `of`, on the cases as they are and on draws of patients.

    Args:
        values: by source [N]; a case with a NaN of any source is left out.
        of: what the values are counted of, [N].
        draws: of the cases' patients.
    """
    known = np.asarray(np.isfinite(list(values.values())).all(axis=0))
    of_known = draws.within(known)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = of_known.sums(of[known])
        ratios = {name: of_known.sums(one[known]) / total for name, one in values.items()}
    model = ratios[MODEL]
    return Score(
        model=_figure(model),
        controls={
            name: Control(_number(float(ratios[name][0])), _figure(model - ratios[name]))
            for name in CONTROLS
        },
    )


def _figure(drawn: np.ndarray) -> Figure:
    found = estimate(drawn)
    return Figure(_number(found.value), _number(found.low), _number(found.high))


def _likeness(case: Case) -> float:
    """Spearman's correlation of both maps' cells; NaN where one is flat."""
    maps = case.attention.ravel(), case.randomised.ravel()
    if any(np.ptp(one) == 0 for one in maps):
        return float("nan")
    return float(spearmanr(*maps).statistic)


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
