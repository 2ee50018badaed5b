"""A study's answer: each image is judged, and the results and the audit's lines are made of it."""

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset

from cxrflow.schema.audit import parse_decision
from cxrflow.schema.files import whole_folder
from cxrflow.schema.portable.writing import sync_path
from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.schema.text import visible
from cxrflow.serving.gateway.audit import AuditLog
from cxrflow.serving.gateway.decide import OWN, Judge, Judged
from cxrflow.serving.gateway.key_image import build_key_image
from cxrflow.serving.gateway.metrics import Metrics
from cxrflow.serving.gateway.presentation import build_presentation
from cxrflow.serving.gateway.queue import RESULTS, Batch
from cxrflow.serving.gateway.report import build_report
from cxrflow.serving.gateway.settings import ResultKind, ResultsConfig

REPORT: ResultKind = "report"
KEY_IMAGE: ResultKind = "key_image"
PRESENTATION: ResultKind = "presentation"
_DECISIONS = "decisions.jsonl"

logger = logging.getLogger("cxrflow.gateway")


class Unanswerable(Exception):
    """A study that can't be answered, whenever it is tried; the text says why."""


class Answering:
    """Makes answers. Its methods may be called by several threads at once."""

    def __init__(
        self,
        judge: Judge,
        names: Pseudonyms,
        config: ResultsConfig,
        audit: AuditLog,
        metrics: Metrics,
        kinds: Collection[ResultKind],
    ):
        """`kinds`: what any destination wants."""
        self._judge, self._names, self._config, self._kinds = judge, names, config, kinds
        self._audit, self._metrics = audit, metrics

    def answer(self, batch: Batch) -> None:
        """Leaves a batch with its results and their lines in the audit log.

        What a killed process has left there whole is taken as it is: the same study gets the same
        objects.

        Raises:
            Unanswerable: it holds no image, or images of several patients.
            ServersFault: the model can't be asked now.
        """
        results = batch.path / RESULTS
        again = results.is_dir()
        if not again:
            with whole_folder(results, batch.path / f".{RESULTS}") as aside:
                self._make(batch, aside)
                for path in aside.iterdir():
                    sync_path(os.fspath(path))
                sync_path(os.fspath(aside))
        lines = (results / _DECISIONS).read_text(encoding="utf-8").splitlines()
        self._audit.add(lines, again)
        for line in lines:
            self._metrics.decided(parse_decision(line))

    def _make(self, batch: Batch, folder: Path) -> None:
        judged: list[Judged] = []
        for path in batch.images():
            found = self._judge.judge(path)
            if found is None:
                continue
            if found.answer is not None:
                self._show(found, path, len(judged) + 1, folder)
            judged.append(replace(found, gray=None))
        if not judged:
            raise Unanswerable("a study without images")
        if len({one.subject.patient() for one in judged}) > 1:
            raise Unanswerable("a study with images of several patients")
        if told := self._to_tell(judged):
            _save(build_report(told, self._names, self._config), folder / f"{REPORT}.dcm")
        lines = "".join(f"{one.decision.line()}\n" for one in judged)
        (folder / _DECISIONS).write_text(lines, encoding="utf-8")

    def _show(self, image: Judged, path: Path, number: int, folder: Path) -> None:
        """What shows the findings of one image."""
        if KEY_IMAGE in self._kinds:
            made = build_key_image(image, number, self._names, self._config)
            _save(made, folder / f"{KEY_IMAGE}-{number}.dcm")
        if PRESENTATION in self._kinds:
            try:
                made = build_presentation(image, path, number, self._names, self._config)
            except Exception as error:  # windows that break the rules: a viewer has its own way
                reason = " ".join(str(error).split())
                logger.warning("%s: no presentation state: %s", path.stem, visible(reason))
            else:
                _save(made, folder / f"{PRESENTATION}-{number}.dcm")

    def _to_tell(self, judged: Sequence[Judged]) -> list[Judged]:
        """The images that a report is about."""
        told = [one for one in judged if one.decision.reason != OWN]
        if self._config.answer_others or any(one.answer is not None for one in told):
            return told
        return []


def _save(result: Dataset, path: Path) -> None:
    result.save_as(path, enforce_file_format=True)
