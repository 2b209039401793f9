"""What all parts of the page share: where results are shown, and how a request in work is shown step by step."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from limner.app.page.candidates import Shower, cards, preview
from limner.app.page.session import Session
from limner.app.page.work import Work
from limner.app.serve.errors import Refused
from limner.app.serve.jobs import Busy, Choosing, Closing
from limner.request import DRAWS, Request, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from limner.answer import Answer
    from limner.app.serve.engine import Engine

Updates = dict[Any, Any]
REFUSALS = (ValueError, Refused, Busy, Closing)


@dataclass(frozen=True)
class Results:
    """The components that show a result. ``session`` is the visitor's."""

    session: gr.State
    status: gr.HTML
    thinking: gr.Textbox
    preview: gr.HTML
    picture: gr.Image
    answer: gr.Textbox
    cards: gr.HTML
    command: gr.Textbox
    request: gr.Textbox

    @staticmethod
    def build(session: gr.State, *, draws: bool) -> Results:
        """The components, one below the other; those that do not belong to a picture, or to words, are not shown."""
        status = gr.HTML("", elem_classes="status")
        thinking = gr.Textbox(label="Thinking", lines=2, interactive=False, visible=False, elem_classes="thinking")
        shown = gr.HTML("", elem_classes="cards")
        picture = gr.Image(
            label="Picture",
            interactive=False,
            visible=draws,
            format="png",
            height=400,
            buttons=["download", "fullscreen"],
            elem_classes="result",
        )
        answer = gr.Textbox(label="Answer", lines=2, interactive=False, visible=not draws)
        html = gr.HTML("", elem_classes="cards")
        with gr.Accordion("The request, to be copied", open=False):
            command, request = request_fields()
        return Results(session, status, thinking, shown, picture, answer, html, command, request)

    @property
    def outputs(self) -> list[Any]:
        """All of them but the session."""
        return [
            self.status,
            self.thinking,
            self.preview,
            self.picture,
            self.answer,
            self.cards,
            self.command,
            self.request,
        ]

    def begun(self) -> Updates:
        """Before the first step."""
        clear: Updates = dict.fromkeys((self.preview, self.answer, self.cards, self.command, self.request), "")
        clear |= {self.picture: gr.update(value=None, visible=False)}
        return {self.status: told("waiting for a place"), self.thinking: gr.update(value="", visible=False)} | clear

    def wrong(self, error: Exception) -> Updates:
        """It cannot be done."""
        return {self.status: told(reason(error), wrong=True)}

    def shown(self, work: Work, show: Shower) -> Updates:
        """What is to be seen of a request in work."""
        updates: Updates = {self.status: told(progress(work))}
        thoughts = _thoughts(work)
        if thoughts:
            updates[self.thinking] = gr.update(value=thoughts, visible=True)
        if work.pictures and not work.looks:
            updates[self.preview] = preview(work.pictures[min(work.pictures)])
        if work.count > 1:
            updates[self.cards] = cards(work, show)
        if (0, "text") in work.words:
            updates[self.answer] = work.words[0, "text"]
        return updates

    def done(self, work: Work, session: Session, show: Shower) -> Updates:
        """The end: the first or the chosen answer, its file and its request."""
        answers = [work.answers[row] for row in sorted(work.answers)]
        if not answers:
            return {self.status: told("stopped")}
        paths = [session.keep(answer) for answer in answers if answer.image is not None]
        first = answers[0]
        updates: Updates = {self.status: told(_ended(answers, work)), self.request: json.dumps(first.request, indent=1)}
        updates[self.command] = command_of(first.request)
        if first.thinking is not None:
            updates[self.thinking] = gr.update(value=_thoughts(work) or first.thinking, visible=True)
        if paths:
            updates |= {self.preview: "", self.picture: gr.update(value=paths[0], visible=True)}
        if work.count > 1:
            for row, answer in work.answers.items():
                if answer.image is not None and not work.looks:
                    work.pictures[row] = answer.image
            updates[self.cards] = cards(work, show, over=True)
        if first.text is not None:
            updates[self.answer] = first.text
        return updates


def follow(
    results: Results,
    session: Session,
    engine: Engine,
    wish: Callable[[], Request],
    seeds: Callable[[], tuple[int, ...]],
    choosing: Choosing | None = None,
) -> Iterator[Updates]:
    """Carry a request out and show it step by step; what cannot be done is told in the status."""
    yield results.begun()
    show = Shower(engine.limner.model)
    try:
        work = Work(engine, wish(), seeds(), choosing)
    except REFUSALS as error:
        yield results.wrong(error)
        return
    session.works.add(work)
    try:
        for _ in work:
            yield results.shown(work, show)
        yield results.done(work, session, show)
    except REFUSALS as error:
        yield results.wrong(error)
    finally:
        session.works.discard(work)


