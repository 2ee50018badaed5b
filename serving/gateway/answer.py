"""A study's answer: each image is judged, and the results and the audit's lines are made of it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset

from cxrflow.schema.files import whole_folder
from cxrflow.schema.portable.writing import sync_path
from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.serving.gateway.audit import AuditLog
from cxrflow.serving.gateway.decide import OWN, Judge, Judged
from cxrflow.serving.gateway.key_image import build_key_image
from cxrflow.serving.gateway.queue import RESULTS, Batch
from cxrflow.serving.gateway.report import build_report
from cxrflow.serving.gateway.settings import ResultsConfig

REPORT, KEY_IMAGE = "report", "key_image"
_DECISIONS = "decisions.jsonl"


class Unanswerable(Exception):
    """A study that can't be answered, whenever it is tried; the text says why."""


class Answering:
    """Makes answers. Its methods may be called by several threads at once."""

    def __init__(self, judge: Judge, names: Pseudonyms, config: ResultsConfig, audit: AuditLog):
        self._judge, self._names, self._config, self._audit = judge, names, config, audit

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

    def _make(self, batch: Batch, folder: Path) -> None:
        judged: list[Judged] = []
        for path in batch.images():
            found = self._judge.judge(path)
            if found is None:
                continue
            if found.answer is not None:
                image = build_key_image(found, len(judged) + 1, self._names, self._config)
                _save(image, folder / f"{KEY_IMAGE}-{len(judged) + 1}.dcm")
            judged.append(replace(found, gray=None))
        if not judged:
            raise Unanswerable("a study without images")
        if len({one.subject.patient() for one in judged}) > 1:
            raise Unanswerable("a study with images of several patients")
        if told := self._to_tell(judged):
            _save(build_report(told, self._names, self._config), folder / f"{REPORT}.dcm")
        lines = "".join(f"{one.decision.line()}\n" for one in judged)
        (folder / _DECISIONS).write_text(lines, encoding="utf-8")

    def _to_tell(self, judged: Sequence[Judged]) -> list[Judged]:
        """The images that a report is about."""
        told = [one for one in judged if one.decision.reason != OWN]
        if self._config.answer_others or any(one.answer is not None for one in told):
            return told
        return []


def _save(result: Dataset, path: Path) -> None:
    result.save_as(path, enforce_file_format=True)
