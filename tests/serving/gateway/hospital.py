"""A hospital around the gateway: X-rays, a modality that sends, an archive that keeps, a model."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import wrappers_pb2
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import Verification

from cxrflow.serving.gateway.queue import STATES
from cxrflow.serving.gateway.settings import GatewayConfig
from cxrflow.serving.settings import checked
from tests.serving.answering import INFO, PROBABILITIES, Answering
from tests.serving.dicoms import write_dicom

DIGEST = "5e" * 32  # of the model's manifest
KEY = "0123456789abcdef0123456789abcdef"
TITLE, MODALITY, ARCHIVE = "CXRFLOW", "MODALITY1", "ARCHIVE"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRESENTATION = "1.2.840.10008.5.1.4.1.1.11.1"


def write_xray(path: Path, seed: int = 0, **elements: Any) -> Path:
    """A synthetic chest X-ray with every element that a modality gives."""
    shades = np.linspace(300, 3600, 96)[None] + np.linspace(-200, 200, 80)[:, None]
    noise = np.random.default_rng(seed).integers(0, 90, (80, 96))
    pixels = (shades + noise).astype(np.uint16)
    given = {
        "PatientName": "Xray^Anna",
        "PatientID": "00417",
        "PatientBirthDate": "19601224",
        "PatientSex": "F",
        "PatientAge": "065Y",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "StudyDate": "20261126",
        "StudyTime": "101500",
        "StudyID": "S1",
        "AccessionNumber": "A-77",
        "ReferringPhysicianName": "Doctor^Who",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "WindowCenter": 2000,
        "WindowWidth": 4000,
        "Manufacturer": "Synthetic",
    }
    elements = {name: value for name, value in (given | elements).items() if value is not None}
    return write_dicom(path, pixels, **elements)


class FakeModel(Answering):
    """Answers at once; has maps by class and says how unlike its X-rays an image is."""

    def __init__(self, probabilities: Sequence[float] = PROBABILITIES, maps: bool = True):
        super().__init__(probabilities)
        self.maps, self.unlike, self.asked = maps, 3.0, 0
        self.refuses: grpc.StatusCode | None = None

    def Predict(self, request, context):
        self.asked += 1
        if self.refuses is not None:
            context.abort(self.refuses, "as told")
        attention = request.model_spec.signature_name == "attention"
        if attention and not self.maps:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no signature attention")
        response = super().Predict(request, context)
        if attention:
            maps = np.random.default_rng(1).random((1, 4, 4, len(self.probabilities)), np.float32)
            value = response.outputs["attention"]
            value.dtype = 1
            for size in maps.shape:
                value.tensor_shape.dim.add(size=size)
            value.tensor_content = maps.tobytes()
        score = response.outputs["out_of_distribution"]
        score.dtype = 1
        score.tensor_shape.dim.add(size=1)
        score.float_val.append(self.unlike)
        return response

    def GetModelMetadata(self, request, context):
        response = super().GetModelMetadata(request, context)
        if "manifest.sha256" in request.metadata_field:
            response.metadata["manifest.sha256"].Pack(wrappers_pb2.StringValue(value=DIGEST))
        return response


INFO["out_of_distribution"] = {"threshold": 10.0}


RESULTS = (COMPREHENSIVE_SR, SECONDARY_CAPTURE, PRESENTATION)


class Archive:
    """A C-STORE SCP that keeps what it gets; it can be told to refuse."""

    def __init__(self, kinds: Sequence[str] = RESULTS):
        self.kinds, self.answers = kinds, {}  # SOP class -> status to answer with
        self.got: list[Dataset] = []
        self.count, self.keeps, self.delay = 0, True, 0.0
        self._lock = threading.Lock()
        self._server: Any = None

    def start(self, port: int = 0) -> int:
        ae = AE(ae_title=ARCHIVE)
        ae.add_supported_context(Verification)
        for kind in self.kinds:
            ae.add_supported_context(kind)
        self._server = ae.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        return self._server.server_address[1]

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server = None

    def _store(self, event: evt.Event) -> int:
        time.sleep(self.delay)
        if not self.keeps and not self.answers:  # many in a row: what it says costs more than it
            with self._lock:
                self.count += 1
            return 0
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        status = self.answers.get(str(dataset.SOPClassUID), 0)
        if not status:
            with self._lock:
                self.count += 1
                self.got += [dataset] if self.keeps else []
        return status

    def of(self, kind: str) -> list[Dataset]:
        with self._lock:
            return [one for one in self.got if one.SOPClassUID == kind]

    @property
    def reports(self) -> list[Dataset]:
        return self.of(COMPREHENSIVE_SR)

    @property
    def key_images(self) -> list[Dataset]:
        return self.of(SECONDARY_CAPTURE)

    @property
    def presentations(self) -> list[Dataset]:
        return self.of(PRESENTATION)


def send(
    port: int, paths: Sequence[Path], title: str = MODALITY, called: str = TITLE
) -> list[Dataset]:
    """C-STORE of files, each in its own transfer syntax; their answers.

    Raises:
        ConnectionError: there is no association.
    """
    return send_datasets(port, [dcmread(path) for path in paths], title, called)


def send_datasets(
    port: int, files: Sequence[Dataset], title: str = MODALITY, called: str = TITLE
) -> list[Dataset]:
    """As `send`, of what is in memory."""
    ae = AE(ae_title=title)
    ae.requested_contexts = [
        build_context(kind, syntax)
        for kind, syntax in sorted({(f.SOPClassUID, f.file_meta.TransferSyntaxUID) for f in files})
    ]
    association = ae.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        raise ConnectionError("rejected" if association.is_rejected else "no association")
    try:
        return [association.send_c_store(file) for file in files]
    finally:
        association.release()


def config(folder: Path, server: str, **changes: Any) -> GatewayConfig:
    """A gateway's settings for tests: short pauses, any free port."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key").write_text(KEY)
    values: dict[str, Any] = {
        "port": 0,
        "queue": str(folder / "queue"),
        "audit": str(folder / "audit.jsonl"),
        "pseudonym_key": str(folder / "key"),
        "peers": [{"ae_title": MODALITY}],
        "ask": {"server": server, "deadline": 5, "retry": {"attempts": 2, "pause": 0.05}},
        "collect": {"quiet_seconds": 0.2, "most_seconds": 5},
        "retry": {"pause": 0.1, "max_pause": 0.3},
        "results": {"key_image_side": 256},
        "limits": {"min_free_bytes": 1},
    }
    return checked(GatewayConfig, values | changes, "gateway")


def to_archive(port: int, **changes: Any) -> dict[str, Any]:
    """A destination."""
    return {"name": "archive", "ae_title": ARCHIVE, "host": "127.0.0.1", "port": port} | changes


def until(holds: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Waits for something, and returns it."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.02)
    return found


def states(folder: Path) -> dict[str, list[str]]:
    """Studies by the state that they are in; states without one are left out."""
    found = {
        # Path.glob breaks where a study goes on to the next state while it is looked at.
        state: sorted({Path(each).parent.name for each in glob(f"{folder}/queue/{state}/*/*")})
        for state in STATES
    }
    return {state: names for state, names in found.items() if names}


@contextmanager
def kept(archive: Archive) -> Iterator[int]:
    """An archive's port, as long as it is open."""
    port = archive.start()
    try:
        yield port
    finally:
        archive.stop()
