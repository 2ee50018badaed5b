"""ML Metadata on a server: what is refused before TFX is loaded, and a real MariaDB."""

import logging
import multiprocessing
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from cxrflow.pipeline.config import parse
from cxrflow.pipeline.metadata_server import Hidden, MetadataConfig, pipeline_name, require, root_id
from cxrflow.pipeline.parallel import PRELOADED
from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.pipeline.terminal import redirected_to
from cxrflow.schema.errors import CxrflowError
from tests.serving.certificates import certificate
from tests.support.mariadb import PASSWORD, USER, mariadb

VARIABLE = "CXRFLOW_METADATA_PASSWORD"


def config(port: int, **changes: object) -> MetadataConfig:
    values = {"kind": "mysql", "host": "127.0.0.1", "port": port, "user": USER, **changes}
    return parse({"metadata": values}).metadata


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ({"kind": "postgresql"}, "metadata.kind: can't be PostgreSQL: ML Metadata 1.21"),
        ({"kind": "Postgres"}, "take mysql"),
        ({"kind": "oracle"}, "metadata.kind"),
        ({"kind": "mysql"}, "metadata.kind is mysql: name the server in metadata.host"),
        ({"kind": "mysql", "host": "a", "port": 0}, "metadata.port"),
        ({"kind": "mysql", "host": "a", "password": "x"}, "no setting metadata.password"),
        ({"tls": {"cert": "a"}}, "metadata.tls has one of cert and key: name both"),
        ({"tls": {"cert": "a", "key": "b"}}, "verify_server_cert needs metadata.tls.ca"),
    ],
)
def test_settings_that_are_refused(metadata: dict, line: str) -> None:
    with pytest.raises(CxrflowError, match=line):
        parse({"metadata": metadata})


@pytest.fixture
def saying() -> Iterator[tuple[int, list[bytes]]]:
    """A server that says one thing to everybody and hangs up."""
    words: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(words[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], words
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"\x4a\0\0\0\x0a8.0.36\0", ""),
        (b"\x45\0\0\0\xff\x6a\x04Host 'me' is not allowed", "refuses: Host 'me' is not allowed"),
        (b"HTTP/1.1 400 Bad Request\r\n", "is no MySQL or MariaDB server: correct metadata.port"),
        (b"", "is no MySQL or MariaDB server"),
    ],
)
def test_who_answers(
    saying: tuple[int, list[bytes]], said: bytes, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, words = saying
    words.append(said)
    asked = config(port)
    with pytest.raises(CxrflowError, match=f"set the environment variable {VARIABLE}"):
        require(asked)
    monkeypatch.setenv(VARIABLE, "")
    if not line:
        return require(asked)
    with pytest.raises(CxrflowError, match=line):
        require(asked)


def greeting(flags: int) -> bytes:
    """What a MySQL server says first, with these of its capabilities."""
    said = b"\x0a8.0.36\0" + bytes(4) + b"r" * 8 + b"\0" + flags.to_bytes(2, "little")
    return len(said).to_bytes(3, "little") + b"\0" + said


@pytest.mark.parametrize(
    ("flags", "line"),
    [(0xF7FF, "has no TLS: give it a certificate"), (0xFFFF, r"metadata\.tls don't fit: ")],
)
def test_a_server_without_tls_that_is_wanted(
    saying: tuple[int, list[bytes]], flags: int, line: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    port, words = saying
    words.append(greeting(flags))
    monkeypatch.setenv(VARIABLE, "x")
    ca, _ = certificate(tmp_path, "ca")
    with pytest.raises(CxrflowError, match=line) as raised:
        require(config(port, tls={"ca": ca}))
    assert "\n" not in str(raised.value)
    with pytest.raises(CxrflowError, match=r"metadata\.tls\.ca: .*none can't be read"):
        require(config(port, tls={"ca": str(tmp_path / "none")}))


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "x")
    with pytest.raises(CxrflowError, match=r"server 127\.0\.0\.1:1 can't be reached \(Connection"):
        require(config(1))
    with pytest.raises(CxrflowError, match=r"server nowhere\.invalid:3306 can't be reached"):
        require(config(3306, host="nowhere.invalid"))
    require(MetadataConfig())  # a file


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ('user: "a" password: "s3cret"\nport: 1', (), 'user: "a" password: "***"\nport: 1'),
        ("config:\n %s", ('password: "a\\"b\\\\" x: "1"',), 'config:\n password: "***" x: "1"'),
        ("100%", (), "100%"),
        ("no password here: %d", (1,), "no password here: 1"),
    ],
)
def test_a_password_stays_out_of_the_log(text: str, args: tuple, expected: str) -> None:
    record = logging.LogRecord("absl", logging.INFO, "", 0, text, args, None)
    assert Hidden().filter(record)
    assert record.getMessage() == expected


def test_roots_on_one_server_have_names_of_their_own(tmp_path: Path) -> None:
    server, file = config(3306), MetadataConfig()
    roots = [tmp_path / name for name in "ab"]
    for root in roots:
        root.mkdir()
    ids = [root_id(server, root) for root in roots]
    assert len(set(ids)) == 2 and [root_id(server, root) for root in roots] == ids
    assert pipeline_name("x", server, ids[0]) == f"x-{ids[0]}"
    assert (root_id(file, tmp_path), pipeline_name("x", file, "")) == ("", "x")
    assert {*tmp_path.iterdir()} == {*roots}


