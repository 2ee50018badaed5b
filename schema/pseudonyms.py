"""Ids that name nobody: keyed hashes of patients' and images' own."""

import hashlib
import hmac
import uuid
from pathlib import Path

from cxrflow.schema.errors import CxrflowError

_LEAST = 16  # bytes of a key: 128 bits can't be guessed
_LENGTH = 24  # hexadecimal digits of a pseudonym: 96 bits, no two alike among billions


class Pseudonyms:
    """HMAC-SHA256 of ids; who has the key can tell an id's pseudonym, nobody can tell the id."""

    def __init__(self, key: bytes):
        self._key = key

    @classmethod
    def read(cls, path: Path, setting: str = "data.pseudonym_key") -> "Pseudonyms":
        """With the key in a file that a setting names.

        Raises:
            CxrflowError: it can't be read, or is too short.
        """
        make = f"`openssl rand -hex 32 > {path}` makes one"
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            why = error.strerror or error
            raise CxrflowError(f"{setting}: {path} can't be read: {why}; {make}") from None
        if len(key) < _LEAST:
            raise CxrflowError(
                f"{setting}: {path} has {len(key)} bytes, a key at least {_LEAST}; {make}"
            )
        return cls(key)

    def of(self, kind: str, text: str) -> str:
        """The pseudonym of an id; the same text of another kind (patient, image) has another."""
        return self._digest(kind, text).hex()[:_LENGTH]

    def uid(self, kind: str, *parts: str) -> str:
        """A DICOM UID that the same parts always give again: a UUID's, PS3.5 annex B.2."""
        digest = self._digest(f"uid:{kind}", "\0".join(parts))
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.new(self._key, f"{kind}\0{text}".encode(), hashlib.sha256).digest()
