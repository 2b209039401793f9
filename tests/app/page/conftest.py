"""A server with the page on it, and a browser to look at it with."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limner
from limner.answer import Limner
from limner.models.echo import Echo

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "serve")]

from mounted import paged  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 300_000  # milliseconds: other tests run at the same time


@pytest.fixture(scope="session")
def echo():
    return Limner(Echo().eval(), "echo")


@pytest.fixture(scope="session")
def served(echo):
    with paged({"echo": echo}) as live:
        yield live


@pytest.fixture(scope="session")
def tiny():
    return limner.load("tiny-mmada")


@pytest.fixture(scope="session")
def tiny_served(tiny):
    with paged({"tiny-mmada": tiny}) as live:
        yield live


@pytest.fixture(scope="session")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: the page was not tested in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Opens the page of a server as a new visitor; what goes wrong, and whatever it asks of anybody else, is kept."""
    contexts = []

    def go(server, width=1200, height=900):
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.elsewhere, page.wrong = [], []

        def note(request):
            if not request.url.startswith((server.base, "data:", "blob:")):
                page.elsewhere.append(request.url)

        page.on("request", note)
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.goto(server.base)
        page.get_by_role("tab", name="Draw").wait_for()
        return page

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def noisy(tmp_path):
    """The file of a picture in which every pixel is different."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    return tmp_path / "noisy.png"
