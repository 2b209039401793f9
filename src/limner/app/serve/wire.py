"""What clients send, as OpenAI names it, with limner's own options beside: checked before anything is made.

Parameters that would change an answer and that limner does not have are refused unless they say nothing; what is known
and changes nothing (`user`, `metadata`, `store`, ...) is taken. Anything else is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from limner.parts import PartKind
from limner.request import MOST_GUIDANCE, MOST_TEMPERATURE

Method = Literal["none", "random", "oracle", "orm", "prm", "parm", "parm++", "survey"]


def _whole(text: str) -> str:
    """The text; ValueError where it holds half a character, which JSON can say and nothing can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate)") from None
    return text


Words = Annotated[str, AfterValidator(_whole)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Wire(BaseModel):
    """A value from outside."""

    model_config = ConfigDict(extra="forbid", strict=False)


class Part(Wire):
    """A wanted part of a reply: `limner.parts.Ask` without what is known."""

    kind: PartKind
    limit: Annotated[int, Field(ge=0, le=4096)] = 0
    size: Annotated[int, Field(ge=0, le=4096)] = 0
    steps: Annotated[int, Field(ge=0, le=1000)] = 0
    guidance: Annotated[Finite, Field(ge=0, le=MOST_GUIDANCE)] | None = None
    temperature: Annotated[Finite, Field(ge=0, le=MOST_TEMPERATURE)] | None = None
    fast: Annotated[Words, Field(max_length=100)] = ""


class Options(Wire):
    """limner's own options, the same wherever something is drawn."""

    think: bool | None = None
    seed: Seed | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[Finite, Field(ge=0, le=MOST_GUIDANCE)] | None = None
    fast: Annotated[Words, Field(max_length=100)] = ""
    plan: list[PartKind | Part] | None = Field(None, min_length=1, max_length=8)


class Ignored(Wire):
    """Known parameters that change nothing here."""

    user: Words | None = None
    metadata: dict[str, Any] | None = None
    safety_identifier: Words | None = None


class Drawn(Ignored, Options):
    """What generations and edits have in common."""

    model: Words | None = None
    prompt: Words
    n: Annotated[int, Field(ge=1)] | None = None
    size: Words | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: Literal["opaque", "auto"] | None = None
    quality: Literal["auto", "standard", "low", "medium", "high", "hd"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=16)] | None = None


class Generation(Drawn):
    """The body of `/v1/images/generations`."""

    style: Literal["vivid", "natural"] | None = None
    moderation: Literal["auto", "low"] | None = None
    verify: Method | None = None
    judge: Words = "self"
    candidates: Annotated[int, Field(ge=1)] | None = None
    budget: Annotated[Finite, Field(gt=0)] | None = None


class Edit(Drawn):
    """The fields of `/v1/images/edits` that are no files. Margins, in pixels, make the picture larger."""

    input_fidelity: Literal["high", "low"] | None = None
    left: Annotated[int, Field(ge=0)] = 0
    right: Annotated[int, Field(ge=0)] = 0
    up: Annotated[int, Field(ge=0)] = 0
    down: Annotated[int, Field(ge=0)] = 0

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Left, right, up, down."""
        return self.left, self.right, self.up, self.down


class Address(Wire):
    """Where a picture is: a data URL."""

    url: Words
    detail: Literal["auto", "low", "high"] | None = None


class TextContent(Wire):
    """Words of a message."""

    type: Literal["text"]
    text: Words


class ImageContent(Wire):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: Address


Content = Annotated[TextContent | ImageContent, Field(discriminator="type")]


class ChatMessage(Ignored):
    """A message of a conversation. ``images`` are pictures that an earlier answer held, as it held them."""

    model_config = ConfigDict(extra="ignore")  # answers are sent back with all that they had

    role: Literal["system", "developer", "user", "assistant"]
    content: Words | list[Content] | None = None
    images: list[ImageContent] | None = None
    name: Words | None = None


class StreamOptions(Wire):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ResponseFormat(Wire):
    """The form of an answer in words: words."""

    type: Literal["text"]


class Chat(Ignored, Options):
    """The body of `/v1/chat/completions`."""

    model: Words | None = None
    messages: list[ChatMessage] = Field(min_length=1, max_length=256)
    modalities: list[Literal["text", "image"]] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[Finite, Field(ge=0, le=MOST_TEMPERATURE)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    memory: Annotated[int, Field(ge=0)] | None = None
    begin: Annotated[Words, Field(max_length=2000)] = ""
    size: Annotated[int, Field(ge=8, le=4096)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    partial_images: Annotated[int, Field(ge=0, le=16)] | None = None
    # known, and refused unless they say nothing
    top_p: Annotated[float, Field(ge=1, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logprobs: Literal[False] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    stop: None = None
    response_format: ResponseFormat | None = None
    store: bool | None = None
    service_tier: Words | None = None
    prompt_cache_key: Words | None = None
