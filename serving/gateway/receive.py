"""The DICOM service: C-ECHO and C-STORE for those that may, everything refused with its reason."""

import errno
import logging
import shutil
import socket
import threading
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cxrflow.schema.dicom.file import read_file
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.image_rules import BadImage
from cxrflow.schema.text import visible
from cxrflow.serving.gateway import wire
from cxrflow.serving.gateway.metrics import Metrics
from cxrflow.serving.gateway.queue import BadUid, Queue, require_uid
from cxrflow.serving.gateway.settings import GatewayConfig
from cxrflow.serving.gateway.stored import file_start

# What the renderer decodes, those without loss first where a sender leaves the choice.
SYNTAXES = [
    *(ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
    *(ExplicitVRBigEndian, RLELossless, JPEGLosslessSV1, JPEGLossless, JPEGLSLossless),
    *(JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL),
    *(JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K),
]
# PS3.4 table B.2-1.
SUCCESS, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
_PDU_BYTES = 2**17  # that senders may send at once
_NOT_RECOGNISED = (0x01, 0x01, 0x03)  # rejected for good: calling AE title, PS3.8 table 9-21
_COMMENT = 64  # characters of an Error Comment

logger = logging.getLogger("cxrflow.gateway")


class Receiver:
    """Listens; what it takes is in the queue before its sender is told so."""

    def __init__(self, config: GatewayConfig, queue: Queue, metrics: Metrics):
        """Nothing listens yet."""
        self._config, self._queue, self._metrics = config, queue, metrics
        self._peers = {peer.ae_title: peer.address for peer in config.peers}
        self._meter = _Meter(config)
        self._ae = AE(ae_title=config.ae_title)
        self._server: Any = None
        # The library's own lines have tracebacks and no peer's name; ours say what happened.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        logging.getLogger("highdicom").setLevel(logging.ERROR)
        logging.getLogger("pydicom").setLevel(logging.ERROR)
        _config.LOG_HANDLER_LEVEL = "none"

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listens from now on.

        Raises:
            CxrflowError: the port is taken, or can't be; a certificate can't be used.
        """
        config, ae = self._config, self._ae
        ae.maximum_associations = config.limits.max_associations
        ae.maximum_pdu_size = min(_PDU_BYTES, config.limits.max_pdu_bytes)
        ae.require_called_aet = True
        ae.network_timeout = ae.dimse_timeout = config.limits.network_seconds
        ae.acse_timeout = config.limits.network_seconds
        ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), SYNTAXES)
        encrypted: Any = wire.encryption(config)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, wire.guard, [config.limits]),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_DATA_RECV, self._meter.count),
            (evt.EVT_DIMSE_RECV, self._meter.settle),
            (evt.EVT_CONN_CLOSE, self._meter.settle),
            (evt.EVT_CONN_CLOSE, wire.let_go),
            (evt.EVT_ABORTED, self._aborted),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_C_STORE, self._store),
        ]
        try:
            self._server = ae.start_server(
                (config.host, config.port),
                block=False,
                contexts=_Shared(ae.supported_contexts),
                ssl_context=encrypted,
                evt_handlers=handlers,
            )
        except OSError as error:
            raise CxrflowError(
                f"gateway: port {config.port} on {config.host}: {error.strerror or error}"
            ) from None
        # socketserver's own question: who is turned away later keeps a thread that is counted.
        self._server.verify_request = self._has_room

    def stop(self) -> None:
        """Ends the connections; senders send again what they got no answer for."""
        self._ae.shutdown()

    def _has_room(self, _: socket.socket, address: tuple[Any, ...]) -> bool:
        """From before anybody said who it is."""
        room = wire.has_room(address[0], self._config.limits, len(self._ae.active_associations))
        if not room:
            self._metrics.rejected.inc()
        return room

    def _requested(self, event: evt.Event) -> None:
        """Rejects who isn't a peer, or comes from elsewhere."""
        request: Any = event.assoc.requestor.primitive
        title, address = request.calling_ae_title.strip(), event.assoc.requestor.address
        if title not in self._peers:
            why = "its AE title isn't among `peers`"
        elif self._peers[title] not in ("", address):
            why = f"as a peer it has the address {self._peers[title]}"
        else:
            return
        self._metrics.rejected.inc()
        logger.warning("rejected %s at %s: %s", visible(title), address, why)
        event.assoc.acse.send_reject(*_NOT_RECOGNISED)
        event.assoc.kill()  # once that is sent

    def _rejected(self, event: evt.Event) -> None:
        """By the library itself: the other title is wrong, or there are too many connections."""
        request: Any = event.assoc.requestor.primitive
        called = request.called_ae_title.strip()
        why = f"it calls {visible(called)}, this is {self._config.ae_title}"
        if called == self._config.ae_title:
            why = f"limits.max_associations ({self._config.limits.max_associations}) are reached"
        self._metrics.rejected.inc()
        logger.warning("rejected %s: %s", _who(event), why)

    def _aborted(self, event: evt.Event) -> None:
        self._metrics.aborted.inc()
        logger.warning("connection of %s aborted", _who(event))

    def _store(self, event: evt.Event) -> Dataset:
        """What a C-STORE is answered with."""
        answer = self._taken_or_not(event)
        if answer.Status != SUCCESS:
            self._metrics.refused.inc()
        return answer

    def _taken_or_not(self, event: evt.Event) -> Dataset:
        try:
            return self._take(event)
        except BadImage as error:
            return _refuse(event, NOT_UNDERSTOOD, error.reason)
        except BadUid as error:
            return _refuse(event, MISMATCH, f"'{error}' is no UID")
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return _refuse(
                event, OUT_OF_RESOURCES, "the disk is full" if full else str(error.strerror)
            )
        except Exception as error:  # what pydicom raises for damage is nearly anything
            return _refuse(event, NOT_UNDERSTOOD, f"damaged ({type(error).__name__}: {error})")

    def _take(self, event: evt.Event) -> Dataset:
        request: Any = event.request
        dicom = self._config.ask.dicom
        free, least = shutil.disk_usage(self._queue.root).free, self._config.limits.min_free_bytes
        if free < least:
            raise OSError(errno.ENOSPC, "disk full")
        sender = event.assoc.requestor.ae_title.strip()
        sop = str(request.AffectedSOPInstanceUID)
        start = file_start(
            str(request.AffectedSOPClassUID), sop, str(event.context.transfer_syntax), sender
        )
        data = start + event.encoded_dataset(include_meta=False)
        header = read_file(data, dicom).header
        if (said := header.text("SOPInstanceUID")) != sop:
            return _refuse(event, MISMATCH, f"its SOP Instance UID is '{said}', sent as {sop}")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            require_uid(header.text(keyword))
        if self._queue.store(header.text("StudyInstanceUID"), sop, data):
            self._metrics.received.inc()
        else:
            logger.info("%s sent %s again: it isn't answered twice", _who(event), sop)
        return _status(SUCCESS)


class _Shared(list[PresentationContext]):
    """Contexts that no association changes; the library copies some thousand objects for each."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared":
        return self


class _Meter:
    """How many bytes are being received; ends connections that bring too many."""

    def __init__(self, config: GatewayConfig):
        self._one, self._all = config.ask.dicom.max_bytes, config.limits.max_receiving_bytes
        self._lock = threading.Lock()
        self._bytes: dict[int, int] = {}

    def count(self, event: evt.Event) -> None:
        """A part of a message came."""
        who = id(event.assoc)
        with self._lock:
            self._bytes[who] = now = self._bytes.get(who, 0) + len(event.data)
            together = sum(self._bytes.values())
        if now > self._one:
            why = f"it sends more than ask.dicom.max_bytes ({self._one}) in one image"
        elif together > self._all:
            why = f"limits.max_receiving_bytes ({self._all}) are reached by all senders together"
        else:
            return
        if not event.assoc.is_aborted:
            logger.warning("aborting %s: %s", _who(event), why)
            event.assoc.abort(block=False)

    def settle(self, event: evt.Event) -> None:
        """The message is whole, or its connection ended."""
        with self._lock:
            self._bytes.pop(id(event.assoc), None)


def _who(event: evt.Event) -> str:
    requestor = event.assoc.requestor
    return f"{visible(str(requestor.ae_title).strip())} at {requestor.address}"


def _refuse(event: evt.Event, status: int, reason: str) -> Dataset:
    line = visible(" ".join(reason.split()))
    logger.warning("refused an image of %s: %s", _who(event), line)
    return _status(status, line)


def _status(status: int, reason: str = "") -> Dataset:
    found = Dataset()
    found.Status = status
    if reason:
        plain = reason.encode("ascii", "replace").decode().replace("\\", "/")
        found.ErrorComment = plain[:_COMMENT]
    return found
