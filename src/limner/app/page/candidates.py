"""Candidates side by side: each one's picture, what the verifier said at which step, and what became of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING

import torch

from limner.parts import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from limner.algorithms.verify.search import Event
    from limner.app.page.work import Work
    from limner.models.base import Model

THUMBNAIL, PREVIEW = 192, 512  # pixels a side
LOST = ("dropped", "rejected")
Show = Callable[[tuple[int, ...]], "Picture"]


@dataclass
class Candidate:
    """``name`` and ``seed``; ``said`` are the looks in order; ``fate`` is "" as long as it goes on."""

    name: str
    seed: int
    picture: Picture | None = None
    said: list[str] = field(default_factory=list)
    fate: str = ""
    chosen: bool = False


def candidates(looks: Sequence[Event], show: Show) -> list[Candidate]:
    """The candidates that were looked at so far, in order. ``show`` turns the codes of a view to a picture."""
    found: dict[tuple[int, int], Candidate] = {}
    views: dict[tuple[int, int], tuple[int, ...]] = {}
    winner: tuple[int, int] | None = None
    for event in looks:
        if event.kind == "choice" and event.path is not None:
            winner = event.round, event.path
        if event.kind != "look" or event.path is None:
            continue
        key = event.round, event.path
        again = f", round {event.round + 1}" if event.round else ""
        one = found.setdefault(key, Candidate(f"candidate {event.path + 1}{again}", event.seed or 0))
        one.said.append(_said(event))
        if event.decision in LOST:
            one.fate = f"{event.decision} {_when(event)}: {event.question} {_value(event)}"
        if event.view is not None:
            views[key] = event.view
    for key, view in views.items():
        found[key].picture = show(view)
    if winner is not None and winner in found:
        found[winner].fate, found[winner].chosen = "chosen", True
    return [found[key] for key in sorted(found)]


def _said(event: Event) -> str:
    return f"{_when(event)}: {event.question} {_value(event)}" + (f", {event.decision}" if event.decision else "")


def _when(event: Event) -> str:
    return "at the end" if event.step is None or event.step == event.steps else f"at step {event.step}/{event.steps}"


def _value(event: Event) -> str:
    if event.opinion is None or event.opinion.yes is None:
        return "not judged"
    return f"{event.opinion.yes:.2f}"


class Shower:
    """Pictures of views, each decoded once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._known: dict[tuple[int, ...], Picture] = {}

    def __call__(self, view: tuple[int, ...]) -> Picture:
        if view not in self._known:
            with torch.no_grad():
                (part,) = self.model.decode("image", torch.tensor([view], device=self.model.device))
            assert isinstance(part, Image)
            self._known[view] = part.image
        return self._known[view]


def cards(work: Work, show: Show, over: bool = False) -> str:
    """Everything that is being drawn, as HTML: candidates with their looks, or, where nobody judges, the pictures.
    ``over``: nothing is in work any more."""
    if work.looks:
        found = candidates(work.looks, show)
        return grid([replace(one, fate="not chosen") if over and not one.fate else one for one in found])
    return grid(_rows(work.pictures, {row: answer.seed for row, answer in work.answers.items()}, work.job.seeds))


def _rows(pictures: Mapping[int, Picture], done: Mapping[int, int], seeds: Sequence[int]) -> list[Candidate]:
    return [
        Candidate(f"picture {row + 1}", seeds[row], pictures[row], fate="finished" if row in done else "")
        for row in sorted(pictures)
    ]


def preview(picture: Picture) -> str:
    """A picture in the making, as HTML: no file is made of it."""
    return f'<img class="preview" alt="the picture as it stands" src="{thumbnail(picture, PREVIEW)}">'


def grid(some: Sequence[Candidate]) -> str:
    """Candidates as a list of figures; "" for fewer than two."""
    if len(some) < 2:
        return ""
    return f'<ul class="candidates">{"".join(_card(one) for one in some)}</ul>'


def _card(one: Candidate) -> str:
    kind = "chosen" if one.chosen else "lost" if one.fate.startswith(LOST) else "open"
    looks = "".join(f"<li>{escape(text)}</li>" for text in one.said)
    title = f"{one.name}, seed {one.seed}"
    picture = "" if one.picture is None else f'<img src="{thumbnail(one.picture)}" alt="{escape(title)}">'
    fate = f'<div class="fate">{escape(one.fate or "in work")}</div>'
    told = f"<details><summary>{len(one.said)} looks</summary><ol>{looks}</ol></details>" if one.said else ""
    return f'<li class="candidate {kind}">{picture}<div class="name">{escape(title)}</div>{fate}{told}</li>'


def thumbnail(picture: Picture, most: int = THUMBNAIL) -> str:
    """A picture, at most so many pixels a side, as a data URL."""
    small = picture.convert("RGB")
    small.thumbnail((most, most))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
