"""Kills a gateway under load at random moments, and counts what was lost or done twice."""

import itertools
import multiprocessing
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydicom.uid import generate_uid

from cxrflow.schema.audit import read_audit
from tests.serving.answering import answering
from tests.serving.gateway import hospital
from tests.support.ports import free_port

_PRELOADED = ["cxrflow.serving.gateway.service", "pynetdicom", "highdicom.sr", "highdicom.sc"]


@dataclass
class Found:
    """What came of it."""

    kills: int = 0
    sent: int = 0  # images whose C-STORE was answered with success
    lost: list[str] = field(default_factory=list)  # of these, those in no report
    doubled: list[str] = field(default_factory=list)  # those in several, or twice in the audit log
    changed: list[str] = field(default_factory=list)  # results that came with other bytes again
    resent: int = 0  # results that came again as they were
    killed_in: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def trial(folder: Path, kills: int, seed: int) -> Found:
    """A gateway, a modality that sends all the time and again what isn't acknowledged, and kills.

    Args:
        folder: for its files; it must not exist.
        kills: how many.
        seed: of the moments.
    """
    folder.mkdir()
    moments, found, archive = random.Random(seed), Found(), hospital.Archive()
    archive.delay = 0.01
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with answering(hospital.FakeModel()) as server, hospital.kept(archive) as archive_port:
        port = free_port()
        config = write_config(folder, server, port, archive_port)
        modality = _Modality(folder, port)
        modality.start()
        try:
            for _ in range(kills):
                process = start(context, config)
                _await_moment(moments, lambda: len(modality.sent), lambda: archive.count)
                process.kill()
                process.join()
                found.kills += 1
                for state in hospital.states(folder / "g"):
                    found.killed_in[state] += 1
            process = start(context, config)
            time.sleep(1)
            modality.stop()
            if modality.error:
                raise modality.error
            # What is left then counts as lost.
            _await(lambda: set(hospital.states(folder / "g")) <= {"answered", "failed"}, 600)
        finally:
            modality.stop()
            process.kill()
            process.join()
    _judge(found, folder, modality.sent, archive)
    return found


class _Modality(threading.Thread):
    """Sends studies of one to three X-rays, each image until it is acknowledged."""

    def __init__(self, folder: Path, port: int):
        super().__init__(name="modality")
        self._folder, self._port, self._ended = folder, port, threading.Event()
        self.sent: set[str] = set()
        self.error: Exception | None = None  # that ended it

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        try:
            self._send_studies()
        except Exception as error:
            self.error = error

    def _send_studies(self) -> None:
        for number in itertools.count():
            study, patient = generate_uid(), str(number)
            for image in range(1 + number % 3):
                path = hospital.write_xray(
                    self._folder / "xray.dcm",
                    image,
                    StudyInstanceUID=study,
                    PatientID=patient,
                )
                while not self._send(path):
                    if self._ended.wait(0.05):
                        return
            if self._ended.is_set():
                return

    def _send(self, path: Path) -> bool:
        try:
            (answer,) = hospital.send(self._port, [path])
        except (ConnectionError, RuntimeError, ValueError):  # killed before, or while it listened
            return False
        if answer.get("Status") != 0:
            return False
        self.sent.add(str(hospital.dcmread(path, stop_before_pixels=True).SOPInstanceUID))
        return True


def write_config(folder: Path, server: str, port: int, archive_port: int, **changes: Any) -> Path:
    """A gateway's settings as a file; its queue and logs are below the folder."""
    hospital.config(folder / "g", server)  # makes the key
    values = {
        "port": port,
        "queue": str(folder / "g" / "queue"),
        "audit": str(folder / "g" / "audit.jsonl"),
        "pseudonym_key": str(folder / "g" / "key"),
        "peers": [{"ae_title": hospital.MODALITY}],
        "destinations": [hospital.to_archive(archive_port)],
        "ask": {"server": server},
        "collect": {"quiet_seconds": 0.1},
        "retry": {"pause": 0.1, "max_pause": 0.2},
        "results": {"key_image_side": 256},
        "limits": {"min_free_bytes": 1},
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


def run_gateway(config: Path) -> None:
    """The command's own work, in a process of its own."""
    from cxrflow.serving.gateway import service
    from cxrflow.serving.gateway.settings import read_gateway_config

    service.serve(read_gateway_config(config), lambda _: None)


def start(context: Any, config: Path) -> Any:
    """A process with a gateway."""
    process = context.Process(target=run_gateway, args=(config,), daemon=True)
    process.start()
    return process


def _await_moment(
    moments: random.Random, taken: Callable[[], int], stored: Callable[[], int]
) -> None:
    """Waits for a random moment: as it starts, after an image was taken, or a result stored."""
    kind = moments.random()
    if kind < 0.15:
        time.sleep(moments.uniform(0, 1.5))
        return
    counted = taken if kind < 0.5 else stored
    before = counted()
    _await(lambda: counted() > before)
    time.sleep(moments.uniform(0, 1.5 if kind < 0.75 else 0.1))


def _await(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for something, but not for ever."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)


def _judge(found: Found, folder: Path, sent: set[str], archive: hospital.Archive) -> None:
    reports: dict[str, set[str]] = defaultdict(set)  # image -> reports about it
    seen: dict[str, str] = {}
    for result in archive.got:
        name, text = str(result.SOPInstanceUID), str(result.to_json())
        found.resent += name in seen
        if seen.setdefault(name, text) != text:
            found.changed.append(name)
    for report in archive.reports:
        (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
        for series in evidence.ReferencedSeriesSequence:
            for image in series.ReferencedSOPSequence:
                reports[str(image.ReferencedSOPInstanceUID)].add(str(report.SOPInstanceUID))
    found.sent = len(sent)
    found.lost = sorted(sent - set(reports))
    found.doubled = [image for image, about in reports.items() if len(about) > 1]
    lines = (folder / "g" / "audit.jsonl").read_text().count("\n")
    decided = len(list(read_audit(folder / "g" / "audit.jsonl")))
    found.doubled += ["audit"] * (lines - decided + abs(decided - len(reports)))
