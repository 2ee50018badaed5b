"""Headless Chromium, driven by Playwright, for tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One tab. `requests` and `errors` collect what pages ask for and complain about."""

    def __init__(self, page: Page):
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "assert"):
            self.errors.append(message.text)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        return self.page.evaluate(expression)

    def open(self, page: Path | str, shown: str = "true", seconds: float = 60) -> None:
        """Opens a page and waits until the JavaScript expression `shown` is true."""
        self.page.goto(page if isinstance(page, str) else page.resolve().as_uri())
        self.wait(shown, seconds)

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Waits until an expression is true."""
        self.page.wait_for_function(f"Boolean({expression})", timeout=1000 * seconds)
        self.page.wait_for_timeout(200)  # late errors


# All elements that match in the page and in all shadow roots below it.
DEEP = """
(selector => {
  const found = [];
  (function visit(node) {
    found.push(...node.querySelectorAll(selector));
    for (const child of node.querySelectorAll('*')) if (child.shadowRoot) visit(child.shadowRoot);
  })(document);
  return found;
})
"""


def assert_clean(tab: Browser, start: str = "file://") -> None:
    """Nothing was complained about, and nothing asked for but files (or what `start` begins)."""
    assert not tab.errors
    assert tab.requests
    own = (start, "data:")
    assert all(url.startswith(own) for url in tab.requests), tab.requests
    tab.requests.clear()


@contextmanager
def browser(width: int = 1400, height: int = 900) -> Iterator[Browser]:
    """A running browser that reaches no other machine."""
    flags = [
        "--no-sandbox",  # CI runs as root
        "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            yield Browser(chromium.new_page(viewport={"width": width, "height": height}))
        finally:
            chromium.close()
