"""`limner chat`: a conversation in the terminal, of words, pictures and edits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from limner import catalog
from limner.app.console import LABEL, Device, Json, ModelName, Seed, Watch, json_line, line
from limner.app.drawing import slug

if TYPE_CHECKING:
    from limner.answer import Answer
    from limner.app.terminal import Protocol
    from limner.conversation import Chat as Conversation
    from limner.request import Command

Show = Literal["auto", "kitty", "iterm2", "sixel", "none"]
PROMPT = f"{'you':<{LABEL}}"
SIDES = ("left", "right", "up", "down")
HELP = """\
words                    ask about the last picture, or talk where there is none
/say WORDS               talk, whether there is a picture or not
/draw WORDS              have a picture drawn
/edit WORDS              have the last picture drawn again, as the words say
/mask PATH               the next /edit changes only what is white in this picture
/extend SIDE PX WORDS    make the last picture larger: left, right, up or down by so many pixels
/image PATH              show a picture with what you say next
/think on|off|auto       think before every reply, before none, or before drawing (auto)
/seed N                  the seed of the next reply; each later one has the next seed
/memory N|all|auto       how many earlier turns the model is shown (auto: as many as it was taught to read)
/undo                    take the last turn back
/history                 what was said so far
/save FILE               the conversation (.json) or the last picture that was drawn (.png)
/help, /quit             (or Ctrl-D); Ctrl-C stops a reply"""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Talk with a model: words, pictures and edits, each turn seeing those before it. /help says what can be said.

    Lines may also come from a file or pipe; the first that cannot be followed then ends it with status 2.
    """

    model: ModelName = catalog.DEFAULT
    device: Device = "cpu"
    seed: Seed = 0
    resume: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Go on with a conversation that /save wrote."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out")
    """The folder for pictures."""
    pictures: Show = "auto"
    """How the terminal shows pictures; auto asks it, none leaves it at the path."""
    json: Json = False

    def run(self) -> int:
        """Read lines and answer until they end."""
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"-o {self.out}: there is a file of that name; give a folder")
        catalog.find(self.model)
        from limner.answer import Limner
        from limner.app.terminal import detect
        from limner.conversation import Chat as Conversation

        limner = Limner.load(self.model, device=self.device)
        chat = Conversation(limner, seed=self.seed)
        if self.resume is not None:
            chat = Conversation.load(self.resume, limner)
        shows: Protocol = "none" if self.json else detect() if self.pictures == "auto" else self.pictures
        return Session(chat, self.out, shows, self.json).run()


class Over(Exception):
    """The user has left."""


