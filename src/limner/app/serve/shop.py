"""From what was asked to a job: the model that is meant, the limits that hold, and the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from limner.app.serve.errors import Refused
from limner.app.serve.pictures import Format
from limner.app.serve.settings import Settings
from limner.app.serve.wire import Drawn, Options, Part
from limner.parts import Ask, Plan
from limner.request import Request

if TYPE_CHECKING:
    from limner.app.serve.engine import Engine


@dataclass(frozen=True)
class Shop:
    """What all routes share: an engine for each model, the first of which is meant where none is named; and limits."""

    engines: Mapping[str, Engine]
    settings: Settings

    def engine(self, name: str | None) -> Engine:
        """The engine of a model; Refused for one that is not served."""
        if name is None:
            return next(iter(self.engines.values()))
        if name not in self.engines:
            there = ", ".join(self.engines)
            raise Refused(
                f"no model called {name!r} is served here; there are: {there}",
                status=404,
                param="model",
                code="model_not_found",
            )
        return self.engines[name]

    def count(self, n: int | None) -> int:
        """How many answers; Refused for more than are allowed."""
        return within("n", n or 1, self.settings.n)

    def seeds(self, seed: int | None, n: int | None) -> tuple[int, ...]:
        """A seed for each answer: ``seed`` (default 0), ``seed`` + 1, ..."""
        first = seed or 0
        count = self.count(n)
        if first + count > 2**63:
            raise Refused(f"seed={first} leaves no room for {count} seeds", param="seed", code="invalid_value")
        return tuple(range(first, first + count))

    def words(self, *texts: str) -> None:
        """Refuse more characters than are allowed."""
        length = sum(map(len, texts))
        if length > self.settings.prompt:
            raise Refused(
                f"the prompt has {length} characters; at most {self.settings.prompt} are read",
                param="prompt",
                code="string_above_max_length",
            )

    def steps(self, options: Options) -> int | None:
        """The wished steps; Refused for more than are allowed."""
        return None if options.steps is None else within("steps", options.steps, self.settings.steps)

    def plan(self, engine: Engine, options: Options, request: Request) -> Plan | None:
        """The wished plan with the model's own defaults, None where none is wished. Refused for what contradicts."""
        if options.plan is None:
            return None
        if options.think is not None:
            raise Refused("a plan says whether to think; leave out think", param="think", code="invalid_value")
        wished = [Part(kind=part) if isinstance(part, str) else part for part in options.plan]
        own = engine.limner.model.plan([part.kind for part in wished])
        plan = tuple(self._ask(ask, part, request) for ask, part in zip(own, wished, strict=True))
        for ask in plan:
            engine.limner.model.settings(ask, 1).check()
        return plan

    def _ask(self, own: Ask, part: Part, request: Request) -> Ask:
        steps = within("steps", part.steps, self.settings.steps) or own.steps
        if part.kind == "image":
            guidance = request.guidance if part.guidance is None else part.guidance
            temperature = own.temperature if part.temperature is None else part.temperature
            steps = part.steps or request.steps or own.steps
            size = part.size or request.size or own.size
            self.pixels(size, size)
            guidance = own.guidance if guidance is None else guidance
            return replace(own, steps=steps, guidance=guidance, temperature=temperature, size=size)
        limit = min(part.limit or own.limit, own.limit) if own.limit else part.limit
        temperature = request.temperature if part.temperature is None else part.temperature
        return replace(
            own,
            limit=limit,
            steps=steps,
            guidance=own.guidance if part.guidance is None else part.guidance,
            temperature=own.temperature if temperature is None else temperature,
            fast=part.fast or request.fast,
        )

    def pixels(self, width: int, height: int) -> None:
        """Refuse pictures larger than are allowed."""
        if width * height > self.settings.pixels:
            raise Refused(
                f"{width}x{height} pixels are too many; at most {self.settings.pixels / 10**6:g} million are made",
                param="size",
                code="invalid_value",
            )

    def side(self, size: str | None) -> int | None:
        """The side of a picture to draw; None leaves it to the model. Refused for what is no square."""
        if size is None or size == "auto":
            return None
        width, _, height = size.partition("x")
        if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit() and len(size) <= 11):
            raise Refused(
                f"size={size!r} is no size; give WIDTHxHEIGHT, such as 256x256, or auto",
                param="size",
                code="invalid_value",
            )
        if int(width) != int(height):
            raise Refused(f"size={size}: only squares are drawn", param="size", code="invalid_value")
        self.pixels(int(width), int(height))
        return int(width)


def within(name: str, value: int, most: int) -> int:
    """The value; Refused above the most."""
    if value > most:
        raise Refused(f"{name}={value} is too much; at most {most} is allowed here", param=name, code="invalid_value")
    return value


def form_of(body: Drawn) -> tuple[Format, int]:
    """(Format, quality) of the wanted files."""
    form: Format = body.output_format or "png"
    quality = 100 if body.output_compression is None else body.output_compression
    if form == "png" and quality != 100:
        raise Refused("a PNG is never lossy; leave out output_compression", param="output_compression")
    return form, quality


def usage(done: Sequence[tuple[int, tuple[tuple[str, int], ...]]]) -> tuple[int, int, int]:
    """(Tokens read, picture values made, words made) of (prompt tokens, values by kind) of each answer."""
    read = sum(prompt for prompt, _ in done)
    drawn = sum(count for _, tokens in done for kind, count in tokens if kind == "image")
    said = sum(count for _, tokens in done for kind, count in tokens if kind != "image")
    return read, drawn, said
