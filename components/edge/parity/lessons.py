"""What a model's teacher has taught it: it against the member with its recipe."""

from pathlib import Path

from cxrflow.components.edge.parity.report import Lesson
from cxrflow.components.evaluate.evidence.differences import differences
from cxrflow.components.evaluate.statistics.draws import Draws
from cxrflow.components.score.files import read_scores


def lessons(student: Path, members: Path, name: str, untaught: str, draws: int) -> list[Lesson]:
    """On eval and on test, of both models as they are before conversion.

    Args:
        student: folder of the model's scores.
        members: folder of the members' scores.
        name: the model's, in its scores.
        untaught: the member's.
        draws: of patients, for the intervals.

    Raises:
        CxrflowError: scores are missing, or of other images.
    """
    found = []
    for split in ("eval", "test"):
        own = read_scores(student, name, split)
        other = {untaught: read_scores(members, untaught, split)}
        one = differences(own, other, Draws.of(own.images.patient_id, draws))[0]
        gap = one.difference
        interval = (gap.low, gap.high)
        found.append(Lesson(split, untaught, one.auc, one.model_auc, gap.value, interval))
    return found
