"""`limner ask`, `limner say`, `limner fill`: answers in words, about a picture or without one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from limner import catalog
from limner.app.console import OWN, Device, Fast, Json, ModelName, Seed, Watch, json_line, line

if TYPE_CHECKING:
    from limner.request import Request

Begin = Annotated[str, tyro.conf.arg(metavar="WORDS", help_behavior_hint="", help="How the answer begins.")]
Blank = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 1 to 3, the likeliest)")]


@dataclass(frozen=True, kw_only=True)
class Answering:
    """A command that answers in words: it says what is wanted, the rest is here."""

    think: bool = False
    """Think before answering."""
    temperature: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=OWN)] = None
    """How much is left to chance in words, 0 (the likeliest) to 100."""
    fast: Fast = ""
    seed: Seed = 0
    model: ModelName = catalog.DEFAULT
    device: Device = "cpu"
    json: Json = False

    def request(self) -> Request:
        """What is wanted; ValueError where it is impossible."""
        raise NotImplementedError

    def path(self) -> Path | None:
        """The picture that it is about, if any."""
        return None

    def run(self) -> int:
        """Look, think if wanted, and answer."""
        request = self.request()
        catalog.find(self.model)
        from limner.answer import Limner

        limner = Limner.load(self.model, device=self.device)
        watch = Watch(limner, seeds=[self.seed], silent=self.json)
        try:
            answer = limner.answer(request, [self.seed], watch)[0]
        finally:
            watch.stop()
        path = self.path()
        if self.json:
            json_line(answer.to_json() | {"path": path and str(path), "verdicts": {}})
        else:
            line("text" if request.command == "fill" else "answer", answer.text or "")
        return 0


@dataclass(frozen=True, kw_only=True)
class Ask(Answering):
    """Answer a question about a picture."""

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """A PNG or JPEG file of at most 64 million pixels."""
    question: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")]
    """The question, in words."""
    begin: Begin = ""

    def path(self) -> Path | None:
        """The picture that is asked about."""
        return self.image

    def request(self) -> Request:
        """A question about a picture."""
        from limner.request import Request, read_picture

        image = read_picture(self.image)
        return Request(
            "ask",
            self.question,
            self.think,
            image=image,
            begin=self.begin,
            temperature=self.temperature,
            fast=self.fast,
        )


@dataclass(frozen=True, kw_only=True)
class Say(Answering):
    """Answer in words: talk, sums, riddles."""

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """What is said to the model, in words."""
    begin: Begin = ""

    def request(self) -> Request:
        """A message."""
        from limner.request import Request

        return Request("say", self.prompt, self.think, begin=self.begin, temperature=self.temperature, fast=self.fast)


@dataclass(frozen=True, kw_only=True)
class Fill(Answering):
    """Fill the blanks of a text: "the ___ is ___"."""

    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The text, with two or more underscores for each blank."""
    question: Annotated[str, tyro.conf.arg(metavar="WORDS", help_behavior_hint="(default: the text's own words)")] = ""
    """What the text replies to."""
    image: Annotated[Path | None, tyro.conf.arg(metavar="IMAGE", help_behavior_hint="")] = None
    """A picture that the text is about."""
    blank: Blank = None
    """How many tokens stand in a blank, 1 to 64."""

    def path(self) -> Path | None:
        """The picture that the text is about."""
        return self.image

    def request(self) -> Request:
        """A text with blanks."""
        from limner.request import Request, read_picture

        return Request(
            "fill",
            self.text,
            self.think,
            image=None if self.image is None else read_picture(self.image),
            question=self.question,
            blank=self.blank,
            temperature=self.temperature,
            fast=self.fast,
        )
