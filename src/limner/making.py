"""A request carried out: the parts one after another, pictures window after window, blanks of the likeliest length."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

import torch
from PIL import Image as pil

from limner.canvas import Canvas, Window
from limner.parts import Ask, Image, Part, PartKind, Plan
from limner.process.base import Draw
from limner.process.noise import Noise
from limner.request import BLANKS, Request
from limner.turn import Step, stream

if TYPE_CHECKING:
    from limner.models.base import Model, Reply

OnStep = Callable[[Step], None]
OnPicture = Callable[[int, pil.Image], None]  # a seed, and its whole picture as it stands
TIMED: dict[PartKind, str] = {"thinking": "think", "image": "draw", "text": "answer"}  # what answers call the seconds


class Making:
    """Replies in the making: rows (one a seed) of one request, and who watches. ``timings`` are seconds so far: think,
    draw, answer."""

    def __init__(
        self, model: Model, request: Request, seeds: list[int], on_step: OnStep | None, on_picture: OnPicture | None
    ) -> None:
        self.model, self.request, self.seeds = model, request, seeds
        self.on_step, self.on_picture = on_step, on_picture
        self.timings: dict[str, float] = {}

    def parts(
        self,
        plan: Plan,
        standing: Sequence[Reply],
        seeds: Sequence[int] | None = None,
        known: Sequence[Image] | None = None,
        shown: Sequence[Callable[[pil.Image], pil.Image]] | None = None,
    ) -> list[Reply]:
        """The replies that stand, with the parts of a plan behind them. ``known`` is what each row keeps, and ``shown``
        how watchers see its picture."""
        last: Step | None = None
        conversations = [self.request.conversation] * len(standing)
        mark = time.perf_counter()
        for last in stream(self.model, conversations, plan, seeds or self.seeds, replies=standing, known=known):
            now = time.perf_counter()
            name = TIMED[last.ask.kind]
            self.timings[name] = self.timings.get(name, 0.0) + now - mark
            if self.on_step is not None:
                self.on_step(last)
            if self.on_picture is not None and last.ask.kind == "image":
                for row, part in enumerate(peek(self.model, last)):
                    assert isinstance(part, Image)
                    self.on_picture(self.seeds[row], shown[row](part.image) if shown is not None else part.image)
            mark = time.perf_counter()  # the watcher's time is not the model's
        assert last is not None
        return list(last.replies)

    def painted(self, ask: Ask, standing: Sequence[Reply]) -> list[Reply]:
        """The replies that stand, each with the picture completed window after window. The first window has the seeds'
        own noise."""
        canvases = [self.request.canvas(self.model, ask) for _ in self.seeds]
        for index, window in enumerate(canvases[0].windows):
            free = canvases[0].free(window)  # what is missing is missing in all
            if not any(free):
                continue
            known = self._known(canvases, window)
            rest = replace(ask, known=known[0], mask=free)
            own = Noise.of(self.seeds).fork("window", index).seed.tolist() if index else self.seeds
            shown = [partial(canvas.shown, window) for canvas in canvases]
            for canvas, reply in zip(canvases, self.parts((rest,), standing, own, known, shown), strict=True):
                drawn = reply[-1]
                assert isinstance(drawn, Image) and drawn.raw is not None
                canvas.put(window, drawn.image, drawn.raw)
        return [(*reply, Image(canvas.picture)) for reply, canvas in zip(standing, canvases, strict=True)]

    def _known(self, canvases: Sequence[Canvas], window: Window) -> list[Image]:
        """What a window shows of each canvas, with its codes; what looks the same is encoded once."""
        seen = [canvas.crop(window) for canvas in canvases]
        different = {picture.tobytes(): picture for picture in seen}
        encoded = self.model.encode([Image(picture) for picture in different.values()]).tolist()
        codes = dict(zip(different, encoded, strict=True))
        return [Image(p, canvas.codes(window, codes[p.tobytes()])) for p, canvas in zip(seen, canvases, strict=True)]

    def filled(self, standing: Sequence[Reply]) -> list[Reply]:
        """Replies with the text's blanks filled, by the number of tokens that the model finds likeliest."""
        best: list[tuple[float, Reply]] = []
        for size in BLANKS if self.request.blank is None else (self.request.blank,):
            ask = self.request.plan(self.model, size)[-1]
            replies = self.parts((ask,), standing)
            found = list(zip(self._likelihood(ask, replies), replies, strict=True))
            best = [max(pair, key=itemgetter(0)) for pair in zip(best, found, strict=True)] if best else found
        return [reply for _, reply in best]

    @torch.no_grad()
    def _likelihood(self, ask: Ask, replies: Sequence[Reply]) -> list[float]:
        """The mean log-probability of what stands in the gaps of each reply's last part, given all the rest."""
        assert ask.mask is not None
        values = self.model.encode([reply[-1] for reply in replies])
        hidden = torch.tensor(ask.mask, device=values.device).expand_as(values)
        draw = Draw(hidden, torch.ones(len(replies), device=values.device))
        before = [reply[:-1] for reply in replies]
        context = self.model.context([self.request.conversation] * len(replies), before, ask)
        return [float(mean) for mean in self.model.process(ask.kind).log_prob(context, values, draw).mean]


def peek(model: Model, step: Step) -> list[Part]:
    """The part in work as it stands at a step, one for each row."""
    return model.decode(step.ask.kind, step.process.view(step.state))
