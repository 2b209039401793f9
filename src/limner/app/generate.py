"""`limner generate`: think about a prompt, then draw it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from limner import catalog
from limner.app.console import OWN, json_line, line
from limner.app.drawing import Drawing
from limner.app.verifying import CANDIDATES, MOST, Budget, Judge, Ways, seconds, told, unjudged

if TYPE_CHECKING:
    from limner.algorithms.verify.search import Event
    from limner.request import Request


@dataclass(frozen=True, kw_only=True)
class Generate(Drawing):
    """Think about a prompt, draw it, and save the picture with its request embedded."""

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """What to draw, in words."""
    size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    """Side of the picture in pixels."""
    image: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: none)")] = None
    """A picture to begin from, as in "the same cat at night"; for models that are taught it."""
    verify: Ways = None
    judge: Judge = "self"
    budget: Budget = ""

    def run(self) -> int:
        """Make the pictures, or choose one among -n candidates."""
        if self.verify is None:
            if self.budget:
                raise ValueError("--budget is for choosing; add --verify, such as --verify parm")
            return super().run()
        return _verified(self)

    def request(self) -> Request:
        """A picture from words, and from a picture if one is given."""
        from limner.request import Request, read_picture

        shown = None if self.image is None else read_picture(self.image)
        return Request("generate", self.prompt, self.think, self.steps, self.guidance, self.size, shown, fast=self.fast)


def _verified(command: Generate) -> int:
    """`limner generate --verify`: one picture, chosen; its trace stands beside it."""
    from limner.algorithms.verify.run import method
    from limner.answer import Limner

    assert command.verify is not None
    if command.image is not None:
        raise ValueError("--verify chooses among pictures from words alone; leave out --image")
    if command.preview:
        raise ValueError("--preview shows one picture's coming to be; leave it out with --verify")
    if command.number < 1:
        raise ValueError(f"-n {command.number}: give 1 candidate or more")
    request, budget = command.request(), seconds(command.budget)
    n = command.number if command.number > 1 else MOST if budget else CANDIDATES
    method(command.verify, n, budget)
    path = command.path_of(request, command.seed, command.verify.replace("++", "pp"))
    catalog.find(command.model)
    limner = Limner.load(command.model, device=command.device)

    def on_event(event: Event) -> None:
        text = told(event)
        if text and not command.json:
            line("look" if event.kind == "look" else "again", text)

    trace = path.with_suffix(".trace.jsonl")
    answer = limner.verified(
        command.prompt,
        command.verify,
        n,
        judge=command.judge,
        budget=budget,
        think=command.think,
        seed=command.seed,
        steps=command.steps,
        guidance=command.guidance,
        size=command.size,
        fast=command.fast,
        on_event=on_event,
        trace=trace,
    )
    answer.save(path)
    about: dict[str, Any] = answer.request["verify"]
    unjudged(about["looks"], about["unjudged"], about["unjudged_why"])
    if command.json:
        verdicts = {name: about[name] for name in ("method", "judge", "path", "why", "rounds", "unjudged")}
        json_line(answer.to_json() | {"path": str(path), "trace": str(trace), "preview": None, "verdicts": verdicts})
        return 0
    cost = about["cost"]
    line("chosen", f"path {about['path']} (seed {answer.seed}): {about['why']}")
    line("cost", f"{cost['row_steps']} row-steps in {cost['passes']} passes, {cost['looks']} looks, "
         f"{answer.timings['total']:.1f} s")  # fmt: skip
    line("picture", str(path))
    line("trace", str(trace))
    return 0
