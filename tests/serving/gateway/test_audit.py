"""The audit log: each decision once and whole, whatever the process went through."""

from dataclasses import replace

import pytest

from cxrflow.schema.audit import Decision, ImageStatistics, Unlikeness, parse_decision, read_audit
from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.gateway.audit import AuditLog

DECISION = Decision(
    id="a" * 24,
    time="2026-11-26T10:15:31.000Z",
    received="2026-11-26T10:15:30.000Z",
    sender="MODALITY1",
    study="b" * 24,
    sop_instance="c" * 24,
    input_sha256="d" * 64,
    answer="findings",
    image=ImageStatistics(96, 80, 120.5, 61.25),
    scores={"Mass": 0.25},
    thresholds={"Mass": None},
    decisions={"Mass": None},
    ood=Unlikeness(3.0, None, None),
    notes=("DICOM has no window",),
    seconds=1.0,
)


def test_a_line_is_read_as_it_was_written():
    assert parse_decision(DECISION.line()) == DECISION


def test_decisions_are_added_once(tmp_path):
    log, other = AuditLog(tmp_path / "audit.jsonl"), replace(DECISION, id="e" * 24)
    log.require()
    log.add([DECISION.line()])
    log.add([DECISION.line(), other.line()], again=True)
    assert list(read_audit(tmp_path / "audit.jsonl")) == [DECISION, other]
    assert (tmp_path / "audit.jsonl").read_text().count("\n") == 2


def test_what_a_power_cut_left_is_no_part_of_the_next_line(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text(DECISION.line()[:40])
    assert list(read_audit(path)) == []
    AuditLog(path).add([DECISION.line()], again=True)
    assert path.read_text() == f"{DECISION.line()}\n"


def test_another_file_is_told_by_its_line(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text(f'{DECISION.line()}\n{{"id": 7}}\n')
    with pytest.raises(CxrflowError, match=r"audit.jsonl, line 2 is no decision: id: "):
        list(read_audit(path))


def test_a_log_that_cannot_be_written_ends_the_start(tmp_path):
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(CxrflowError, match=r"gateway: audit: .* can't be written: Is a directory"):
        AuditLog(tmp_path / "audit.jsonl").require()
