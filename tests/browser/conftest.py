"""A headless Chromium on the live server, which reports every complaint of a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from portal import assets
from portal.models import User
from tests import factories

CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

# Playwright's event loop runs in this thread, where Django would refuse the ORM.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


@dataclass
class Visit:
    """A page of a signed-in user and what the browser complained about."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")
        self.page.wait_for_load_state("load")

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the screen."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not os.path.exists(CHROMIUM):  # noqa: PTH110
        pytest.skip("no Chromium on this machine")
    if not (assets.ROOT / "portal/static/vendor" / assets.MANIFEST).is_file():
        pytest.skip("no front-end assets; run bin/assets")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def sign_in(chromium, live_server) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def run(user: User, *, screen: dict[str, int], theme: str = "light") -> Visit:
        context = chromium.new_context(viewport=screen, color_scheme=theme)
        contexts.append(context)
        visit = Visit(page=context.new_page(), url=live_server.url)
        visit.page.set_default_timeout(20_000)
        visit.page.on(
            "console",
            lambda message: (
                visit.complaints.append(message.text)
                if message.type in {"error", "warning"}
                else None
            ),
        )
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.open("/")
        visit.page.fill("[name=login]", user.email)
        visit.page.fill("[name=password]", factories.PASSWORD)
        visit.page.click("main button[type=submit]")
        visit.page.wait_for_url(f"{live_server.url}/")
        return visit

    yield run
    for context in contexts:
        context.close()
