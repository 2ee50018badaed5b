"""A browser's tab, and a made run with its report, for the tests of pages."""

import pytest

from tests.pipeline.reports.browser import CHROMIUM, browser


@pytest.fixture(scope="module")  # its event loop runs in this thread as long as it is open
def chromium():
    if not CHROMIUM:
        pytest.skip("no chromium: `apt install chromium` brings it")
    with browser() as opened:
        yield opened


@pytest.fixture
def tab(chromium):
    """Without what an earlier test left."""
    chromium.errors.clear()
    chromium.requests.clear()
    return chromium


@pytest.fixture(scope="session")
def made_run(tmp_path_factory):
    from tests.pipeline.reports.report_maker import make_run  # loads TensorFlow

    return make_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture(scope="session")
def report(made_run, tmp_path_factory):
    """The pages by name."""
    from cxrflow.pipeline.reports.dashboard.pages import write_dashboard

    written = write_dashboard(made_run, tmp_path_factory.mktemp("report"))
    return {path.name: path for path in written}
