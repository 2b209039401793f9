"""The page in a browser: everything that it promises, done as a visitor does it."""

import io
import re
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from mounted import paged
from PIL import Image

from limner.conversation import Chat
from limner.process.masked import MaskedCanvas

# gradio leaves files open and asks pandas for what it is about to drop
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]
RIDDLE = "an animal with (3+6) lives"
TABS = ("Draw", "Ask", "Edit", "Extend", "Talk", "Gallery")
WATCH = """() => {
    window.seen = new Set();
    const look = () => document.querySelectorAll('img.preview').forEach((img) => window.seen.add(img.src));
    new MutationObserver(look).observe(document.body, {subtree: true, attributes: true, childList: true});
}"""


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()
    part = page.locator("[role=tabpanel]:visible")
    part.wait_for()
    return part


def choose(page, part, label, words):
    """Open a list and take the option with these words; a list that is drawn anew just then loses the click."""
    field = part.get_by_label(label)
    for _ in range(5):
        field.click()
        page.get_by_role("option", name=words).click()
        page.wait_for_timeout(200)
        if words in field.input_value():
            return
    raise AssertionError(f"{label} says {field.input_value()!r} after five clicks on {words!r}")


def set_number(page, part, label, number):
    """Type a number; a part that is laid out anew just then loses what was typed."""
    field = part.get_by_label(label).first
    for _ in range(5):
        field.fill(str(number))
        field.press("Tab")
        page.wait_for_timeout(300)
        if field.input_value() == str(number):
            return
    raise AssertionError(f"{label} says {field.input_value()!r} after {number} was typed five times")


def done(part):
    """Wait until a part of the page says that it is done; its status."""
    status = part.get_by_role("status").filter(has_text=re.compile("^(done|chosen)"))
    status.wait_for()
    return status.inner_text()


def result(page, part):
    """The bytes of the picture that is shown as a result."""
    shown = part.locator(".result img")
    shown.wait_for()
    with urllib.request.urlopen(shown.get_attribute("src")) as reply:
        return reply.read()


def of(data):
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")


def mask_of(page):
    """The mask that is painted, as a picture."""
    url = page.evaluate("window.limnerMask()")
    with urllib.request.urlopen(url) as reply:
        return of(reply.read()).convert("L")


def test_the_riddle_is_thought_through_and_drawn_while_one_watches(visit, tiny_served, tiny, tmp_path):
    page = visit(tiny_served)
    part = tab(page, "Draw")
    words = part.get_by_label("What to draw")
    assert words.input_value() == RIDDLE
    page.evaluate(WATCH)
    words.press("Enter")
    assert "seed 0" in done(part)
    alone = tiny.generate(RIDDLE, seed=0)
    assert part.get_by_label("Thinking").input_value() == alone.thinking
    assert result(page, part) == alone.save(tmp_path / "alone.png").read_bytes()
    assert page.evaluate("window.seen.size") >= 3, "it was seen coming to be"
    part.get_by_text("The request, to be copied").click()
    assert part.locator(".command textarea").input_value().startswith(f"limner generate '{RIDDLE}' --seed 0")
    assert not page.elsewhere and not page.wrong


def test_a_mask_drawn_by_hand_says_what_is_changed_and_all_else_is_kept(visit, served, echo, noisy):
    page = visit(served)
    part = tab(page, "Edit")
    part.locator("input[type=file]").first.set_input_files(noisy)
    canvas = part.locator("canvas")
    canvas.wait_for()
    page.wait_for_function("document.querySelector('canvas').width === 64")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"], steps=4)
    page.mouse.up()
    mask = mask_of(page)
    assert 0.03 < np.asarray(mask).mean() / 255 < 0.3
    part.get_by_label("The whole picture").fill("a dog")
    part.get_by_role("button", name="Edit").click()
    done(part)
    edited, given = of(result(page, part)), Image.open(noisy)
    with given:
        kept = np.asarray(mask) == 0
        assert (np.asarray(edited)[kept] == np.asarray(given)[kept]).all()
        assert (np.asarray(edited)[~kept] != np.asarray(given)[~kept]).any(axis=1).mean() > 0.9
        assert edited.tobytes() == echo.inpaint(given, "a dog", mask=mask, think=False).image.tobytes()
    assert not page.elsewhere and not page.wrong


