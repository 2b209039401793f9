"""`/v1/chat/completions`: words or a picture behind a conversation, with the thought before it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from limner.app.serve import pictures
from limner.app.serve.engine import Engine
from limner.app.serve.errors import Refused
from limner.app.serve.events import Done, Preview, Words
from limner.app.serve.jobs import Job
from limner.app.serve.shop import Shop, usage
from limner.app.serve.streams import event_stream, sse
from limner.app.serve.tickets import Ticket
from limner.app.serve.wire import Chat, ChatMessage, ImageContent, TextContent
from limner.parts import Conversation, Image, Message, Part, Plan, Text, user
from limner.request import Command, Request

if TYPE_CHECKING:
    from limner.answer import Limner


def router(shop: Shop) -> APIRouter:
    """The route that talks."""
    routes = APIRouter(prefix="/v1/chat")

    @routes.post("/completions", response_model=None)
    async def completions(request: HttpRequest, body: Chat) -> Response:
        """Answer a conversation: in words, or with a picture where modalities hold image."""
        ticket = Ticket(request)
        engine = shop.engine(body.model)
        job = await run_in_threadpool(_job, shop, engine, body, ticket)
        await ticket.enter(engine, job)
        name = engine.limner.name
        if body.stream:
            return event_stream(_events(ticket, body, name))
        done = await ticket.answers()
        content = await run_in_threadpool(_completion, done, name)
        return Response(json.dumps(content), media_type="application/json")

    return routes


def _job(shop: Shop, engine: Engine, body: Chat, ticket: Ticket) -> Job:
    """The job of a body. The last message is the request, the whole conversation is what the model sees."""
    *before, last = _conversation(shop, body.messages)
    if last.role != "user":
        raise Refused("the last message is the user's, which is answered", param="messages", code="invalid_value")
    shown = [part for part in last.parts if isinstance(part, Image)]
    if len(shown) > 1:
        before.append(user(*shown[:-1]))
    draws = "image" in (body.modalities or ()) or any(_kind(part) == "image" for part in body.plan or ())
    command: Command = "generate" if draws else "ask" if shown or _pictures(before) else "say"
    wish = Request(
        command,
        last.text,
        _thinks(body, draws),
        steps=shop.steps(body),
        guidance=body.guidance,
        size=_size(shop, body) if draws else None,
        image=shown[-1].image if shown else None,
        begin=body.begin,
        temperature=body.temperature,
        fast=body.fast,
        history=tuple(before),
    )
    request = _fitting(engine.limner, wish, body.memory)
    if body.plan is not None and body.begin:
        raise Refused("an answer that begins with given words goes without a plan", param="begin", code="invalid_value")
    if body.partial_images and not (draws and body.stream):
        raise Refused("partial pictures are told in a stream that draws", param="partial_images", code="invalid_value")
    plan = shop.plan(engine, body, request)
    limit = min((most for most in (body.max_tokens, body.max_completion_tokens) if most is not None), default=None)
    if limit is not None and not draws:
        plan = _shortened(request.plan(engine.limner.model) if plan is None else plan, limit)
    return Job(
        request,
        shop.seeds(body.seed, body.n),
        ticket.tell,
        plan=plan,
        previews=body.partial_images or 0,
        words=bool(body.stream),
    )


def _pictures(messages: Sequence[Message]) -> list[Image]:
    return [part for message in messages for part in message.parts if isinstance(part, Image)]


def _fitting(limner: Limner, wish: Request, memory: int | None) -> Request:
    """The request with as many of the latest turns before it as the model was taught to read and has room for, or at
    most ``memory``. What is said at the very beginning by the system stays, and so does what the user said last."""
    begin = next((i for i, message in enumerate(wish.history) if message.role != "system"), len(wish.history))
    open_ = bool(wish.history) and wish.history[-1].role == "user"
    end = len(wish.history) - open_
    starts = [i for i in range(begin, end) if wish.history[i].role == "user"]
    own = limner.model.turns if memory is None else memory
    most = len(starts) if own is None else min(own, len(starts))
    best = _seen(wish, begin, end)
    for start in reversed(starts[len(starts) - most :]):
        request = _seen(wish, begin, start)
        try:
            limner.model.check_prompt(request.conversation)
        except ValueError:
            break  # what is older does not fit
        best = request
    return best


def _seen(wish: Request, begin: int, start: int) -> Request:
    """The request without its messages from ``begin`` to ``start``. A question about a picture of theirs shows it."""
    history = (*wish.history[:begin], *wish.history[start:])
    image = wish.image
    if wish.command == "ask" and image is None and not _pictures(history):
        image = _pictures(wish.history)[-1].image
    return replace(wish, history=history, image=image)


def _kind(part: Any) -> str:
    return part if isinstance(part, str) else str(part.kind)


def _size(shop: Shop, body: Chat) -> int | None:
    if body.size is not None:
        shop.pixels(body.size, body.size)
    return body.size


def _thinks(body: Chat, draws: bool) -> bool:
    """Whether to think: as said, or as a rule before drawing only."""
    if body.think is not None:
        return body.think
    if body.reasoning_effort is not None:
        return body.reasoning_effort not in ("none", "minimal")
    return draws


def _shortened(plan: Plan, limit: int) -> Plan:
    """The plan with at most so many tokens in its answer."""
    last = plan[-1]
    if last.known is not None:
        raise Refused("an answer that begins with given words has its own length; leave out max_tokens", param="begin")
    return (*plan[:-1], replace(last, limit=min(limit, last.limit or limit)))


def _conversation(shop: Shop, messages: list[ChatMessage]) -> Conversation:
    """The messages; Refused for more words or pictures than are allowed."""
    given = []
    for number, message in enumerate(messages):
        content = message.content
        items: list[TextContent | ImageContent] = list(message.images or ())
        items = (
            [TextContent(type="text", text=content), *items] if isinstance(content, str) else [*(content or ()), *items]
        )
        given.append((f"messages.{number}.content", message.role, items))
    shop.words(*(item.text for _, _, items in given for item in items if isinstance(item, TextContent)))
    count = sum(not isinstance(item, TextContent) for _, _, items in given for item in items)
    if count > shop.settings.pictures:
        raise Refused(f"{count} pictures are too many; at most {shop.settings.pictures} are read", param="messages")
    conversation: list[Message] = []
    for where, role, items in given:
        parts: list[Part] = []
        for item in items:
            if isinstance(item, TextContent):
                parts.append(Text(item.text.strip()))
            else:
                parts.append(Image(pictures.from_url(item.image_url.url, shop.settings.pixels, where)))
        if not parts:
            raise Refused(f"{where}: the message is empty", param=where, code="invalid_value")
        conversation.append(Message("system" if role == "developer" else role, _in_order(parts)))
    return tuple(conversation)


def _in_order(parts: list[Part]) -> tuple[Part, ...]:
    """Parts as the models read them: a single picture stands before all words, which are one text."""
    pictures_, words = [p for p in parts if isinstance(p, Image)], [p.text for p in parts if isinstance(p, Text)]
    if len(pictures_) > 1:
        return tuple(parts)
    return (*pictures_, *([Text(" ".join(words))] if words else []))


def _message(done: Done) -> dict[str, Any]:
    answer = done.answer
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.thinking is not None:
        message["reasoning_content"] = answer.thinking
    if answer.image is not None:
        message["images"] = [_image(answer)]
    return message


def _image(answer: Any) -> dict[str, Any]:
    url = f"data:image/png;base64,{pictures.answered(answer)}"
    return {"type": "image_url", "image_url": {"url": url}}


def _reason(done: Done) -> str:
    return "stop" if done.ended else "length"


def _usage(done: list[Done]) -> dict[str, Any]:
    read, drawn, said = usage([(each.prompt_tokens, each.tokens) for each in done])
    thought = sum(count for each in done for kind, count in each.tokens if kind == "thinking")
    made = drawn + said
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def _completion(done: list[Done], name: str) -> dict[str, Any]:
    """OpenAI's ChatCompletion, with the thought as reasoning content and pictures as `images`."""
    choices = [
        {
            "index": each.row,
            "message": _message(each),
            "finish_reason": _reason(each),
            "logprobs": None,
            "seed": each.answer.seed,
            "request": each.answer.request,
        }
        for each in done
    ]
    head = {"id": _id(), "object": "chat.completion", "created": int(time.time()), "model": name}
    return head | {"choices": choices, "usage": _usage(done)}


