"""DICOMweb: results by STOW-RS, PS3.18 section 10.5, one in a request."""

import json
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.gateway.queue import Batch
from cxrflow.serving.gateway.send import NotNow, Unreachable
from cxrflow.serving.gateway.settings import DestinationConfig

_SECONDS = 60.0
# Of the request's form or of this result; anything else may be otherwise tomorrow.
_NEVER = (400, 406, 409, 413, 415, 422)
_FAILED, _WHY = "00081198", "00081197"  # Failed SOP Sequence, Failure Reason


class StowSender:
    """A DICOMweb service."""

    def __init__(self, destination: DestinationConfig):
        """Raises CxrflowError if the CA's file can't be read."""
        self._destination = destination
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if destination.stow_url.startswith("https:"):
            try:
                context = ssl.create_default_context(cafile=destination.ca or None)
            except OSError as error:  # ssl's own errors are some
                raise CxrflowError(
                    f"gateway: destinations: {destination.name}: ca: {destination.ca} can't be "
                    f"read: {error.strerror or error}"
                ) from None
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def send(self, batch: Batch, results: Sequence[Path]) -> list[str]:
        """See `send.Sender`."""
        refused = []
        for path in results:
            if why := self._store(path):
                refused.append(f"{self._destination.name} refuses {path.stem}: {why}")
            else:
                batch.mark_sent(self._destination.name, path, "stored")
        return refused

    def _store(self, path: Path) -> str:
        """Why a result is never taken; empty where it was."""
        to = self._destination
        try:
            with self._opener.open(self._request(path), timeout=_SECONDS) as answer:
                return _failure(answer.read())
        except urllib.error.HTTPError as error:
            why = f"HTTP {error.code} {error.reason}"
            said = _failure(error.read())
            if error.code in _NEVER:
                return f"{why}, {said}" if said else why
            if error.code in (401, 403, 404):
                raise Unreachable(f"{to.stow_url}: {why}") from None
            raise NotNow(f"{to.name} doesn't take {path.stem} now: {why}") from None
        except OSError as error:  # URLError is one
            reason = getattr(error, "reason", None) or error.strerror or error
            raise Unreachable(f"{to.stow_url}: {reason}") from None

    def _request(self, path: Path) -> urllib.request.Request:
        to, boundary = self._destination, uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join([head, path.read_bytes(), f"\r\n--{boundary}--\r\n".encode()])
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        }
        if to.authorization_file:  # read each time: it may be renewed
            try:
                headers["Authorization"] = Path(to.authorization_file).read_text().strip()
            except OSError as error:
                raise Unreachable(f"{to.authorization_file}: {error.strerror}") from None
        return urllib.request.Request(f"{to.stow_url.rstrip('/')}/studies", body, headers)


def _failure(body: bytes) -> str:
    """What an answer says of a result that wasn't stored; empty where it says nothing."""
    try:
        answer: Any = json.loads(body)
        answer = answer[0] if isinstance(answer, list) else answer
        failed = answer[_FAILED]["Value"][0]
        return f"failure reason {int(failed[_WHY]['Value'][0]):04X}"
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
