"""What a run found of where its model looks, in words for the terminal."""

from pathlib import Path

from cxrflow.components.localise.report import ClassScore, Localisation, read_localisation
from cxrflow.pipeline.record import Run

_WORDS = {
    "random_box": "a random point",
    "centre_prior": "the centre",
    "random_weights": "shuffled weights",
}


def localisation_report(run: Run) -> Localisation | None:
    """What the node found; None where the data have no boxes.

    Raises:
        CxrflowError: the file is gone.
    """
    folder = run.artifacts.get("Localiser", {}).get("report")
    return read_localisation(Path(folder)) if folder else None


def line(found: Localisation) -> str:
    """One line on all classes together."""
    if not found.classes:
        reasons = "; ".join(f"{one.reason}: {one.boxes:,} boxes" for one in found.left_out)
        return f"attention maps: not scored: {reasons or 'the list has no box'}"
    whole = found.classes[-1]
    controls = ", ".join(
        f"{_WORDS[name]} on {_share(control.value)}"
        for name, control in whole.pointing.controls.items()
    )
    outside = "".join(f"; left out: {one.boxes:,} boxes, {one.reason}" for one in found.left_out)
    return (
        f"attention maps: the highest place lies in a box of the finding on {_pointing(whole)} of "
        f"{whole.images:,} boxed X-rays ({controls}){outside}"
    )


def _pointing(score: ClassScore) -> str:
    model = score.pointing.model
    if model.low is None:
        return _share(model.value)
    return f"{_share(model.value)} ({_share(model.low)} to {_share(model.high)})"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
