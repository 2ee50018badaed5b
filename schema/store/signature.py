"""An operator's Ed25519 signature (RFC 8032) of a pushed version, beside its manifest.

`manifest.sig` holds the 64 bytes of the signature of manifest.json's bytes; the manifest holds the
sums of all other files. OpenSSL makes keys and checks signatures, too:

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out key.pub.pem
    openssl pkeyutl -verify -rawin -pubin -inkey key.pub.pem -in manifest.json -sigfile manifest.sig
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cxrflow.schema.errors import CxrflowError, unreadable
from cxrflow.schema.files import whole_file
from cxrflow.schema.store.manifest import MANIFEST, SIGNATURE

if TYPE_CHECKING:  # it takes a while to load
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


def sign(version_dir: Path, key: "Ed25519PrivateKey") -> None:
    """Signs the manifest of a version, whole or not at all; an earlier signature goes.

    Raises:
        OSError: the manifest can't be read, or the folder can't be written.
    """
    signature = key.sign((version_dir / MANIFEST).read_bytes())
    with whole_file(version_dir / SIGNATURE, sync=True) as aside:
        aside.write_bytes(signature)


def is_signed(version_dir: Path) -> bool:
    """Whether there is a signature, whoever's."""
    return (version_dir / SIGNATURE).is_file()


def signature_fault(version_dir: Path, key: "Ed25519PublicKey") -> str:
    """What speaks against a version's signature; empty if it is of this key and this manifest."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify((version_dir / SIGNATURE).read_bytes(), (version_dir / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        return "it isn't signed" if missing == SIGNATURE else f"{missing} is missing"
    except OSError as error:
        return f"{Path(error.filename).name} can't be read: {error.strerror}"
    except InvalidSignature:
        return f"{SIGNATURE} is another key's, or {MANIFEST} was changed since it was signed"
    return ""


def private_key(path: Path) -> "Ed25519PrivateKey":
    """The key in a PEM file.

    Raises:
        CxrflowError: the file can't be read, or holds no Ed25519 private key without a password.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise CxrflowError(f"{path} has a password: name a key file without one") from None
    except Exception:  # ValueError, and the library's own for a kind of key it doesn't know
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise CxrflowError(
            f"{path} is no Ed25519 private key: `openssl genpkey -algorithm ed25519 -out {path}` "
            "makes one"
        )
    return key


def public_key(path: Path) -> "Ed25519PublicKey":
    """The public key in a PEM file, also that of a private one.

    Raises:
        CxrflowError: the file can't be read, or holds no Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path)
    if b"PRIVATE KEY" in data:
        return private_key(path).public_key()
    try:
        key = load_pem_public_key(data)
    except Exception:  # ValueError, and the library's own for a kind of key it doesn't know
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise CxrflowError(
            f"{path} is no Ed25519 public key: `openssl pkey -in KEY -pubout` writes one's"
        )
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(f"the key {path}", error) from None
