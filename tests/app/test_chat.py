"""`limner chat`: lines from a pipe, and a person at a terminal (a pty)."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.progress import Progress

from limner.answer import Answer, Limner
from limner.app.cli import main
from limner.app.console import Watch
from limner.models.echo import Echo
from limner.parts import Ask


@pytest.fixture
def chat(echo, monkeypatch, capsys):
    """Runs `limner chat` on lines; (status, lines of output, errors)."""

    def run(*lines, options=()):
        read, write = os.pipe()
        with os.fdopen(write, "w") as end:
            end.write("\n".join(lines) + "\n")
        with os.fdopen(read) as source:
            monkeypatch.setattr(sys, "stdin", source)
            status = main(["chat", "--model", echo, *options])
        out, error = capsys.readouterr()
        return status, out.splitlines(), error

    return run


def test_a_conversation_of_every_sort_of_turn(chat, tmp_path):
    Image.new("RGB", (16, 16), (220, 40, 40)).save("red.png")
    mask = Image.new("L", (16, 16))
    mask.paste(255, (0, 0, 8, 16))
    mask.save("mask.png")
    status, lines, error = chat(
        "hello",
        "/draw a cat",
        "what is it",
        "/image red.png",
        "what is this",
        "/mask mask.png",
        "/edit a dog",
        "/extend right 16 a dog",
        "/say bye",
        "/save talk.json",
    )
    assert status == 0 and error == ""
    assert lines == [
        "answer      hello",
        "thinking    a cat",
        "picture     out/a-cat-1.png",
        "answer      what is it",
        "shown       red.png; it goes with what you say next",
        "answer      what is",  # this model's habit behind a picture
        "mask        mask.png; the next /edit changes what is white in it",
        "thinking    a dog",
        "picture     out/a-dog-4.png",
        "thinking    a dog",
        "picture     out/a-dog-5.png",
        "answer      bye",
        "saved       talk.json",
    ]
    with Image.open("out/a-dog-4.png") as edited, Image.open("out/a-dog-5.png") as larger:
        assert edited.getpixel((12, 3)) == (220, 40, 40) and larger.size == (32, 16)
    turns = json.loads((tmp_path / "talk.json").read_text())["turns"]
    assert [turn["request"]["command"] for turn in turns] == [
        "say", "generate", "ask", "ask", "inpaint", "extend", "say"
    ]  # fmt: skip


def test_a_saved_conversation_is_gone_on_with(chat):
    chat("/draw a cat", "/seed 9", "/save talk.json")
    status, lines, _ = chat("/history", "what is it", options=["--resume", "talk.json"])
    assert status == 0
    assert lines == [
        "you         a cat",
        "thinking    a cat",
        "picture     (a picture of 16 x 16 pixels)",
        "next        seed 9",
        "answer      what is it",
    ]


def test_settings_change_what_follows(chat):
    status, lines, _ = chat(
        "/think off", "/seed 7", "/draw a cat", "/think on", "/say hi", "/memory 0", "/say you", "/undo", "/history"
    )
    assert status == 0
    assert lines == [
        "think       off",
        "seed        7",
        "picture     out/a-cat-7.png",
        "think       on",
        "thinking    hi",
        "answer      hi",
        "memory      0",
        "thinking    you",
        "answer      you",
        "undone      you",
        "you         a cat",
        "picture     (a picture of 16 x 16 pixels)",
        "you         hi",
        "thinking    hi",
        "answer      hi",
        "next        seed 9",
    ]


def test_a_drawn_picture_is_the_one_that_generate_draws(chat, echo):
    chat("/seed 3", "/draw a cat", "/save cat.png")
    assert main(["generate", "a cat", "--seed", "3", "--model", echo, "-o", "alone.png"]) == 0
    with open("cat.png", "rb") as one, open("alone.png", "rb") as other:
        assert one.read() == other.read()
    assert Answer.request_of("cat.png")["seed"] == 3


def test_machines_get_one_json_line_a_reply(chat):
    status, lines, _ = chat("/draw a cat", "/think off", "what is it", options=["--json"])
    drawn, told = map(json.loads, lines)
    assert status == 0 and drawn["path"] == "out/a-cat-0.png" and drawn["thinking"] == "a cat"
    assert told["path"] is None and told["text"] == "what is it" and told["request"]["history"]["messages"] == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/dance", "no /dance"),
        ("/edit a cat", "no picture yet"),
        ("/draw", "prompt is empty"),
        ("/image", "goes with a picture file"),
        ("/image missing.png", "no picture file"),
        ("/mask missing.png", "no picture file"),
        ("/think perhaps", "on, off or auto"),
        ("/seed -1", "whole number"),
        ("/memory some", "number of turns"),
        ("/extend sideways 3 a cat", "right 64"),
        ("/undo", "no turn"),
        ("/save talk.txt", r"end in \.json"),
        ("/save cat.png", "no picture was drawn"),
    ],
)
def test_a_line_that_cannot_be_followed_ends_a_script_with_one_error(chat, line, said):
    status, lines, error = chat(line, "/say hi")
    assert status == 2 and lines == [] and error.count("\n") == 1
    assert re.search(said, error)


def test_bad_options_are_refused_before_anything_is_read(chat):
    open("file", "w").close()
    for options, said in ((["-o", "file"], "give a folder"), (["--resume", "missing.json"], "cannot be read")):
        status, _, error = chat("/say hi", options=options)
        assert status == 2 and said in error


class Terminal:
    """A terminal with a program in it. ``attributes`` is what it answers when asked what it can do."""

    def __init__(self, command, environment, attributes=b""):
        self.master, slave = pty.openpty()
        self.attributes, self.seen = attributes, b""
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=os.environ | environment, start_new_session=True
        )
        os.close(slave)

    def wait_for(self, text, seconds=300):
        """Read until the text was seen; what was seen since the last one."""
        end = time.monotonic() + seconds
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} was not seen in {self.seen!r}"
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:  # the program has ended
                assert text.encode() in self.seen, self.seen
                break
            if self.attributes and b"\x1b[c" in self.seen:
                os.write(self.master, self.attributes)
                self.attributes = b""
        before, _, after = self.seen.partition(text.encode())
        self.seen = after
        return before.decode(errors="replace")

    def say(self, text):
        os.write(self.master, text.encode())

    def press_until(self, key, text, seconds=300):
        """Press a key, again and again, until it has had its effect, as people do."""
        end = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < end, f"{text!r} was not seen in {self.seen!r}"
            self.say(key)
            while select.select([self.master], [], [], 5.0)[0]:
                self.seen += os.read(self.master, 65536)
                if text.encode() in self.seen:
                    break
        return self.wait_for(text)

    def end(self, seconds=300):
        """The status with which the program ends by itself."""
        end = time.monotonic() + seconds
        while select.select([self.master], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:  # it has gone
                break
        status = self.process.wait(max(0.0, end - time.monotonic()))
        os.close(self.master)
        return status


@pytest.fixture
def terminal():
    """Starts a Python program in a terminal."""
    started = []

    def start(program, *arguments, attributes=b"", **environment):
        plain = {"TERM": "xterm", "TERM_PROGRAM": "", "LC_TERMINAL": ""}
        started.append(Terminal([sys.executable, "-c", program, *arguments], plain | environment, attributes))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


# the terminal that a session's first process opens is its own, so that Ctrl-C reaches it, even where tests run in the
# background and were told to ignore it
OWN = """
import os, signal
os.close(os.open(os.ttyname(0), os.O_RDWR))
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
# pictures of this model take two seconds
SLOW = f"""{OWN}
import time
from limner.app.cli import entry
from limner.process import masked

plain = masked.MaskedCanvas.step

def slow(self, state):
    time.sleep(0.5)
    return plain(self, state)

masked.MaskedCanvas.step = slow
entry()
"""