def request_fields() -> tuple[gr.Textbox, gr.Textbox]:
    """Where a request stands, to be copied: as a command, and as all that the answer depends on."""
    command = gr.Textbox(
        label="Command", interactive=False, lines=1, max_lines=4, buttons=["copy"], elem_classes="command"
    )
    request = gr.Textbox(
        label="All that the answer depends on (JSON)", interactive=False, lines=3, max_lines=16, buttons=["copy"]
    )
    return command, request


def told(text: str, wrong: bool = False) -> str:
    """A line of the status, which screen readers speak."""
    return f'<p role="{"alert" if wrong else "status"}" class="{"wrong" if wrong else "fine"}">{escape(text)}</p>'


def reason(error: Exception) -> str:
    """Why something cannot be done, in the server's own words."""
    return str(error.detail if isinstance(error, Refused) else error)


def progress(work: Work) -> str:
    """How far a request in work has come."""
    if work.looks:
        return f"choosing: {len(work.looks)} looks at {work.count} candidates"
    if work.steps:
        return f"drawing: step {work.step} of {work.steps}"
    return "thinking" if any(kind == "thinking" for _, kind in work.words) else "in work"


def _thoughts(work: Work) -> str:
    """The thoughts as far as they are written, one line each where there are several."""
    found = {row: text for (row, kind), text in work.words.items() if kind == "thinking"}
    if len(found) < 2:
        return "".join(found.values())
    return "\n".join(f"[seed {work.job.seeds[row]}] {found[row]}" for row in sorted(found))


def _ended(answers: list[Answer], work: Work) -> str:
    seconds = max(answer.timings.get("total", 0.0) for answer in answers)
    verify = answers[0].request.get("verify")
    if verify:
        lost = verify["unjudged"]
        failed = f"; {lost} of {verify['looks']} looks could not be judged: {verify['unjudged_why']}" if lost else ""
        chosen = f"chosen: candidate {verify['path'] + 1}, seed {answers[0].seed}: {verify['why']}"
        return f"{chosen} ({seconds:.1f} s){failed}"
    seeds = f"seed {answers[0].seed}" + (f" to {answers[-1].seed}" if len(answers) > 1 else "")
    return f"{'stopped' if work.stopped else 'done'} in {seconds:.1f} s, {seeds}"


def command_of(request: dict[str, Any]) -> str:
    """The command that makes the same bytes; pictures stand in it by the names PICTURE.png and MASK.png."""
    if "history" in request:
        return ""  # a command has no history
    words = ["limner", request["command"]]
    words += ["PICTURE.png"] if "image" in request and request["command"] != "generate" else []
    words += [request["prompt"], "--seed", str(request["seed"])]
    words += ["--model", request["model"]]
    draws = request["command"] in DRAWS
    if request["think"] != draws:
        words.append("--think" if request["think"] else "--no-think")
    if request["command"] == "generate" and "image" in request:
        words += ["--image", "PICTURE.png"]
    words += ["--mask", "MASK.png"] if "mask" in request else []
    for name in ("left", "right", "up", "down", "steps", "guidance", "size", "temperature"):
        own = (
            0 if name not in ("guidance", "temperature") else None
        )  # what leaves the choice to the model, or adds nothing
        if request.get(name, own) not in (own, None):
            words += [f"--{name}", f"{request[name]:g}"]
    verify = request.get("verify")
    if verify:
        words += ["--verify", verify["method"], "-n", str(verify["n"]), "--judge", verify["judge"] or "self"]
        words[words.index("--seed") + 1] = str(verify["first_seed"])
    return shlex.join(words) + (" -o picture.png" if draws else "")


def given(path: str | None, most: int, what: str = "picture") -> Picture:
    """The picture that a visitor gave, of at most so many pixels; ValueError without one, and for one that is none."""
    if path is None:
        raise ValueError(f"give a {what} first")
    picture = read_picture(path)
    if picture.width * picture.height > most:
        raise ValueError(
            f"the {what} has {picture.width} x {picture.height} pixels; at most {most / 10**6:g} million are read here"
        )
    return picture


def whole(value: float | None, name: str) -> int | None:
    """A number of a form as a whole one, None where nothing stands. ValueError for others."""
    if value is None:
        return None
    if value != int(value):
        raise ValueError(f"{name}={value:g} is impossible; give a whole number")
    return int(value)
