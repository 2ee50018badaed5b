"""How a result gets to a destination: C-STORE to a DICOM node, or STOW-RS to a DICOMweb service."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cxrflow.serving.gateway.queue import Batch
from cxrflow.serving.gateway.settings import DestinationConfig, GatewayConfig
from cxrflow.serving.gateway.wire import client_context

_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 60.0
# C-STORE's statuses, PS3.4 table B.2-1 and PS3.7 annex C.
_DONE = (0x0000, 0xB000, 0xB006, 0xB007)
_NEVER = (0x0122, 0x0124, 0xA900)  # SOP class not supported, not authorised, no such data set


class Unreachable(Exception):
    """Nobody answers there, or not us: the same holds for every other study."""


class NotNow(Exception):
    """This result wasn't taken, for a reason that may pass."""


class Sender(Protocol):
    """A way to a destination."""

    def send(self, batch: Batch, results: Sequence[Path]) -> list[str]:
        """Sends results, and marks in their batch what has arrived.

        Returns:
            Why some are not taken, whenever they are sent: a line each.

        Raises:
            Unreachable, NotNow.
        """


class DicomSender:
    """C-STORE, all results of a study in one association."""

    def __init__(self, config: GatewayConfig, destination: DestinationConfig):
        """Raises CxrflowError if a file of its encryption can't be used."""
        self._own, self._destination = config.ae_title, destination
        # A file is sent as its bytes are: to read a report and write it again is half its making.
        _config.STORE_SEND_CHUNKED_DATASET = True
        self._tls: tuple[ssl.SSLContext, str] | None = None
        if destination.tls:
            self._tls = client_context(config, destination.ca), destination.host

    def send(self, batch: Batch, results: Sequence[Path]) -> list[str]:
        """See `Sender`."""
        to = self._destination
        kinds = {path: read_file_meta_info(path).MediaStorageSOPClassUID for path in results}
        association = self._associate(set(kinds.values()))
        try:
            taken = {context.abstract_syntax for context in association.accepted_contexts}
            refused = []
            for path, kind in kinds.items():
                if kind not in taken:
                    refused.append(f"{to.name} ({to.ae_title}) takes no {kind.name}")
                elif why := self._store(association, batch, path):
                    refused.append(why)
            return refused
        finally:
            if association.is_established:
                association.release()

    def _associate(self, kinds: set[Any]) -> Any:
        to = self._destination
        ae = AE(ae_title=self._own)
        ae.connection_timeout = _CONNECT_SECONDS
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _ANSWER_SECONDS
        # Who takes none of the others takes the first: so an association tells what is refused.
        # Each way to write is asked for apart: else the archive chooses one, and where it likes
        # another than the file has, a report is read and written again.
        ae.requested_contexts = [
            build_context(Verification),
            *(build_context(kind, syntax) for kind in sorted(kinds) for syntax in _SYNTAXES),
        ]
        association = ae.associate(to.host, to.port, ae_title=to.ae_title, tls_args=self._tls)
        if association.is_established:
            return association
        where = f"{to.ae_title} at {to.host}:{to.port}"
        if association.is_rejected:
            said = getattr(association.acceptor.primitive, "reason_str", "")
            raise Unreachable(f"{where} rejects {self._own}: {said.lower()}")
        trusted = ", with a certificate that `ca` signed" if to.tls else ""
        raise Unreachable(f"{where}: no association, is it running{trusted}?")

    def _store(self, association: Any, batch: Batch, path: Path) -> str:
        """Why a result is never taken; empty where it was."""
        to = self._destination
        answer = association.send_c_store(_payload(association, path))
        if "Status" not in answer:
            raise Unreachable(f"{to.ae_title} at {to.host}:{to.port}: the connection broke")
        status = int(answer.Status)
        if status in _DONE:
            batch.mark_sent(to.name, path, f"{status:04X}")
            return ""
        comment = str(answer.get("ErrorComment", "")).strip()
        why = f"{to.name} ({to.ae_title}) refuses {path.stem}: status {status:04X}"
        why = f"{why}, {comment}" if comment else why
        if status in _NEVER:
            return why
        raise NotNow(why)


def _payload(association: Any, path: Path) -> Path | Dataset:
    """A result's file, or what is in it where the peer wants it in another transfer syntax."""
    meta = read_file_meta_info(path)
    wanted = {
        syntax
        for context in association.accepted_contexts
        if context.abstract_syntax == meta.MediaStorageSOPClassUID
        for syntax in context.transfer_syntax
    }
    return path if meta.TransferSyntaxUID in wanted else dcmread(path)
