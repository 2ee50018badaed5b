"""A renewed certificate is taken up while the server runs."""

import contextlib
import os
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.tls import Certificate
from tests.serving.certificates import certificate


def renew(files: tuple[str, str], by: tuple[str, str]) -> None:
    """As certbot and cert-manager do: each file is replaced at once, one after the other."""
    for old, new in zip(files, by, strict=True):
        aside = Path(f"{old}.new")
        aside.write_bytes(Path(new).read_bytes())
        aside.replace(old)


def served(context: ssl.SSLContext) -> bytes:
    """The certificate that a server with this context shows, in PEM."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        context.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    shown = ends[0].getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(shown).encode()


@pytest.fixture
def files(tmp_path) -> tuple[str, str]:
    return certificate(tmp_path, "old")


@pytest.fixture
def other(tmp_path) -> tuple[str, str]:
    return certificate(tmp_path, "new")


def at(files: tuple[str, str]) -> Certificate:
    return Certificate(ServerConfig(tls_certificate=files[0], tls_key=files[1]))


def test_new_handshakes_see_the_renewed_certificate(files, other):
    ours = at(files)
    first = served(ours.context)
    assert first == Path(files[0]).read_bytes()
    ours.refresh()
    assert served(ours.context) == first and ours._newer() is None
    renew(files, other)
    ours.refresh()
    assert served(ours.context) == Path(other[0]).read_bytes() != first
    assert ours._newer() is not None  # for gRPC, once
    assert ours._newer() is None


def test_a_half_renewed_pair_waits_for_its_other_half(files, other, caplog):
    ours = at(files)
    first = served(ours.context)
    Path(files[0]).write_bytes(Path(other[0]).read_bytes())
    ours.refresh()
    ours.refresh()
    assert served(ours.context) == first
    assert [record.levelname for record in caplog.records] == ["ERROR"]  # said once
    Path(files[1]).write_bytes(Path(other[1]).read_bytes())
    ours.refresh()
    assert served(ours.context) == Path(other[0]).read_bytes()


@pytest.mark.parametrize("spoil", [lambda p: os.unlink(p), lambda p: Path(p).write_text("none")])
def test_what_is_no_certificate_leaves_the_one_before(files, spoil):
    ours = at(files)
    first = served(ours.context)
    spoil(files[0])
    ours.refresh()
    assert served(ours.context) == first and ours._newer() is None


def test_files_that_do_not_fit_are_refused_at_the_start(files, other):
    for pair in ((files[0], other[1]), (files[0], "/nope"), ("/nope", files[1])):
        with pytest.raises(CxrflowError, match="can't be used"):
            at(pair)


@pytest.mark.tf
@pytest.mark.slow
def test_a_running_server_takes_up_a_renewed_certificate(
    files, other, tmp_path, tiny_models, push_version
):
    """Over gRPC and REST: a client that trusts only the new one is answered, and the other not."""
    import grpc
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    from cxrflow.serving.server import running

    push_version(tiny_models[0.25], tmp_path / "root" / "tiny", 3)
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "tiny"

    def answers(server: object, trusted: str) -> tuple[bool, bool]:
        """Over gRPC, over REST."""
        found = [True, True]
        trust = grpc.ssl_channel_credentials(Path(trusted).read_bytes())
        with grpc.secure_channel(f"localhost:{server.grpc_port}", trust) as channel:
            try:
                model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked, timeout=60)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE
                found[0] = False
        url = f"https://localhost:{server.rest_port}/readyz"
        try:
            urllib.request.urlopen(url, context=ssl.create_default_context(cafile=trusted)).close()
        except urllib.error.URLError as error:
            assert isinstance(error.reason, ssl.SSLCertVerificationError)
            found[1] = False
        return found[0], found[1]

    old = certificate_copy(files[0])
    config = ServerConfig(
        grpc_port=0, rest_port=0, tls_certificate=files[0], tls_key=files[1], poll_seconds=0.1
    )
    with running(tmp_path / "root", config) as server:
        assert answers(server, old) == (True, True)
        renew(files, other)
        give_up = time.monotonic() + 60
        while answers(server, other[0]) != (True, True):
            assert time.monotonic() < give_up
            time.sleep(0.1)
        assert answers(server, old) == (False, False)


def certificate_copy(path: str) -> str:
    copy = f"{path}.before"
    Path(copy).write_bytes(Path(path).read_bytes())
    return copy
