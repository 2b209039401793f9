"""The conversation on the page: words, pictures and edits in turn, as `limner.conversation` keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from limner.app.page.candidates import preview
from limner.app.page.forms import Place, buttons, picture_field, seeds_from
from limner.app.page.panel import REFUSALS, Updates, given, progress, reason, told
from limner.app.page.session import Session
from limner.app.page.work import Work
from limner.conversation import Chat
from limner.parts import Image, Message, Thinking, assistant

if TYPE_CHECKING:
    from limner.request import Command, Request

ACTIONS: dict[str, tuple[Command, bool]] = {
    "answer in words": ("say", False),
    "answer about the last picture": ("ask", False),
    "draw": ("generate", False),
    "draw the last picture again, changed": ("generate", True),
}
THINKS: dict[str, bool | None] = {"before drawing": None, "always": True, "never": False}
Bubbles = list[dict[str, Any]]


def talk(place: Place) -> gr.Chatbot:
    """The conversation and the form of the next turn."""
    session, limits = place.session, place.shop.settings
    log = gr.Chatbot(
        label="Conversation", height=480, render_markdown=False, buttons=["copy_all"], elem_id="log", layout="bubble",
        placeholder="Say something, ask for a picture, show one, have it changed.",
    )  # fmt: skip
    status = gr.HTML("", elem_classes="status")
    words = gr.Textbox(label="You", placeholder="words; Enter sends them", max_length=limits.prompt, elem_id="say")
    with gr.Row():
        action = gr.Radio(list(ACTIONS), value="draw", label="The model shall", min_width=280, scale=3)
        think = gr.Radio(list(THINKS), value="before drawing", label="Think", min_width=200, scale=2)
    go, stop = buttons("Send")
    with gr.Accordion("Show a picture with it", open=False):
        picture = picture_field("Picture")
    with gr.Accordion("Seed, take back, save, load", open=False):
        with gr.Row():
            seed = gr.Number(
                None, label="Seed of the next turn (empty: goes on)", precision=0, minimum=0, min_width=140
            )
            undo = gr.Button("Take the last turn back", min_width=140)
            fresh = gr.Button("Begin anew", min_width=140)
        with gr.Row():
            save = gr.Button("Save the conversation", min_width=140)
            load = gr.UploadButton("Load a conversation", file_types=[".json"], min_width=140)
        file = gr.File(label="The saved conversation", interactive=False, visible=False)

    def chat_of(session: Session, model: str) -> Chat:
        limner = place.engine(model).limner
        if session.chat is None:
            session.chat = Chat(limner)
        if session.chat.limner is not limner:
            session.chat = session.chat.handed_to(limner)
        return session.chat

    def send(
        session: Session, model: str, said: str, action: str, think: str, path: str | None, first: float | None
    ) -> Iterator[Updates]:
        chat = chat_of(session, model)
        command, edits = ACTIONS[action]
        try:
            if session.works:
                raise ValueError("something is still being made; wait for it, or stop it")
            place.shop.words(said)
            if first is not None:
                (chat.seed,) = seeds_from(first)
            if path is not None:
                chat.show(given(path, limits.pixels))
            request = chat.wish(command, said, edits=edits, think=THINKS[think])
            work = Work(place.engine(model), request, (chat.seed,))
        except REFUSALS as error:
            chat.waiting = []
            yield {status: told(reason(error), wrong=True)}
            return
        session.works.add(work)
        try:
            asked = [*_bubbles(session, chat), *_message(session, _asked(chat, request))]
            yield {log: asked, words: "", status: told("waiting for a place")}
            for _ in work:
                yield {log: [*asked, *_making(work)], status: told(progress(work))}
            if work.stopped:
                raise ValueError("stopped; nothing was kept of this turn")
            answer = work.answers[0]
            chat.keep(request, answer)
            if answer.image is not None:
                session.files[id(answer.image)] = session.keep(answer)
            seconds, number = answer.timings.get("total", 0.0), answer.seed
            yield {
                log: _bubbles(session, chat), picture: None, seed: None,
                status: told(f"done in {seconds:.1f} s, seed {number}"),
            }  # fmt: skip
        except REFUSALS as error:
            chat.waiting = []
            yield {log: _bubbles(session, chat), words: said, status: told(reason(error), wrong=True)}
        finally:
            session.works.discard(work)

    def take_back(session: Session, model: str) -> Updates:
        chat = chat_of(session, model)
        try:
            turn = chat.undo()
        except ValueError as error:
            return {status: told(reason(error), wrong=True)}
        return {log: _bubbles(session, chat), words: turn.said.text, status: told("taken back")}

    def begin_anew(session: Session) -> Updates:
        session.chat = None
        return {log: [], status: told("")}

    def saved(session: Session, model: str) -> Updates:
        path = chat_of(session, model).save(session.path("conversation.json"))
        return {file: gr.update(value=str(path), visible=True), status: told("saved; the file stands below")}

    def loaded(session: Session, model: str, path: str) -> Updates:
        try:
            session.chat = Chat.load(path, place.engine(model).limner)
        except ValueError:
            return {status: told("this file is no conversation that limner saved", wrong=True)}
        return {log: _bubbles(session, session.chat), status: told("loaded")}

    results = [log, words, picture, seed, status]
    how: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    inputs = [session, place.model, words, action, think, picture, seed]
    for on in (words.submit, go.click):
        on(send, inputs, results, **how)
    stop.click(Session.stop, [session], None, queue=False, api_visibility="private")
    undo.click(take_back, [session, place.model], [log, words, status], **how)
    for on in (log.clear, fresh.click):
        on(begin_anew, [session], [log, status], **how)
    save.click(saved, [session, place.model], [file, status], **how)
    load.upload(loaded, [session, place.model, load], [log, status], **how)
    return log


def _asked(chat: Chat, request: Request) -> Message:
    """What the user says in the turn that is being made."""
    return Message("user", (*chat.waiting, request.conversation[-1].parts[-1]))


def _making(work: Work) -> Bubbles:
    """The reply as far as it stands."""
    bubbles: Bubbles = []
    for kind in ("thinking", "text"):
        if (0, kind) in work.words:
            bubbles.append(_words(work.words[0, kind], kind == "thinking"))
    if 0 in work.pictures:
        bubbles.append({"role": "assistant", "content": gr.HTML(preview(work.pictures[0]))})
    return bubbles


def _bubbles(session: Session, chat: Chat) -> Bubbles:
    """The whole conversation."""
    messages = [message for turn in chat.turns for message in (turn.said, assistant(*turn.reply))]
    return [bubble for message in messages for bubble in _message(session, message)]


def _message(session: Session, message: Message) -> Bubbles:
    bubbles: Bubbles = []
    for part in message.parts:
        if isinstance(part, Image):
            about = {"path": session.file(part.image), "alt_text": "a picture of the conversation"}
            bubbles.append({"role": message.role, "content": about})
        else:
            bubbles.append(_words(part.text, isinstance(part, Thinking), message.role))
    return bubbles


def _words(text: str, thinking: bool, role: str = "assistant") -> dict[str, Any]:
    bubble: dict[str, Any] = {"role": role, "content": text or "(nothing)"}
    return bubble | {"metadata": {"title": "Thinking"}} if thinking else bubble
