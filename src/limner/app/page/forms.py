"""The parts of the page that make one thing at a time: draw, ask, edit, extend. Each is a form beside its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from limner.app.page.painter import mask_file, painter, source
from limner.app.page.panel import Results, Updates, follow, given, whole
from limner.app.page.session import Session
from limner.app.serve.jobs import Choosing
from limner.app.serve.shop import within
from limner.request import Request, what_is_free

if TYPE_CHECKING:
    from limner.app.serve.engine import Engine
    from limner.app.serve.shop import Shop

WAYS = {
    "no choosing: show them all": None,
    "the best finished one (orm)": "orm",
    "the best at every step (prm)": "prm",
    "drop the hopeless early (parm)": "parm",
    "parm, and draw again what does not fit (parm++)": "parm++",
}
JUDGES = {"the model itself": "self", "the picture world's exact reader": "scenes"}
RIDDLE = "an animal with (3+6) lives"


@dataclass(frozen=True)
class Place:
    """Where a form is built: the server's engines and limits, the visitor's session, and who chooses the model."""

    shop: Shop
    session: gr.State
    model: gr.Dropdown

    def engine(self, name: str) -> Engine:
        """The engine of a model that is served."""
        return self.shop.engine(name)


@dataclass(frozen=True)
class Options:
    """What forms have in common below their main fields: to think, the seed, steps and guidance."""

    think: gr.Checkbox
    seed: gr.Number
    steps: gr.Number
    guidance: gr.Number

    @staticmethod
    def build(think: bool, draws: bool) -> Options:
        """The fields; those of pictures are left out where none is drawn."""
        with gr.Row():
            thinks = gr.Checkbox(think, label="Think first", min_width=120)
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=120)
        with gr.Accordion("More", open=False, visible=draws), gr.Row():
            steps = gr.Number(None, label="Steps (empty: the model's own)", precision=0, minimum=1, min_width=120)
            guidance = gr.Number(None, label="Guidance (empty: the model's own)", minimum=0, min_width=120)
        return Options(thinks, seed, steps, guidance)

    @property
    def inputs(self) -> list[Any]:
        """The fields in order."""
        return [self.think, self.seed, self.steps, self.guidance]


def seeds_from(seed: float | None, n: int = 1) -> tuple[int, ...]:
    """A seed for each answer; ValueError for impossible ones."""
    first = whole(seed, "seed") or 0
    if not 0 <= first <= 2**63 - n:
        raise ValueError(f"seed={first} is impossible; give a whole number from 0 to 2^63 - 1")
    return tuple(range(first, first + n))


def buttons(name: str) -> tuple[gr.Button, gr.Button]:
    """(What begins, what stops)."""
    with gr.Row():
        return gr.Button(name, variant="primary", min_width=100), gr.Button("Stop", min_width=80)


def run(
    go: list[Callable[..., Any]], stop: gr.Button, make: Callable[..., Any], inputs: list[Any], results: Results,
    session: gr.State, js: str | None = None,
) -> None:  # fmt: skip
    """Let events begin ``make``, and the button end it."""
    for on in go:
        on(make, [session, *inputs], results.outputs, js=js, show_progress="hidden", api_visibility="private")
    stop.click(Session.stop, [session], None, queue=False, api_visibility="private")


def draw(place: Place) -> None:
    """Pictures from words: one, several, or the chosen one of several."""
    limits = place.shop.settings
    with gr.Row():
        with gr.Column(min_width=280):
            words = gr.Textbox(RIDDLE, label="What to draw", lines=1, max_lines=4, max_length=limits.prompt)
            options = Options.build(True, True)
            with gr.Accordion("Several candidates", open=False):
                n = gr.Slider(
                    1, min(limits.n, limits.candidates), 1, step=1, label="How many (seeds go on from the seed)"
                )
                way = gr.Dropdown(list(WAYS), label="Choose", value=next(iter(WAYS)))
                judge = gr.Dropdown(list(JUDGES), label="Judge", value=next(iter(JUDGES)))
            go, stop = buttons("Draw")
        with gr.Column(min_width=280):
            results = Results.build(place.session, draws=True)

    def make(
        session: Session, model: str, prompt: str, think: bool, seed: float, steps: float, guidance: float, n: float,
        way: str, judge: str,
    ) -> Iterator[Updates]:  # fmt: skip
        engine, count = place.engine(model), int(n)

        def wish() -> Request:
            place.shop.words(prompt)
            place.shop.count(count)
            return Request("generate", prompt, think, _steps(place, steps), guidance)

        method = WAYS[way] if count > 1 else None
        choosing = None if method is None else Choosing(method, count, JUDGES[judge])
        number = count if method is None else 1
        yield from follow(results, session, engine, wish, lambda: seeds_from(seed, number), choosing)

    inputs = [place.model, words, *options.inputs, n, way, judge]
    run([words.submit, go.click], stop, make, inputs, results, place.session)


def ask(place: Place) -> gr.Image:
    """Questions about a picture; the field for it."""
    with gr.Row():
        with gr.Column(min_width=280):
            picture = picture_field("Picture")
            words = gr.Textbox("what is in this picture?", label="Question", max_length=place.shop.settings.prompt)
            options = Options.build(False, False)
            go, stop = buttons("Ask")
        with gr.Column(min_width=280):
            results = Results.build(place.session, draws=False)

    def make(
        session: Session, model: str, path: str | None, question: str, think: bool, seed: float, *_: Any
    ) -> Iterator[Updates]:
        def wish() -> Request:
            place.shop.words(question)
            return Request("ask", question, think, image=given(path, place.shop.settings.pixels))

        yield from follow(results, session, place.engine(model), wish, lambda: seeds_from(seed))

    inputs = [place.model, picture, words, *options.inputs]
    run([words.submit, go.click], stop, make, inputs, results, place.session)
    return picture


def edit(place: Place) -> gr.Image:
    """A part of a picture made anew, the part that is painted over; the field for the picture."""
    with gr.Row():
        with gr.Column(min_width=280):
            picture = picture_field("Picture", 180)
            canvas = painter()
            words = gr.Textbox(
                label="The whole picture in words, as it shall be", max_length=place.shop.settings.prompt
            )
            inverse = gr.Checkbox(False, label="Keep what is painted, change the rest")
            options = Options.build(False, True)
            go, stop = buttons("Edit")
        with gr.Column(min_width=280):
            results = Results.build(place.session, draws=True)
    mask = gr.Textbox(visible=False)
    picture.change(source, [picture], [canvas], queue=False, show_progress="hidden", api_visibility="private")

    def make(
        session: Session, mask: str, model: str, path: str | None, prompt: str, keeps: bool, think: bool, seed: float,
        steps: float, guidance: float,
    ) -> Iterator[Updates]:  # fmt: skip
        def wish() -> Request:
            image = given(path, place.shop.settings.pixels)
            file = mask_file(mask, session.path("mask.png"))
            free = what_is_free(keep=file) if keeps else what_is_free(mask=file)
            place.shop.words(prompt)
            return Request("inpaint", prompt, think, _steps(place, steps), guidance, image=image, mask=free)

        yield from follow(results, session, place.engine(model), wish, lambda: seeds_from(seed))

    inputs = [mask, place.model, picture, words, inverse, *options.inputs]
    js = "(session, mask, ...rest) => [session, window.limnerMask(), ...rest]"
    run([words.submit, go.click], stop, make, inputs, results, place.session, js)
    return picture


def extend(place: Place) -> gr.Image:
    """A picture made larger; the field for it."""
    with gr.Row():
        with gr.Column(min_width=280):
            picture = picture_field("Picture")
            words = gr.Textbox(
                label="The whole picture in words, as it shall be", max_length=place.shop.settings.prompt
            )
            with gr.Row():
                sides = [
                    gr.Number(0, label=f"Pixels {name}", precision=0, minimum=0, min_width=100)
                    for name in ("left", "right", "up", "down")
                ]
            options = Options.build(False, True)
            go, stop = buttons("Extend")
        with gr.Column(min_width=280):
            results = Results.build(place.session, draws=True)

    def make(
        session: Session, model: str, path: str | None, prompt: str, left: float, right: float, up: float, down: float,
        think: bool, seed: float, steps: float, guidance: float,
    ) -> Iterator[Updates]:  # fmt: skip
        def wish() -> Request:
            image, most = given(path, place.shop.settings.pixels), place.shop.settings.pixels
            margins = (int(left or 0), int(right or 0), int(up or 0), int(down or 0))
            if (image.width + margins[0] + margins[1]) * (image.height + margins[2] + margins[3]) > most:
                raise ValueError(
                    f"the picture would be too large; at most {most / 10**6:g} million pixels are made here"
                )
            place.shop.words(prompt)
            return Request("extend", prompt, think, _steps(place, steps), guidance, image=image, margins=margins)

        yield from follow(results, session, place.engine(model), wish, lambda: seeds_from(seed))

    inputs = [place.model, picture, words, *sides, *options.inputs]
    run([words.submit, go.click], stop, make, inputs, results, place.session)
    return picture


def picture_field(label: str, height: int = 260) -> gr.Image:
    """A field for a picture: a file, or what was copied."""
    return gr.Image(label=label, type="filepath", sources=["upload", "clipboard"], height=height, image_mode=None)


def _steps(place: Place, steps: float | None) -> int | None:
    wished = whole(steps, "steps")
    return None if wished is None else within("steps", wished, place.shop.settings.steps)
