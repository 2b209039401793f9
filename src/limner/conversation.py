"""Conversations: questions, pictures and edits in any order, each turn seeing those before it, with every family.

    chat = Chat(load("tiny-mmada"))
    chat.draw("a red cat")
    chat.ask("what is in this picture?").text
    chat.edit("a blue cat")                            # of the picture that stands last, by words
    chat.edit("a blue cat at night", mask="sky.png")   # a part of it alone
    chat.show("boat.png")                              # the next turn is about this one
    chat.save("talk.json")
    Chat.load("talk.json", load("tiny-mmada"))

A turn is a `Request` with a history, carried out like any other: the same request with the same seed gives the same
bytes. Everything is kept and saved; the model is shown the latest turns, without their thoughts: as many as it was
taught to read and has room for, or at most ``memory``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image as pil

from limner import __version__
from limner.answer import Answer, ImageLike, Limner
from limner.making import OnPicture, OnStep
from limner.models.base import Reply
from limner.parts import (
    Conversation,
    Image,
    Message,
    Part,
    Sample,
    Task,
    Thinking,
    assistant,
    message_from_json,
    message_to_json,
    user,
)
from limner.request import ALTERS, DRAWS, Command, Request, a_picture, what_is_free


@dataclass(frozen=True)
class Turn:
    """What the user said and showed, what came back, and the request that it was made by (as in `Answer.request`)."""

    said: Message
    reply: Reply
    request: dict[str, Any]
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def seen(self) -> Conversation:
        """The turn as later ones see it: without its thought."""
        return self.said, assistant(*(part for part in self.reply if not isinstance(part, Thinking)))

    @property
    def picture(self) -> Image | None:
        """The last picture of the turn, drawn or shown."""
        parts: tuple[Part, ...] = (*self.said.parts, *self.reply)
        return next((part for part in reversed(parts) if isinstance(part, Image)), None)

    @property
    def answer(self) -> Answer:
        """The reply as an answer, whose picture can be saved with its request."""
        sample = Sample(Task((self.said,)), self.reply)
        told = sample.thinking, sample.image, sample.text
        return Answer(*told, self.request["seed"], self.request["model"], self.request, self.timings, self.reply)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, pictures and what was sampled included."""
        reply = message_to_json(assistant(*self.reply))["content"]
        return {"said": message_to_json(self.said), "reply": reply, "request": self.request, "timings": self.timings}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Turn:
        """The turn that ``to_json`` wrote."""
        reply = message_from_json({"role": "assistant", "content": value["reply"]}).parts
        request, timings = dict(value["request"]), dict(value["timings"])
        _ = request["seed"], request["model"]  # without these it is no turn
        return Turn(message_from_json(value["said"]), reply, request, timings)


