"""A tab of a headless Chromium, for the tests of pages.

A plugin: a test module that says `pytest_plugins = ["browser_tab"]` has these fixtures.

ZFNET_CHROMIUM names the browser; with it, as in .ci/run, a browser that does not start is a
failure. Without it the tests take the `chromium` on the PATH, or are skipped.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, sync_playwright


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("ZFNET_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on the PATH (apt-get install chromium, or set ZFNET_CHROMIUM)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab in which no error, dialog or request for the network may appear."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    with _flawless(page):
        yield page


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """The same on a phone: small, and touched with a finger."""
    page = browser.new_page(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    with _flawless(page):
        yield page


@pytest.fixture
def swipe(phone: Page) -> Callable[[Locator, float], None]:
    """Moves a finger from the middle of an element up or down by so many pixels."""
    session = phone.context.new_cdp_session(phone)

    def move(target: Locator, pixels: float) -> None:
        box = target.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

        def touch(kind: str, *points: dict[str, float]) -> None:
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [*points]})

        touch("touchStart", {"x": x, "y": y})
        for step in range(1, 11):
            touch("touchMove", {"x": x, "y": y + pixels * step / 10})
            phone.wait_for_timeout(16)
        touch("touchEnd")
        phone.wait_for_timeout(200)

    return move


@contextlib.contextmanager
def _flawless(page: Page) -> Iterator[None]:
    wrong: list[str] = []

    def failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left
            wrong.append(f"failed: {request.url}")

    def requested(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            wrong.append(request.url)

    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("requestfailed", failed)
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", requested)
    yield
    page.close()
    assert wrong == []
