"""A model, an archive and a gateway between them."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer

import pytest

from cxrflow.serving.gateway.service import Gateway
from tests.serving.answering import answering
from tests.serving.gateway import hospital


@dataclass
class Site:
    """What runs in a test."""

    folder: Path
    model: hospital.FakeModel
    archive: hospital.Archive
    gateway: Gateway

    @property
    def port(self) -> int:
        return self.gateway.port

    def send(self, *paths: Path) -> list:
        """Stores them; a study's are one batch, however busy the machine is meanwhile."""
        queue = self.gateway._queue
        queue.complete = lambda *_: []
        try:
            return hospital.send(self.port, paths)
        finally:
            del queue.complete


@pytest.fixture(autouse=True)
def _stops_at_once(monkeypatch) -> None:
    """pynetdicom's servers look every half second, by default, whether they are to stop."""
    monkeypatch.setattr(BaseServer.serve_forever, "__defaults__", (0.02,))


@pytest.fixture
def open_site(tmp_path) -> Iterator:
    """open_site(**settings): a gateway that runs until the test's end."""
    with ExitStack() as stack:

        def open_(archive: hospital.Archive | None = None, wants=(), **changes) -> Site:
            """`wants`: kinds of results that the archive gets; () for those by default."""
            model = hospital.FakeModel()
            server = stack.enter_context(answering(model))
            archive = archive or hospital.Archive()
            port = stack.enter_context(hospital.kept(archive))
            asked = {"results": wants} if wants else {}
            changes.setdefault("destinations", [hospital.to_archive(port, **asked)])
            config = hospital.config(tmp_path / "gateway", server, **changes)
            gateway = stack.enter_context(Gateway(config).running())
            return Site(tmp_path / "gateway", model, archive, gateway)

        yield open_


@pytest.fixture
def site(open_site) -> Site:
    return open_site()