class Chat:
    """A conversation with a model. Calls that fail raise ValueError and leave it as it was.

    ``seed`` (0 to 2^63 - 1) is that of the next turn; every turn counts it up by one. ``memory`` is how many earlier
    turns the model is shown at most, 0 or more (None: the model's own number, `Model.turns`). ``turns`` are those so
    far, ``waiting`` the pictures that were shown and belong to the next one.
    """

    def __init__(self, limner: Limner, *, seed: int = 0, memory: int | None = None, turns: Iterable[Turn] = ()) -> None:
        if memory is not None and memory < 0:
            raise ValueError(f"memory={memory} is impossible; give the number of turns to be shown, 0 or more")
        self.limner, self.seed, self.memory = limner, seed, memory
        self.turns: list[Turn] = list(turns)
        self.waiting: list[Image] = []

    @property
    def messages(self) -> Conversation:
        """Everything said so far, thoughts included, as alternating messages of user and assistant."""
        return tuple(message for turn in self.turns for message in (turn.said, assistant(*turn.reply)))

    @property
    def picture(self) -> pil.Image | None:
        """The picture that the next turn is about: the last that was shown or drawn."""
        found = self._latest()
        return None if found is None else found.image

    def show(self, image: ImageLike) -> None:
        """Show a picture, or the one in a file, with the next turn; several may be shown."""
        self.waiting.append(Image(a_picture(image)))

    def say(self, words: str, **how: Any) -> Answer:
        """Say something, and be answered in words. ``how``: `wish` and `answer` say what there is."""
        return self._turn("say", words, **how)

    def ask(self, question: str, **how: Any) -> Answer:
        """Ask about the last picture, and be answered in words."""
        return self._turn("ask", question, **how)

    def draw(self, prompt: str, **how: Any) -> Answer:
        """Have a picture drawn from words, with what was shown for it if anything was."""
        return self._turn("generate", prompt, **how)

    def edit(self, prompt: str, *, mask: ImageLike | None = None, **how: Any) -> Answer:
        """Have the last picture drawn again as ``prompt`` says; with a ``mask`` only where it is white."""
        if mask is None:
            return self._turn("generate", prompt, edits=True, **how)
        return self._turn("inpaint", prompt, mask=what_is_free(mask), **how)

    def extend(self, prompt: str, *, left: int = 0, right: int = 0, up: int = 0, down: int = 0, **how: Any) -> Answer:
        """Have the last picture made larger by so many pixels."""
        return self._turn("extend", prompt, margins=(left, right, up, down), **how)

    def handed_to(self, limner: Limner) -> Chat:
        """The conversation as another model goes on with it: of what was sampled it is given words and pixels, because
        tokens and codes mean nothing to it."""
        turns = [replace(turn, reply=tuple(replace(part, raw=None) for part in turn.reply)) for turn in self.turns]
        chat = Chat(limner, seed=self.seed, memory=self.memory, turns=turns)
        chat.waiting = list(self.waiting)
        return chat

    def undo(self) -> Turn:
        """Take back the last turn and return it; its seed is the next one again. ValueError if there is none."""
        if not self.turns:
            raise ValueError("there is no turn to take back")
        turn = self.turns.pop()
        self.seed = int(turn.request["seed"])
        return turn

    def wish(
        self, command: Command, words: str, *, edits: bool = False, think: bool | None = None, **options: Any
    ) -> Request:
        """The request of the next turn, with as many earlier turns in front as the model can read.

        ``edits``: a drawing is about the last picture. ``think`` None: before drawing, if that was taught.
        ``options`` are other fields of `Request`. Raises ValueError for what the model cannot do, and for a turn about
        a picture where there is none.
        """
        about = edits or command in ("ask", *ALTERS)
        latest = self._latest()
        if about and latest is None:
            raise ValueError("there is no picture yet; show one, or have one drawn")
        taught = self.limner.model.thinks_of("image", about)
        options["think"] = (command in DRAWS and taught) if think is None else think
        shows: tuple[Image, ...] = tuple(self.waiting)
        if command in ALTERS:
            assert latest is not None
            options["image"], shows = latest.image, shows[:-1]
        elif shows:
            options["image"], shows = shows[-1].image, shows[:-1]
        own = self.limner.model.turns if self.memory is None else self.memory
        most = len(self.turns) if own is None else min(own, len(self.turns))
        self.limner.prepare(best := Request(command, words, history=self._history(0, shows, about, command), **options))
        for count in range(1, most + 1):
            request = replace(best, history=self._history(count, shows, about, command))
            try:
                self.limner.model.check_prompt(request.conversation)
            except ValueError:
                break  # what is older does not fit
            best = request
        return best

    def _history(self, count: int, shows: tuple[Image, ...], about: bool, command: Command) -> Conversation:
        """The last ``count`` turns, and what is shown beside them: the last picture, where a turn about it would not
        see it otherwise."""
        turns = self.turns[len(self.turns) - count :]
        latest = self._latest()
        if about and command not in ALTERS and not self.waiting and not any(turn.picture for turn in turns):
            assert latest is not None
            shows = (latest,)
        before = tuple(message for turn in turns for message in turn.seen)
        return (*before, user(*shows)) if shows else before

    def keep(self, request: Request, answer: Answer) -> Turn:
        """Make a request that `wish` gave, and its answer, the next turn."""
        turn = Turn(user(*self.waiting, request.prompt.strip()), answer.reply, answer.request, answer.timings)
        self.turns.append(turn)
        self.waiting, self.seed = [], answer.seed + 1
        return turn

    def answer(self, request: Request, on_step: OnStep | None = None, on_picture: OnPicture | None = None) -> Answer:
        """Carry out a request that `wish` gave and keep it; the watchers are those of `Limner.answer`."""
        (answer,) = self.limner.answer(request, [self.seed], on_step, on_picture)
        self.keep(request, answer)
        return answer

    def _turn(
        self,
        command: Command,
        words: str,
        *,
        on_step: OnStep | None = None,
        on_picture: OnPicture | None = None,
        **how: Any,
    ) -> Answer:
        return self.answer(self.wish(command, words, **how), on_step, on_picture)

    def _latest(self) -> Image | None:
        if self.waiting:
            return self.waiting[-1]
        return next((turn.picture for turn in reversed(self.turns) if turn.picture), None)

    # files

    def to_json(self) -> dict[str, Any]:
        """The whole conversation as plain JSON values."""
        about = {"limner": __version__, "model": self.limner.name, "seed": self.seed, "memory": self.memory}
        waiting = message_to_json(user(*self.waiting))["content"]
        return about | {"waiting": waiting, "turns": [turn.to_json() for turn in self.turns]}

    def save(self, path: str | Path) -> Path:
        """Write the conversation as JSON, pictures included; the file appears whole or not at all."""
        path = Path(path)
        if path.suffix.lower() != ".json":
            raise ValueError(f"a conversation is saved as JSON, so {path.name!r} must end in .json")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            beside.write_text(json.dumps(self.to_json()) + "\n", encoding="utf-8")
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        return path

    @staticmethod
    def load(path: str | Path, limner: Limner) -> Chat:
        """The conversation that `save` wrote, to go on with; `handed_to` this model if it was another's. ValueError for
        any other file."""
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            turns = [Turn.from_json(turn) for turn in value["turns"]]
            waiting = message_from_json({"role": "user", "content": value["waiting"]}).parts
            model, seed, memory = str(value["model"]), int(value["seed"]), value["memory"]
        except OSError as error:
            raise ValueError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{str(path)!r} is no conversation that limner saved: {error!r}") from error
        chat = Chat(limner, seed=seed, memory=memory, turns=turns)
        chat.waiting = [part for part in waiting if isinstance(part, Image)]
        return chat if model == limner.name else chat.handed_to(limner)
