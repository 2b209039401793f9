"""Makes the pictures of docs/page-and-chat.md: the page of `limner serve`, used in Chromium, with the shipped model.

    python docs/make_page_pictures.py [--browser /usr/bin/chromium]

Nothing is chosen by hand: the prompts stand here and the seeds are 0.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

import limner
from limner.app.page.build import mount
from limner.app.serve.application import create_app

HERE = Path(__file__).parent
OUT = HERE / "page"
PATIENCE = 1_800_000  # milliseconds
COLOURS = 200
TALK = (("draw", "a red apple left of a green car"), ("answer about the last picture", "what is left of the car?"),
        ("draw", "three white cats at night"))  # fmt: skip


@contextmanager
def served() -> Iterator[str]:
    """The address of a server of the shipped model, with the page."""
    app = mount(create_app({"tiny-mmada": limner.load("tiny-mmada")}))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def tab(page: Page, name: str) -> Locator:
    """A part of the page, brought to the front."""
    page.get_by_role("tab", name=name, exact=True).click()
    part = page.locator("[role=tabpanel]:visible")
    part.wait_for()
    return part


def done(part: Locator) -> None:
    """Wait until it says so."""
    part.get_by_role("status").filter(has_text=re.compile("^(done|chosen)")).wait_for()


def shoot(page: Page, name: str) -> None:
    """The whole page as a PNG of few colours."""
    OUT.mkdir(exist_ok=True)
    page.mouse.move(0, 0)
    page.wait_for_timeout(800)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as shot:
        shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(OUT / f"{name}.png", optimize=True)
    print(OUT / f"{name}.png", (OUT / f"{name}.png").stat().st_size // 1024, "kB", flush=True)


def draw(page: Page) -> None:
    """The riddle."""
    part = tab(page, "Draw")
    part.get_by_role("button", name="Draw", exact=True).click()
    done(part)
    part.get_by_text("The request, to be copied").click()
    shoot(page, "draw")
    part.get_by_text("The request, to be copied").click()


def candidates(page: Page) -> None:
    """Four candidates, judged by the exact reader while they are drawn."""
    part = tab(page, "Draw")
    part.get_by_label("What to draw").fill("five green cars")
    part.get_by_text("Think first").click()
    part.get_by_text("Several candidates").click()
    part.get_by_label("How many").first.fill("4")
    part.get_by_label("Choose").click()
    page.get_by_role("option", name="(parm)").click()
    part.get_by_label("Judge").click()
    page.get_by_role("option", name="exact reader").click()
    part.get_by_role("button", name="Draw", exact=True).click()
    part.get_by_role("status").filter(has_text=re.compile("^choosing|^chosen")).wait_for()
    done(part)
    for summary in part.locator(".candidate summary").all():
        summary.click()
    shoot(page, "candidates")


def edit(page: Page) -> None:
    """The car of a picture made anew under a mask that is painted."""
    part = tab(page, "Edit")
    part.locator("input[type=file]").first.set_input_files(HERE / "mmada" / "scene.png")
    canvas = part.locator("canvas")
    page.wait_for_function("document.querySelector('canvas')?.width === 128")
    part.locator("input[type=range]").fill("34")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    for across in (0.62, 0.78, 0.9):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + 0.15 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + across * box["width"], box["y"] + 0.85 * box["height"], steps=8)
        page.mouse.up()
    part.get_by_label("The whole picture").fill("a red apple left of a yellow star")
    part.get_by_role("button", name="Edit", exact=True).click()
    done(part)
    shoot(page, "edit")


def talk(page: Page) -> None:
    """Three turns."""
    part = tab(page, "Talk")
    for number, (action, words) in enumerate(TALK):
        part.get_by_label(action, exact=action == "draw").first.check()
        part.get_by_label("You", exact=True).fill(words)
        part.get_by_label("You", exact=True).press("Enter")
        part.get_by_role("status").filter(has_text=re.compile(f"^done.*seed {number}$")).wait_for()
    page.locator("#log").evaluate("log => log.style.height = '900px'")
    shoot(page, "conversation")


def main() -> None:
    """All pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--browser", default=shutil.which("chromium"))
    browser = parser.parse_args().browser
    with served() as address, sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for width, steps in ((1100, (draw, candidates, edit, talk)), (390, (phone,))):
            page = opened.new_context(viewport={"width": width, "height": 800}).new_page()
            page.set_default_timeout(PATIENCE)
            page.goto(address, timeout=PATIENCE)
            page.get_by_role("tab", name="Draw").wait_for()
            for step in steps:
                step(page)
        opened.close()


def phone(page: Page) -> None:
    """The riddle on a narrow screen."""
    part = tab(page, "Draw")
    part.get_by_role("button", name="Draw", exact=True).click()
    done(part)
    shoot(page, "phone")


if __name__ == "__main__":
    main()