def test_a_conversation_of_three_turns_is_the_one_that_python_holds(visit, served, echo, tmp_path):
    page = visit(served)
    part = tab(page, "Talk")
    turns = [("draw", "a cat"), ("answer about the last picture", "what is it"), ("draw the last picture", "a dog")]
    for number, (action, words) in enumerate(turns):
        part.get_by_label(action).first.check()
        part.get_by_label("You", exact=True).fill(words)
        part.get_by_label("You", exact=True).press("Enter")
        part.get_by_role("status").filter(has_text=re.compile(f"^done.*seed {number}$")).wait_for()
    chat = Chat(echo)
    chat.draw("a cat")
    told = chat.ask("what is it").text
    last = chat.edit("a dog")
    log = part.locator("#log")
    for text in ("a cat", "what is it", told, "a dog", last.thinking):
        assert log.get_by_text(text, exact=True).count() >= 1
    pictures = log.locator(".message img")
    assert pictures.count() == 2
    with urllib.request.urlopen(pictures.last.get_attribute("src")) as reply:
        assert of(reply.read()).tobytes() == last.image.tobytes()
    part.get_by_text("Seed, take back").click()
    part.get_by_role("button", name="Save the conversation").click()
    saved = part.locator("a[download$='.json']").first
    saved.wait_for()
    with urllib.request.urlopen(saved.get_attribute("href")) as reply:
        (tmp_path / "talk.json").write_bytes(reply.read())
    assert Chat.load(tmp_path / "talk.json", echo).messages == chat.messages
    part.get_by_role("button", name="Take the last turn back").click()
    part.get_by_role("status").filter(has_text="taken back").wait_for()
    assert pictures.count() == 1 and part.get_by_label("You", exact=True).input_value() == "a dog"
    shown = tab(page, "Gallery").locator("#gallery button img")
    shown.first.wait_for()
    assert shown.count() == 2
    assert not page.elsewhere and not page.wrong


def test_candidates_stand_side_by_side_with_looks_and_verdicts(visit, tiny_served, tiny):
    page = visit(tiny_served)
    part = tab(page, "Draw")
    part.get_by_label("What to draw").fill("three red apples")
    part.get_by_text("Think first").click()
    part.get_by_text("Several candidates").click()
    choose(page, part, "Choose", "(orm)")
    choose(page, part, "Judge", "exact reader")
    set_number(page, part, "How many", 3)
    part.get_by_role("button", name="Draw", exact=True).click()
    chosen = tiny.verified("three red apples", "orm", 3, judge="scenes", think=False)
    path = chosen.request["verify"]["path"]
    assert done(part).startswith(f"chosen: candidate {path + 1}, seed {path}: outcome ")
    names = part.locator(".candidate .name").all_inner_texts()
    assert names == [f"candidate {i + 1}, seed {i}" for i in range(3)]
    fates = part.locator(".candidate .fate").all_inner_texts()
    assert fates.pop(path) == "chosen" == part.locator(".candidate.chosen .fate").inner_text()
    assert all(re.fullmatch(r"dropped at the end: outcome [01]\.\d\d", fate) for fate in fates)
    assert of(result(page, part)).tobytes() == chosen.image.tobytes()
    assert not page.elsewhere and not page.wrong


def press_until(page, key, fact, most=60):
    for _ in range(most):
        if page.evaluate(fact):
            return
        page.keyboard.press(key)
    pytest.fail(f"{fact} did not come true by pressing {key}")


