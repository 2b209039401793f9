"""`/v1/images/generations` and `/v1/images/edits`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response

from limner.app.serve import pictures
from limner.app.serve.errors import Refused, from_validation
from limner.app.serve.events import Done, Looked, Preview, Words
from limner.app.serve.jobs import Choosing, Job
from limner.app.serve.shop import Shop, form_of, usage, within
from limner.app.serve.streams import event_stream, sse
from limner.app.serve.tickets import Ticket
from limner.app.serve.wire import Drawn, Edit, Generation
from limner.parts import Image, user
from limner.request import Request

JUDGES = ("self", "scenes")  # others would have the server read folders or ask addresses
CANDIDATES = 20


def router(shop: Shop) -> APIRouter:
    """The routes that draw."""
    routes = APIRouter(prefix="/v1/images")

    @routes.post("/generations", response_model=None)
    async def generations(request: HttpRequest, body: Generation) -> Response:
        """Draw a picture from words."""
        ticket = Ticket(request)
        engine = shop.engine(body.model)
        job = _generation(shop, body, ticket)
        await ticket.enter(engine, job)
        return await _reply(ticket, job, body, engine.limner.name, "image_generation")

    @routes.post("/edits", response_model=None, openapi_extra={"requestBody": {"content": _form_schema()}})
    async def edits(request: HttpRequest) -> Response:
        """Draw a picture from words and pictures: anew where a mask is transparent (or white), larger by margins in
        pixels, or as the words say."""
        body, given, mask = await _form(shop, request)
        ticket = Ticket(request)
        engine = shop.engine(body.model)
        job = await run_in_threadpool(_edit, shop, body, given, mask, ticket)
        await ticket.enter(engine, job)
        return await _reply(ticket, job, body, engine.limner.name, "image_edit")

    return routes


def _generation(shop: Shop, body: Generation, ticket: Ticket) -> Job:
    """The job of a body; Refused for what is too much."""
    shop.words(body.prompt)
    think = True if body.think is None else body.think
    request = Request(
        "generate", body.prompt, think, shop.steps(body), body.guidance, shop.side(body.size), fast=body.fast
    )
    return _job(shop, body, request, ticket, _choosing(shop, body))


def _choosing(shop: Shop, body: Generation) -> Choosing | None:
    """How one of several candidates is chosen, if that is wished."""
    if body.verify is None:
        if body.candidates is not None or body.budget is not None:
            raise Refused("candidates and budget are for choosing; add verify, such as parm", param="verify")
        return None
    if (body.n or 1) != 1 or body.plan is not None:
        raise Refused("verify chooses one picture; leave out n and plan, say candidates", param="verify")
    if body.judge not in JUDGES:
        raise Refused(f"judge={body.judge!r} is not one of: {', '.join(JUDGES)}", param="judge", code="invalid_value")
    most = shop.settings.candidates
    wished = body.candidates or (most if body.budget is not None else min(CANDIDATES, most))
    budget = body.budget
    if budget is not None and budget > shop.settings.budget:
        raise Refused(f"budget={budget} s is too much; at most {shop.settings.budget:g} s are allowed", param="budget")
    return Choosing(body.verify, within("candidates", wished, most), body.judge, budget)


def _edit(shop: Shop, body: Edit, given: list[bytes], mask: bytes | None, ticket: Ticket) -> Job:
    """The job of an edit: a part made anew, a larger picture, or a picture drawn after others."""
    shop.words(body.prompt)
    most = shop.settings.pixels
    opened = [pictures.from_bytes(content, most, "image") for content in given]
    holes = pictures.transparent(given[0], most, "image") if mask is None else pictures.mask_from_bytes(mask, most)
    think = True if body.think is None else body.think
    steps = shop.steps(body)
    if holes is None and not any(body.margins):
        *others, last = opened
        request = Request(
            "generate",
            body.prompt,
            think,
            steps,
            body.guidance,
            shop.side(body.size),
            last,
            fast=body.fast,
            history=(user(*map(Image, others)),) if others else (),
        )
        return _job(shop, body, request, ticket)
    if len(opened) > 1 or body.plan is not None:
        raise Refused("a mask and margins are for one picture, and go without a plan", param="image")
    if holes is not None and any(body.margins):
        raise Refused("give a mask or margins, not both", param="mask")
    left, right, up, down = body.margins
    size = (opened[0].width + left + right, opened[0].height + up + down)
    shop.pixels(*size)
    if body.size not in (None, "auto", f"{size[0]}x{size[1]}"):
        raise Refused(
            f"the picture will have {size[0]}x{size[1]} pixels, not {body.size}; leave out size", param="size"
        )
    request = Request(
        "extend" if holes is None else "inpaint",
        body.prompt,
        think,
        steps,
        body.guidance,
        image=opened[0],
        mask=holes,
        margins=body.margins,
        fast=body.fast,
    )
    return _job(shop, body, request, ticket)


def _job(shop: Shop, body: Drawn, request: Request, ticket: Ticket, choosing: Choosing | None = None) -> Job:
    plan = shop.plan(shop.engine(body.model), body, request)
    if plan is not None and [ask.kind for ask in plan].count("image") != 1:
        raise Refused("the plan of a picture has the part image once", param="plan", code="invalid_value")
    form_of(body)
    stream = bool(body.stream)
    if body.partial_images and not stream:
        raise Refused("partial pictures are told in a stream; add stream=true", param="partial_images")
    return Job(
        request,
        shop.seeds(body.seed, body.n),
        ticket.tell,
        plan=plan,
        previews=(body.partial_images or 0) if stream else 0,
        words=stream,
        choosing=choosing,
    )


async def _reply(ticket: Ticket, job: Job, body: Drawn, name: str, kind: str) -> Response:
    if body.stream:
        return event_stream(_events(ticket, body, name, kind))
    done = await ticket.answers()
    content = await run_in_threadpool(_images, done, body, name)
    return Response(json.dumps(content), media_type="application/json")


def _images(done: list[Done], body: Drawn, name: str) -> dict[str, Any]:
    """OpenAI's ImagesResponse; every picture has its seed, thought and request beside it."""
    form, quality = form_of(body)
    data = []
    for each in done:
        content = pictures.answered(each.answer, form, quality)
        link = body.response_format == "url"
        picture = {"url": f"data:image/{form};base64,{content}"} if link else {"b64_json": content}
        data.append(picture | _about(each))
    first = done[0].answer.image
    assert first is not None
    size = f"{first.width}x{first.height}"
    return {
        "created": int(time.time()),
        "model": name,
        "data": data,
        "background": "opaque",
        "output_format": form,
        "size": size,
        "usage": _usage(done),
    }