def _id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


async def _events(ticket: Ticket, body: Chat, name: str) -> AsyncGenerator[str]:
    """Chunks: words as they settle, pictures in the making, whole pictures, and why it ended."""
    head = {"id": _id(), "object": "chat.completion.chunk", "created": int(time.time()), "model": name}
    told: dict[tuple[int, str], str] = {}
    shown: dict[int, int] = {}
    begun: set[int] = set()
    ends: list[Done] = []

    def chunk(row: int, delta: dict[str, Any], reason: str | None = None, **own: Any) -> str:
        if row not in begun:
            begun.add(row)
            delta = {"role": "assistant"} | delta
        return sse(head | {"choices": [{"index": row, "delta": delta, "finish_reason": reason} | own]})

    async for event in ticket.events():
        if isinstance(event, Words):
            before = told.get((event.row, event.kind), "")
            told[event.row, event.kind] = event.text
            name_ = "content" if event.kind == "text" else "reasoning_content"
            if len(event.text) > len(before):
                yield chunk(event.row, {name_: event.text[len(before) :]})
        elif isinstance(event, Preview):
            index = shown.get(event.row, 0)
            shown[event.row] = index + 1
            content = await run_in_threadpool(pictures.encoded, event.image)
            yield chunk(event.row, {"partial_image": {"b64_json": content, "partial_image_index": index}})
        elif isinstance(event, Done):
            ends.append(event)
            delta = {} if event.answer.image is None else {"images": [await run_in_threadpool(_image, event.answer)]}
            if delta:
                yield chunk(event.row, delta)
            own = {"seed": event.answer.seed, "request": event.answer.request}
            yield chunk(event.row, {}, _reason(event), **own)
    if body.stream_options is not None and body.stream_options.include_usage:
        yield sse(head | {"choices": [], "usage": _usage(ends)})
    yield "data: [DONE]\n\n"
