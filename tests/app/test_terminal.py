"""Pictures in a terminal: who is asked, and that what is written shows the picture."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from limner.app.terminal import CHUNK, drawn, protocol


def noise(width=40, height=23):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("environment", "attributes", "found"),
    [
        ({"TERM": "xterm-kitty"}, b"", "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, b"", "kitty"),
        ({"TERM_PROGRAM": "WezTerm"}, b"", "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, b"", "iterm2"),
        ({"LC_TERMINAL": "iTerm2"}, b"", "iterm2"),
        ({"TERM": "foot"}, b"\x1b[?62;4;22c", "sixel"),
        ({"TERM": "xterm"}, b"\x1b[?64;1;22c", "none"),
        ({"TERM": "xterm"}, b"\x1b[?4c", "none"),  # the first number is the terminal's class
        ({"TERM": "screen", "KITTY_WINDOW_ID": "1", "TMUX": "x"}, b"", "none"),
        ({"TERM": "tmux-256color", "TMUX": "x"}, b"\x1b[?62;4c", "sixel"),
        ({}, b"", "none"),
    ],
)
def test_a_terminal_is_known_by_its_environment_or_its_answer(environment, attributes, found):
    assert protocol(environment, attributes) == found


def opened(data):
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def test_kitty_gets_the_whole_picture_in_chunks():
    picture = noise(90, 90)
    text = drawn(picture, "kitty")
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert [head for head, _ in chunks] == ["a=T,f=100,m=1", *["m=1"] * (len(chunks) - 2), "m=0"]
    assert all(len(data) <= CHUNK for _, data in chunks) and len(chunks) > 2 and text.endswith("\n")
    assert opened("".join(data for _, data in chunks)).tobytes() == picture.tobytes()


def test_a_small_picture_is_one_chunk():
    assert re.match(r"\x1b_Ga=T,f=100,m=0;", drawn(Image.new("RGB", (4, 4)), "kitty"))


def test_iterm_gets_the_whole_picture():
    picture = noise()
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+):(.*)\a\n", drawn(picture, "iterm2"))
    assert len(base64.b64decode(found[2])) == int(found[1])
    assert opened(found[2]).tobytes() == picture.tobytes()


def read_sixel(text):
    """A small reader of sixels: (H, W, 3) colours in hundredths."""
    head, width, height, body = re.fullmatch(r'\x1bP([\d;]*)q"1;1;(\d+);(\d+)(.*)\x1b\\\n', text, re.DOTALL).groups()
    pixels = np.full((int(height) + 6, int(width), 3), -1)
    colours, colour, x, top = {}, 0, 0, 0
    for register, repeat, sign in re.findall(r"#([\d;]+)|(?:!(\d+))?([?-~$-])", body):
        if register:
            colour, *values = map(int, register.split(";"))
            if values:
                colours[colour] = values[1:]
        elif sign in "$-":
            x, top = 0, top + 6 * (sign == "-")
        else:
            wide = int(repeat or 1)
            for bit in range(6):
                if (ord(sign) - 63) >> bit & 1:
                    pixels[top + bit, x : x + wide] = colours[colour]
            x += wide
    return pixels[: int(height)]


def test_sixels_show_every_pixel():
    picture = Image.new("RGB", (30, 20), (255, 0, 0))
    picture.paste((0, 0, 255), (3, 2, 9, 15))
    picture.paste((255, 255, 255), (29, 0, 30, 20))
    assert (read_sixel(drawn(picture, "sixel")) == np.asarray(picture, dtype=int) * 100 // 255).all()
    assert (read_sixel(drawn(noise(), "sixel")) >= 0).all()


def test_without_a_protocol_nothing_is_drawn():
    assert drawn(noise(), "none") == ""