def test_everything_is_reached_and_done_by_keyboard(visit, served, noisy):
    page = visit(served)
    press_until(page, "Tab", "document.activeElement.value === 'an animal with (3+6) lives'")
    page.keyboard.press("Control+A")
    page.keyboard.type("a cat")
    page.keyboard.press("Enter")
    done(page.locator("[role=tabpanel]:visible"))
    press_until(page, "Shift+Tab", "document.activeElement.textContent.trim() === 'Edit'")
    page.keyboard.press("Enter")
    part = page.locator("[role=tabpanel]:visible")
    part.locator("input[type=file]").first.set_input_files(noisy)
    page.wait_for_function("document.querySelector('canvas')?.width === 64")
    press_until(page, "Tab", "document.activeElement.tagName === 'CANVAS'")
    page.keyboard.press(" ")
    assert mask_of(page).getpixel((32, 32)) == 255
    for _ in range(4):
        page.keyboard.press("Shift+ArrowLeft")
    assert mask_of(page).getpixel((16, 32)) == 255 and mask_of(page).getpixel((48, 32)) == 0
    page.keyboard.press("Backspace")
    assert mask_of(page).getpixel((32 - 16, 32)) == 0
    press_until(page, "Tab", "document.activeElement.tagName === 'TEXTAREA'")
    page.keyboard.type("a dog")
    page.keyboard.press("Enter")
    done(part)


def test_on_a_phone_every_part_fits_the_width(visit, served):
    page = visit(served, 390, 844)
    for name in TABS:
        part = tab(page, name)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        wide = part.locator("button:visible, textarea:visible, input[type=number]:visible").evaluate_all(
            "(all) => all.filter((one) => one.getBoundingClientRect().right > window.innerWidth).length"
        )
        assert wide == 0, name


def test_what_cannot_be_done_is_told_where_it_was_asked(visit, served):
    page = visit(served)
    for name, words, button, said in (
        ("Draw", "What to draw", "Draw", "the prompt is empty"),
        ("Ask", "Question", "Ask", "give a picture first"),
        ("Edit", "The whole picture", "Edit", "give a picture first"),
        ("Extend", "The whole picture", "Extend", "give a picture first"),
        ("Talk", "You", "Send", "the prompt is empty"),
    ):
        part = tab(page, name)
        part.get_by_label(words, exact=words == "You").fill(" ")
        part.get_by_role("button", name=button, exact=True).click()
        part.get_by_role("alert").filter(has_text=said).wait_for()


@pytest.mark.parametrize("ends", ["stops it", "closes the page"])
def test_a_visitor_who_stops_or_leaves_frees_the_place(visit, served, monkeypatch, ends):
    plain = MaskedCanvas.step

    def slow(self, state):
        time.sleep(0.5)
        return plain(self, state)

    monkeypatch.setattr(MaskedCanvas, "step", slow)
    page = visit(served)
    part = tab(page, "Draw")
    part.get_by_text("More", exact=True).click()
    part.get_by_label("Steps").fill("60")
    part.get_by_label("What to draw").press("Enter")
    part.get_by_role("status").filter(has_text="drawing: step").wait_for()
    if ends == "stops it":
        part.get_by_role("button", name="Stop").click()
        part.get_by_role("status").filter(has_text="stopped").wait_for()
    else:
        page.close()
    end = time.monotonic() + 60
    while served.engine("echo").inside:
        assert time.monotonic() < end
        time.sleep(0.05)


def opened(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_key_is_asked_for_and_opens_the_page(echo):
    with paged({"echo": echo}, api_key="sesame") as live:
        assert opened(f"{live.base}/page") == 401
        assert opened(f"{live.base}/page", Authorization="Basic Om5v") == 401  # :no
        assert opened(f"{live.base}/page", Authorization="Basic OnNlc2FtZQ==") == 200  # :sesame


def test_the_root_leads_to_the_page_and_the_api_stays(served):
    with urllib.request.urlopen(served.base) as reply:
        assert reply.url == f"{served.base}/page/" and b"limner" in reply.read()
    assert opened(f"{served.base}/v1/models") == 200 and opened(f"{served.base}/v1/nothing") == 404
