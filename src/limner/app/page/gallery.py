"""The pictures of the session, each with its request; every one can be taken to the other parts of the page."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from limner.app.page.panel import Updates, command_of, request_fields
from limner.app.page.session import Session


def gallery(session: gr.State, places: dict[str, gr.Image]) -> tuple[gr.Gallery, Any]:
    """The component, and the function that fills it. ``places`` are the fields that a picture can be taken to, by the
    name of their part of the page."""
    shown = gr.Gallery(
        label="Pictures of this session", columns=3, object_fit="contain", height=420, interactive=False,
        buttons=["download", "fullscreen"], elem_id="gallery",
    )  # fmt: skip
    with gr.Row():
        takes = [gr.Button(f"Take it to {name}", interactive=False, min_width=120) for name in places]
    about = gr.Textbox(label="Thinking", interactive=False, lines=2)
    command, request = request_fields()
    chosen = gr.State(None)

    def fill(session: Session) -> list[tuple[str, str]]:
        return [(made.path, made.caption) for made in reversed(session.made)]

    def choose(session: Session, event: gr.SelectData) -> Updates:
        made = session.made[len(session.made) - 1 - event.index]
        told = {about: made.answer.thinking or "", command: command_of(made.answer.request)}
        ready: Updates = {take: gr.update(interactive=True) for take in takes}
        return ready | told | {chosen: made.path, request: json.dumps(made.answer.request, indent=1)}

    shown.select(
        choose, [session], [chosen, about, command, request, *takes], show_progress="hidden", api_visibility="private"
    )
    for take, field in zip(takes, places.values(), strict=True):
        take.click(lambda path: path, [chosen], [field], show_progress="hidden", api_visibility="private")
    return shown, fill
