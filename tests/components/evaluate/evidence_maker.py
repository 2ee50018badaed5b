"""Evidence about a model whose quality is set: logits are a class's label, noise and a patient's
own part, which all of the patient's images share."""

import numpy as np
from scipy.special import expit

from cxrflow.components.evaluate.ece import expected_calibration_error
from cxrflow.components.evaluate.evidence.judge import Evidence
from cxrflow.components.evaluate.results import ClassResult
from cxrflow.components.evaluate.scores import class_scores
from cxrflow.components.score.files import Scores, Table

CLASSES = ("Edema", "Mass", "Hernia")
PREVALENCE = (0.3, 0.2, 0.01)


def table(images: int, seed: int, prevalence=PREVALENCE) -> Table:
    """Three images a patient; a patient's images share sex and age."""
    random = np.random.default_rng(seed)
    patients = np.arange(images) // 3
    people = patients.max(initial=0) + 1
    return Table(
        image_id=np.array([f"{seed}-{i:05}.png" for i in range(images)], np.str_),
        patient_id=patients.astype(str),
        age=random.integers(20, 60, people)[patients],
        sex=random.choice(["F", "M"], people)[patients],
        view=random.choice(["AP", "PA"], images),
        age_band=np.array(["20-39", "40-59"])[random.integers(0, 2, people)][patients],
        labels=(random.random((images, len(prevalence))) < prevalence).astype(np.uint8),
    )


def scored(
    images: Table, strength: float, seed: int, split: str = "test", model: str = "ensemble"
) -> Scores:
    """Probabilities that are right for logits of the strength; 0: it knows the shares alone."""
    random = np.random.default_rng(seed)
    shape = images.labels.shape
    people = int(images.patient_id.astype(int).max(initial=0)) + 1
    own = random.normal(size=(people, shape[1]))[images.patient_id.astype(int)]
    x = strength * images.labels + 0.8 * random.normal(size=shape) + 0.6 * own  # variance 1
    share = np.array(PREVALENCE)[: shape[1]]
    # Bayes' rule for two normal distributions of the same variance.
    logits = np.log(share / (1 - share)) + strength * (x - strength / 2)
    if not strength:
        logits = logits + 1e-6 * x
    classes = CLASSES[: shape[1]]
    return Scores(model, classes, split, False, images, expit(logits).astype(np.float32), logits)


def results_of(scores: Scores) -> tuple[ClassResult, ...]:
    """What the Evaluator finds."""
    found = []
    for c, name in enumerate(scores.classes):
        known = ~np.isnan(scores.images.labels[:, c])
        y, p = scores.images.labels[known, c], scores.probabilities[known, c]
        values = class_scores(y, p)
        counts = {key: int(values.pop(key)) for key in ("positives", "negatives")}
        ece = expected_calibration_error(y, p)
        found.append(
            ClassResult(
                name=name,
                **counts,
                **values,
                ece=ece,
                ece_uncalibrated=ece,
                brier_score_uncalibrated=values["brier_score"],
            )
        )
    return tuple(found)


def evidence(
    strength: float = 1.5,
    *,
    test: Scores | None = None,
    floor: float = 0.5,
    last: Scores | None = None,
    images: int = 900,
) -> Evidence:
    """About a model of a strength on test and eval, and baselines that are weaker."""
    scores = test or scored(table(images, 1), strength, 2)
    eval_images = table(images, 3)
    on_eval = scored(eval_images, strength, 4, "eval")
    return Evidence(
        results={"split=test": results_of(scores)},
        test=scores,
        eval=on_eval,
        floor={
            "probe": scored(eval_images, floor, 5, "eval", "probe"),
            "metadata": scored(eval_images, 0.2, 6, "eval", "metadata"),
            "shuffled": scored(eval_images, 0.0, 7, "eval", "shuffled"),
        },
        floor_test={"probe": scored(scores.images, floor, 5, "test", "probe")},
        members={
            name: tuple(
                scored(one.images, of_member, 8, one.split, name) for one in (on_eval, scores)
            )
            for name, of_member in (("weak", 0.3), ("strong", strength))
        },
        last=last,
        last_uri="/models/7" if last else "",
    )
