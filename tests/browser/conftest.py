"""A headless Chromium that is allowed to open files and nothing else; whatever goes wrong in a page is kept."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OWN = ("file:", "data:", "blob:")


@dataclass(frozen=True)
class Opened:
    """A page, what it complained of, and what it asked for outside itself."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.errors and not self.requests


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Open]:
    contexts = []

    def open_page(path: Path, width: int = 1280, dark: bool = False) -> Opened:
        size = {"width": width, "height": 900}
        context = chromium.new_context(viewport=size, color_scheme="dark" if dark else "light")  # pyright: ignore[reportArgumentType]
        contexts.append(context)
        found = Opened(context.new_page())

        def judge(route: Route) -> None:
            if route.request.url.startswith(OWN):
                route.continue_()
            else:
                found.requests.append(route.request.url)
                route.abort()

        context.route("**/*", judge)
        found.page.on("console", lambda said: found.errors.append(said.text) if said.type == "error" else None)
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.goto(path.resolve().as_uri())
        return found

    yield open_page
    for context in contexts:
        context.close()
