"""A MariaDB server of the test's own, on a free port of the loopback address."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port

USER, PASSWORD = "cxr", 'it\'s "a" pass\\word$1 €'


@contextmanager
def mariadb(folder: Path, *options: str) -> Iterator[int]:
    """Yields the port of an empty server on which USER may do everything; skips where none is.

    options: further ones of mariadbd.
    """
    folder.mkdir()
    if not shutil.which("mariadbd") or not shutil.which("mariadb-install-db"):
        pytest.skip("no mariadbd here")
    me = pwd.getpwuid(os.getuid()).pw_name
    common = ["--no-defaults", f"--user={me}", f"--datadir={folder / 'data'}"]
    subprocess.run(
        ["mariadb-install-db", *common, "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
    )
    port = free_port()
    quoted = PASSWORD.replace("\\", "\\\\").replace("'", "''")
    first = folder / "first.sql"
    first.write_text(
        f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{quoted}';"
        f"GRANT ALL ON *.* TO {USER}@'127.0.0.1';\n".replace(";GRANT", ";\nGRANT")
    )
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [
                *("mariadbd", *common, f"--socket={folder / 's'}", f"--init-file={first}"),
                *("--bind-address=127.0.0.1", f"--port={port}", "--character-set-server=utf8mb4"),
                *("--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"),
                *options,
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _wait(port, server, folder / "log")
        yield port
    finally:
        server.kill()
        server.wait()


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(log.read_text())