def _about(done: Done) -> dict[str, Any]:
    answer = done.answer
    about: dict[str, Any] = {"seed": answer.seed, "request": answer.request}
    return about | ({} if answer.thinking is None else {"reasoning_content": answer.thinking})


def _usage(done: list[Done]) -> dict[str, Any]:
    read, drawn, said = usage([(each.prompt_tokens, each.tokens) for each in done])
    return {
        "input_tokens": read,
        "output_tokens": drawn + said,
        "total_tokens": read + drawn + said,
        "input_tokens_details": {"text_tokens": read, "image_tokens": 0},
        "output_tokens_details": {"text_tokens": said, "image_tokens": drawn},
    }


async def _events(ticket: Ticket, body: Drawn, name: str, kind: str) -> AsyncGenerator[str]:
    """Partial and finished pictures, and limner's own events: thoughts as they are written, looks of a verifier."""
    form, quality = form_of(body)
    shown: dict[int, int] = {}
    told: dict[int, str] = {}
    async for event in ticket.events():
        if isinstance(event, Preview):
            index = shown.get(event.row, 0)
            shown[event.row] = index + 1
            content = await run_in_threadpool(pictures.encoded, event.image, form, quality)
            own: dict[str, Any] = {
                "partial_image_index": index,
                "index": event.row,
                "step": event.step,
                "steps": event.steps,
            }
            yield _picture_event(f"{kind}.partial_image", content, event.image.size, form, own)
        elif isinstance(event, Words) and event.kind == "thinking":
            before = told.get(event.row, "")
            told[event.row] = event.text
            value = {"type": f"{kind}.reasoning", "index": event.row, "delta": event.text[len(before) :]}
            yield sse(value | {"over": event.over}, f"{kind}.reasoning")
        elif isinstance(event, Looked):
            look = event.event.to_json()
            look.pop("view", None)
            yield sse({"type": f"{kind}.look", **look}, f"{kind}.look")
        elif isinstance(event, Done):
            assert event.answer.image is not None
            content = await run_in_threadpool(pictures.answered, event.answer, form, quality)
            own = {"index": event.row, "model": name, "usage": _usage([event])} | _about(event)
            yield _picture_event(f"{kind}.completed", content, event.answer.image.size, form, own)