def test_a_person_talks_stops_a_reply_is_told_what_was_wrong_and_goes_on(terminal, echo):
    here = terminal(SLOW, "chat", "--model", echo, attributes=b"\x1b[?62;4;22c")
    here.wait_for("you ")
    here.say("/dr\tred\n")  # Tab completes the command
    here.wait_for("drawing")
    here.say("\x03")  # Ctrl-C while it draws
    here.wait_for("nothing was kept")
    here.wait_for("you ")
    here.say("/dance\n")
    here.wait_for("there is no /dance")
    here.wait_for("you ")
    here.say("\x1b[A\x1b[A\n")  # two up: what was stopped
    assert "\x1bP0;1q" in here.wait_for("out/red-0.png")  # as sixels, which this terminal has
    here.wait_for("you ")
    here.say("hal")
    here.wait_for("hal")
    # Ctrl-C at the prompt drops the line; one that comes while readline takes in a letter waits for the next key
    here.press_until("\x03", "you ")
    here.say("/history\n")
    assert "hal" not in here.wait_for("seed 1")
    here.wait_for("you ")
    here.say("\x04")  # Ctrl-D
    assert here.end() == 0


def test_a_bar_that_is_interrupted_as_it_begins_is_taken_away(monkeypatch):
    bars = []

    def interrupted(bar):
        bars.append(bar)
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "start", interrupted)
    monkeypatch.setattr(Progress, "stop", lambda bar: bars.append(bar))
    watch = Watch(Limner(Echo(), "echo"), seeds=[0])
    step = SimpleNamespace(ask=Ask("image"), state=SimpleNamespace(settings=SimpleNamespace(steps=4)))
    with pytest.raises(KeyboardInterrupt):
        watch(step)
    watch.stop()
    assert len(bars) == 2 and bars[0] is bars[1]


@pytest.mark.parametrize(
    ("environment", "attributes", "found"),
    [
        ({"TERM": "xterm-kitty"}, b"", "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, b"", "iterm2"),
        ({"TERM": "foot"}, b"\x1b[?62;4;22c", "sixel"),
        ({"TERM": "vt220"}, b"\x1b[?62;22c", "none"),
        ({"TERM": "dumb"}, b"", "none"),  # it never answers
    ],
)
def test_a_terminal_is_asked_what_it_can_show(terminal, environment, attributes, found):
    program = "from limner.app.terminal import detect\nprint('found', detect(), 'end')"
    here = terminal(program, attributes=attributes, **environment)
    here.wait_for("found")
    assert here.wait_for("end").strip() == found
    assert here.end() == 0