class Session:
    """A conversation at the terminal. ``shows`` is how pictures are shown beside their paths."""

    def __init__(self, chat: Conversation, out: Path, shows: Protocol, json: bool) -> None:
        self.chat, self.out, self.shows, self.json = chat, out, shows, json
        self.think: bool | None = None
        self.mask: Path | None = None
        self.asks = sys.stdin.isatty()
        self.commands: dict[str, Callable[[str], None]] = {
            "say": lambda words: self.turn("say", words),
            "draw": lambda words: self.turn("generate", words),
            "edit": self.edit,
            "mask": self.set_mask,
            "extend": self.extend,
            "image": self.image,
            "think": self.set_think,
            "seed": self.set_seed,
            "memory": self.set_memory,
            "undo": self.undo,
            "history": self.history,
            "save": self.save,
            "help": lambda _: self.tell("", HELP),
            "quit": self.quit,
        }

    def run(self) -> int:
        """Follow every line; the exit status."""
        if self.asks and not self.json:
            line("model", f"{self.chat.limner.name}; /help says what can be said, /quit ends")
        for text in self.lines():
            try:
                self.follow(text)
            except Over:
                break
            except KeyboardInterrupt:
                print(file=sys.stderr)
                self.tell("stopped", "nothing was kept of this turn")
            except (ValueError, OSError) as error:
                if not self.asks:
                    raise
                print("limner:", " ".join(str(error).split()), file=sys.stderr, flush=True)
        return 0

    def lines(self) -> Iterator[str]:
        """The lines that are said, without blank ones."""
        if not self.asks:
            yield from (text.strip() for text in sys.stdin if text.strip())
            return
        self.editing()
        while True:
            try:
                text = input(PROMPT).strip()
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()
                continue
            if text:
                yield text

    def editing(self) -> None:
        """Lines can be edited, recalled with the arrows, and commands completed with Tab, where Python has readline."""
        try:
            import readline
        except ImportError:  # it does everywhere but on Windows
            return
        names = [f"/{name} " for name in self.commands]

        def complete(text: str, state: int) -> str | None:
            found = [name for name in names if name.startswith(text)] if text.startswith("/") else []
            return found[state] if state < len(found) else None

        readline.set_completer(complete)
        readline.set_completer_delims(" ")
        readline.parse_and_bind("tab: complete")

    def follow(self, text: str) -> None:
        """Do what a line says."""
        if not text.startswith("/"):
            self.turn("say" if self.chat.picture is None else "ask", text)
            return
        name, _, rest = text[1:].partition(" ")
        if name not in self.commands:
            raise ValueError(f"there is no /{name}; there are: {', '.join(f'/{known}' for known in self.commands)}")
        self.commands[name](rest.strip())

    def tell(self, label: str, text: str) -> None:
        """Lines for a person; nothing for a machine."""
        if not self.json:
            for index, one in enumerate(text.splitlines()):
                line("" if index else label, one)

    # turns

    def turn(self, command: Command, words: str, **options: Any) -> None:
        """A turn: made, kept and shown."""
        chat = self.chat
        request = chat.wish(command, words, think=self.think, **options)
        path = self.out / f"{slug(words)}-{chat.seed}.png"
        watch = Watch(chat.limner, seeds=[chat.seed], silent=self.json)
        try:
            answer = chat.answer(request, watch)
        finally:
            watch.stop()
        if answer.image is not None:
            answer.save(path)
        if self.json:
            json_line(answer.to_json() | {"path": None if answer.image is None else str(path), "verdicts": {}})
            return
        self.shown(answer, path)
        left_out = len(chat.turns) - 1 - len([m for m in request.history if m.role == "assistant"])
        if left_out and chat.memory is None and chat.limner.model.turns is None:
            self.tell("", f"(the model has no room for the first {left_out} turns; it did not see them)")

    def shown(self, answer: Answer, path: Path) -> None:
        """An answer for a person."""
        from limner.app.terminal import drawn

        if answer.image is None:
            self.tell("answer", answer.text or "(nothing)")
            return
        sys.stdout.write(drawn(answer.image, self.shows))
        self.tell("picture", str(path))

    def edit(self, words: str) -> None:
        """The last picture drawn again, or the masked part of it."""
        if self.mask is None:
            self.turn("generate", words, edits=True)
            return
        from limner.request import what_is_free

        self.turn("inpaint", words, mask=what_is_free(self.mask))
        self.mask = None

    def extend(self, rest: str) -> None:
        """The last picture made larger."""
        side, _, more = rest.partition(" ")
        pixels, _, words = more.strip().partition(" ")
        if side not in SIDES or not pixels.isdecimal():
            raise ValueError(f"/extend {rest}: say a side, pixels and words, as in /extend right 64 a boat at sea")
        self.turn("extend", words, margins=tuple(int(pixels) if side == name else 0 for name in SIDES))

    # settings

    def image(self, path: str) -> None:
        """Show a picture with the next message."""
        self.chat.show(_given(path, "/image", "a picture file"))
        self.tell("shown", f"{path}; it goes with what you say next")

    def set_mask(self, path: str) -> None:
        """Mark what the next edit changes."""
        from limner.request import what_is_free

        what_is_free(_given(path, "/mask", "a picture file"))
        self.mask = Path(path)
        self.tell("mask", f"{path}; the next /edit changes what is white in it")

    def set_think(self, word: str) -> None:
        """Whether replies are thought about."""
        known: dict[str, bool | None] = {"on": True, "off": False, "auto": None}
        if word not in known:
            raise ValueError(f"/think {word}: say on, off or auto")
        self.think = known[word]
        self.tell("think", word)

    def set_seed(self, word: str) -> None:
        """The seed of the next reply."""
        if not word.isdecimal() or int(word) >= 2**63:
            raise ValueError(f"/seed {word}: give a whole number from 0 to 2^63 - 1")
        self.chat.seed = int(word)
        self.tell("seed", word)

    def set_memory(self, word: str) -> None:
        """How many earlier turns are shown."""
        if word not in ("all", "auto") and not word.isdecimal():
            raise ValueError(f"/memory {word}: give a number of turns, all, or auto")
        self.chat.memory = None if word == "auto" else sys.maxsize if word == "all" else int(word)
        self.tell("memory", word)

    def undo(self, _: str) -> None:
        """Take the last turn back."""
        turn = self.chat.undo()
        self.tell("undone", turn.said.text)

    def history(self, _: str) -> None:
        """What was said so far."""
        for message in self.chat.messages:
            label = "you" if message.role == "user" else ""
            for part in message.parts:
                if part.kind == "image":
                    self.tell(label or "picture", f"(a picture of {part.image.width} x {part.image.height} pixels)")
                else:
                    self.tell(label or ("thinking" if part.kind == "thinking" else "answer"), part.text or "(nothing)")
        self.tell("next", f"seed {self.chat.seed}" + (", with a picture" if self.chat.waiting else ""))

    def save(self, path: str) -> None:
        """Write the conversation, or its last drawn picture."""
        name = _given(path, "/save", "a file name ending in .json or .png")
        if name.lower().endswith(".png"):
            drawn = [turn for turn in self.chat.turns if turn.answer.image is not None]
            if not drawn:
                raise ValueError("no picture was drawn yet")
            drawn[-1].answer.save(name)
        else:
            self.chat.save(name)
        self.tell("saved", name)

    def quit(self, _: str) -> None:
        """Leave."""
        raise Over


def _given(text: str, command: str, what: str) -> str:
    if not text:
        raise ValueError(f"{command} goes with {what}")
    return text
