"""A browser's tab for the tests of pages."""

import pytest

from tests.pipeline.reports.browser import CHROMIUM, browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if not CHROMIUM:
        pytest.skip("no chromium: `apt install chromium` brings it")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