def _run(root: Path, settings: PipelineConfig, together: Barrier) -> None:
    """The tiny pipeline in a process of its own, which begins when the others do."""
    from tests.support import tiny_pipeline as tiny

    os.environ[VARIABLE] = PASSWORD  # the forkserver may be older than this test
    root.mkdir()
    with redirected_to(root / "log", "nothing"):
        together.wait(60)
        executed = tiny.run(root, config=settings).executed
    (root / "executed").write_text(" ".join(executed))


@pytest.mark.tf
class TestMariadb:
    """The tiny pipeline with a real server."""

    @pytest.fixture(scope="class")
    def port(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
        with mariadb(tmp_path_factory.mktemp("server") / "mariadb") as port:
            yield port

    def test_two_roots_on_one_server_keep_apart(
        self, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        from tests.support import tiny_pipeline as tiny

        monkeypatch.setenv(VARIABLE, PASSWORD)
        settings = replace(tiny.TINY, metadata=config(port, kind="mariadb"))
        for root in (tmp_path / "a", tmp_path / "b"):
            root.mkdir()
            first = tiny.run(root, config=settings)
            assert (first.executed, first.cached) == (tiny.NODES, [])
        for root in (tmp_path / "a", tmp_path / "b"):
            again = tiny.run(root, config=settings)
            assert (again.executed, again.cached) == ([], tiny.NODES)
            assert all((root / x["text"] / "text").is_file() for x in again.artifacts.values())
            assert not (root / "metadata.sqlite").exists()
        assert 'password: "***"' in caplog.text and "word$1" not in caplog.text

    def test_first_connections_of_two_roots_at_once(
        self, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Either finds no database, and makes it and its tables."""
        from tests.support import tiny_pipeline as tiny

        monkeypatch.setenv(VARIABLE, PASSWORD)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        for number in range(2):
            settings = replace(tiny.TINY, metadata=config(port, database=f"raced{number}"))
            roots = [tmp_path / f"{name}{number}" for name in "ab"]
            together = context.Barrier(len(roots))
            runs = [context.Process(target=_run, args=(root, settings, together)) for root in roots]
            for run in runs:
                run.start()
            for run in runs:
                run.join()
            said = [(root / "log").read_text()[-1000:] for root in roots]
            assert [run.exitcode for run in runs] == [0, 0], said
            for root in roots:
                assert (root / "executed").read_text().split() == tiny.NODES

    def test_nodes_of_a_file_that_has_no_password(
        self, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cxrflow.pipeline.nodes import run_node
        from tests.support import tiny_pipeline as tiny

        monkeypatch.setenv(VARIABLE, PASSWORD)
        monkeypatch.chdir(tmp_path)
        settings = replace(tiny.TINY, metadata=config(port, database="other"))
        file = tmp_path / "pipeline.json"
        tiny.compile_to(file, settings)
        for name in tiny.NODES:
            run_node(file, "r1", name, shown="nothing")
        assert (tmp_path / "run.json").is_file()
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(b"pass" + b"\\" in path.read_bytes() for path in files)
        monkeypatch.delenv(VARIABLE)
        with pytest.raises(CxrflowError, match=f"set the environment variable {VARIABLE}"):
            run_node(file, "r2", "Source", shown="nothing")

    def test_a_wrong_password_is_one_line(
        self, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tests.support import tiny_pipeline as tiny

        monkeypatch.setenv(VARIABLE, "wrong")
        monkeypatch.setattr("time.sleep", lambda _: None)  # TFX tries ten times
        settings = replace(tiny.TINY, metadata=config(port))
        with pytest.raises(CxrflowError, match=rf"refuses user cxr or .* password in {VARIABLE}"):
            tiny.run(tmp_path, config=settings)

    def test_an_encrypted_connection(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from cxrflow.pipeline.reports.dashboard.lineage import read_runs
        from tests.support import tiny_pipeline as tiny

        monkeypatch.setenv(VARIABLE, PASSWORD)
        ca, key = certificate(tmp_path, "server")
        other, _ = certificate(tmp_path, "other")
        options = (f"--ssl-ca={ca}", f"--ssl-cert={ca}", f"--ssl-key={key}")
        with mariadb(tmp_path / "tls", *options, "--require-secure-transport=ON") as port:
            monkeypatch.setattr("time.sleep", lambda _: None)  # TFX tries ten times
            encrypted = config(port, tls={"ca": ca})
            settings = replace(tiny.TINY, metadata=encrypted)
            for root in (tmp_path / "a", tmp_path / "b"):
                root.mkdir()
                assert tiny.run(root, config=settings).executed == tiny.NODES
                (run,) = read_runs(root, encrypted, "tiny")
                assert [one.node for one in run.executions] == tiny.NODES
                assert run.of("Join").inputs["texts"] == tuple(
                    run.of(f"Part.{letter}").outputs["text"][0] for letter in "abc"
                )
            with pytest.raises(CxrflowError, match=r"metadata\.tls don't fit: self-signed cert"):
                require(config(port, tls={"ca": other}))
            plain = replace(tiny.TINY, metadata=config(port))
            with pytest.raises(CxrflowError, match=r"whether it wants TLS \(metadata\.tls\)"):
                tiny.run(tmp_path, config=plain)
            monkeypatch.setenv(VARIABLE, "wrong")
            with pytest.raises(CxrflowError, match="refuses user cxr"):
                read_runs(root, encrypted, "tiny")
        with pytest.raises(CxrflowError, match="can't be reached"):
            read_runs(root, encrypted, "tiny")