def _picture_event(kind: str, content: str, size: tuple[int, int], form: str, own: dict[str, Any]) -> str:
    value = {"type": kind, "b64_json": content, "created_at": int(time.time()), "size": f"{size[0]}x{size[1]}"}
    return sse(value | {"quality": "auto", "background": "opaque", "output_format": form} | own, kind)


async def _form(shop: Shop, request: HttpRequest) -> tuple[Edit, list[bytes], bytes | None]:
    """(The fields, the pictures' files, the mask's file) of a multipart body. Names of files are not looked at."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused("send the picture as multipart/form-data", code="invalid_content_type")
    fields: dict[str, Any] = {}
    given: list[bytes] = []
    mask: bytes | None = None
    async with request.form(
        max_files=shop.settings.pictures, max_fields=64, max_part_size=4 * shop.settings.prompt
    ) as form:
        for key, value in form.multi_items():
            name = key.removesuffix("[]")
            if isinstance(value, UploadFile):
                content = await value.read()
                if name == "image":
                    given.append(content)
                elif name == "mask" and mask is None:
                    mask = content
                else:
                    raise Refused(f"there is no file {name!r} here", param=name, code="unknown_parameter")
            elif key == "plan":
                fields[name] = _plan(value)
            elif key.endswith("[]") and isinstance(fields.get(name, []), list):
                fields[name] = [*fields.get(name, []), value]
            elif name in fields:
                raise Refused(f"{name} is given twice", param=name, code="invalid_value")
            else:
                fields[name] = value
    if not given:
        raise Refused(
            "there is no picture; send it as the file image", param="image", code="missing_required_parameter"
        )
    try:
        return Edit.model_validate(fields), given, mask
    except ValidationError as error:
        raise from_validation(error) from None


def _plan(text: str) -> Any:
    """A plan in a form: JSON, or the kinds of its parts joined by commas."""
    if not text.lstrip().startswith("["):
        return [kind.strip() for kind in text.split(",")]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("the plan is no JSON", param="plan", code="invalid_json") from None


def _form_schema() -> dict[str, Any]:
    """The multipart body for the OpenAPI document."""
    schema = Edit.model_json_schema()
    definitions = schema.pop("$defs", {})
    part = definitions.get("Part")
    plan = {"type": "string", "description": "Kinds joined by commas, or JSON: a list of kinds or of parts."}
    if part is not None:
        plan["description"] += f" A part has: {', '.join(part['properties'])}."
    file = {"type": "string", "format": "binary"}
    schema["properties"] |= {"plan": plan, "image": file, "mask": file}
    schema["required"] = [*schema.get("required", []), "image"]
    return {"multipart/form-data": {"schema": schema}}
