"""Pictures in a terminal: as kitty, iTerm2 or a terminal with sixels draws them; elsewhere a path has to do.

Who draws what is told by the environment (kitty, Ghostty, WezTerm, iTerm2) or by the terminal itself: a terminal with
sixels has a 4 among its device attributes (DA1).
"""

from __future__ import annotations

import base64
import io
import os
import re
import select
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Protocol = Literal["kitty", "iterm2", "sixel", "none"]
PROTOCOLS: tuple[Protocol, ...] = ("kitty", "iterm2", "sixel", "none")
CHUNK = 4096  # most base64 characters of one kitty escape
WAIT = 0.3  # seconds that a terminal is given to answer
ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")


def protocol(environment: Mapping[str, str], attributes: bytes = b"") -> Protocol:
    """What a terminal with this environment, which answered the question for its attributes so, draws pictures with."""
    program = environment.get("TERM_PROGRAM", "")
    if "TMUX" not in environment and not environment.get("TERM", "").startswith("screen"):
        if "KITTY_WINDOW_ID" in environment or environment.get("TERM") in ("xterm-kitty", "xterm-ghostty"):
            return "kitty"
        if program in ("ghostty", "WezTerm"):
            return "kitty"
        if program == "iTerm.app" or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm2"
    found = ATTRIBUTES.search(attributes)
    return "sixel" if found and b"4" in found[1].split(b";")[1:] else "none"


def detect() -> Protocol:
    """What this terminal draws pictures with; "none" where standard input or output is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "none"
    by_name = protocol(os.environ)
    return by_name if by_name != "none" else protocol(os.environ, _attributes())


def _attributes() -> bytes:
    """A terminal's answer to the question for its attributes; empty where it gives none in time."""
    try:
        import termios
        import tty
    except ImportError:  # no POSIX terminal
        return b""
    place = sys.stdin.fileno()
    before = termios.tcgetattr(place)
    answer, end = b"", time.monotonic() + WAIT
    try:
        tty.setcbreak(place)
        os.write(sys.stdout.fileno(), b"\x1b[c")
        while ATTRIBUTES.search(answer) is None:
            ready, _, _ = select.select([place], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                break
            answer += os.read(place, 64)
    finally:
        termios.tcsetattr(place, termios.TCSADRAIN, before)
    return answer


def drawn(picture: Picture, by: Protocol) -> str:
    """The characters that draw a picture on the terminal, and the end of the line; "" by none."""
    if by == "none":
        return ""
    if by == "sixel":
        return _sixel(picture) + "\n"
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    if by == "iterm2":
        return f"\x1b]1337;File=inline=1;size={len(buffer.getvalue())}:{data}\a\n"
    chunks = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]
    heads = ["a=T,f=100,", *[""] * (len(chunks) - 1)]
    more = [*[1] * (len(chunks) - 1), 0]
    return "".join(f"\x1b_G{head}m={m};{one}\x1b\\" for head, m, one in zip(heads, more, chunks, strict=True)) + "\n"


def _sixel(picture: Picture) -> str:
    """A picture in at most 256 colours: bands of six rows, in each band one line of sixels a colour."""
    import numpy as np

    reduced = picture.convert("RGB").quantize(256)
    indices = np.asarray(reduced)
    height, width = indices.shape
    palette = np.array(reduced.getpalette(), dtype=int).reshape(-1, 3) * 100 // 255
    parts = [f'\x1bP0;1q"1;1;{width};{height}']
    parts += [f"#{i};2;{r};{g};{b}" for i, (r, g, b) in enumerate(palette.tolist())]
    for top in range(0, height, 6):
        band = indices[top : top + 6]
        weights = (1 << np.arange(len(band)))[:, None]
        lines = []
        for colour in np.unique(band).tolist():
            values = ((band == colour) * weights).sum(axis=0) + 63
            lines.append(f"#{colour}{_runs(values.tolist())}")
        parts.append("$".join(lines) + "-")
    return "".join(parts) + "\x1b\\"


def _runs(values: list[int]) -> str:
    """Characters, those that repeat as a count and one of them."""
    text = "".join(map(chr, values))
    return re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", text)
