"""Published AUCs, those that compare with this run's apart from the rest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cxrflow.components.evaluate.evidence.references import judge_references, read_sources
from cxrflow.components.evaluate.settings import SplitKind
from cxrflow.pipeline.reports.dashboard.cohort import is_official
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.schema.portable.scores import mean_auc

_WORKS = {
    "Wang 2017": "Wang et al., ChestX-ray8, CVPR 2017",
    "CheXNet 2017": "Rajpurkar et al., CheXNet, 2017",
    "SwinCheX 2022": "Taslimi et al., SwinCheX, 2022",
    "metadata only": "age, sex and view without a pixel, fitted by this project",
    "2019 study": "the study that this project grew out of",
}


@dataclass(frozen=True)
class Published:
    """One source's AUCs."""

    name: str
    split: str  # what they were measured on
    aucs: dict[str, float]  # by class; NaN where it has none
    comparable: bool
    reason: str  # why it compares, or why not

    @property
    def work(self) -> str:
        """Where they are from; the name where no more is known."""
        return _WORKS.get(self.name, self.name)

    def mean(self, classes: Sequence[str]) -> float:
        """Over these classes, so that columns compare; NaN if none has one."""
        return mean_auc(self.aucs[name] for name in classes)


def published(
    run: RunFolder, classes: Sequence[str], split: str, images: int
) -> tuple[Published, ...]:
    """What schema/reference.csv holds, judged by the gate's rule.

    Args:
        run: what it is to be compared with.
        classes: the others are left out.
        split: of the run; only figures on test can compare.
        images: in that split.
    """
    sources = read_sources()
    kind: SplitKind = "official test list" if is_official(run) else "hash of patients"
    judged = judge_references(list(sources), kind, images, run.synthetic)
    return tuple(
        Published(
            one.source,
            sources[one.source].split,
            {name: sources[one.source].aucs.get(name, math.nan) for name in classes},
            one.comparable and split == "test",
            one.reason if split == "test" else "this run's figures are on eval",
        )
        for one in judged
    )
