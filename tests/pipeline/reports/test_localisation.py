"""What the terminal says of attention maps."""

from cxrflow.components.localise.report import (
    ClassScore,
    Control,
    Figure,
    LeftOut,
    Localisation,
    Score,
    write_localisation,
)
from cxrflow.pipeline.record import Run
from cxrflow.pipeline.reports.localisation import line, localisation_report

POINTING = Score(
    Figure(0.41, 0.3, 0.52),
    {
        "random_box": Control(0.1, Figure(0.31, 0.2, 0.4)),
        "centre_prior": Control(0.25, Figure(0.16, 0.05, 0.3)),
        "random_weights": Control(None, Figure()),
    },
)
UNKNOWN = Score(Figure(), {})
SCORED = ClassScore("Mass", 80, 60, 90, POINTING, UNKNOWN, UNKNOWN, (), 0.2)
LEFT = LeftOut(3, "the box lies outside its image", ("a.png",))


def localisation(*classes: ClassScore, left_out: tuple[LeftOut, ...] = ()) -> Localisation:
    return Localisation(
        "ensemble", False, "test", "b.csv", "class", (7, 7), (60, 180), 9, classes, left_out
    )


def test_all_classes_beside_what_knows_nothing():
    assert line(localisation(SCORED, left_out=(LEFT,))) == (
        "attention maps: the highest place lies in a box of the finding on 41% (30% to 52%) of 80 "
        "boxed X-rays (a random point on 10%, the centre on 25%, shuffled weights on –); left out: "
        "3 boxes, the box lies outside its image"
    )


def test_nothing_scored_is_said():
    assert line(localisation(left_out=(LEFT,))) == (
        "attention maps: not scored: the box lies outside its image: 3 boxes"
    )
    assert line(localisation()) == "attention maps: not scored: the list has no box"


def test_a_run_without_boxes_has_no_report(tmp_path):
    run = Run({}, "", False, 1.0, [], [], {}, pushed="", log="")
    assert localisation_report(run) is None
    found = localisation(SCORED)
    write_localisation(found, tmp_path)
    run.artifacts["Localiser"] = {"report": str(tmp_path)}
    assert localisation_report(run) == found
