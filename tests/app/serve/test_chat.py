"""Conversations through OpenAI's own client."""

import base64
import io

import openai
import pytest
from live import file_of
from PIL import Image as pil

from limner.parts import Image, assistant, user
from limner.request import Request


def said(text, *pictures):
    shown = [{"type": "image_url", "image_url": {"url": address(picture)}} for picture in pictures]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}


def address(picture):
    return f"data:image/png;base64,{base64.b64encode(file_of(picture)).decode()}"


@pytest.mark.parametrize("name", ["echo", "masked", "flow"])
def test_a_question_about_a_picture_is_answered_as_in_python(client, models, ramp, name):
    made = client.chat.completions.create(model=name, messages=[said("what is this?", ramp)])
    wanted = models[name].ask(ramp, "what is this?")
    assert made.choices[0].message.content == wanted.text
    assert made.choices[0].message.role == "assistant" and made.object == "chat.completion"
    assert made.usage.prompt_tokens > 0 and made.usage.completion_tokens > 0


def test_words_alone_are_answered_as_in_python(client, models):
    messages = [{"role": "user", "content": "hello"}]
    made = client.chat.completions.create(model="echo", messages=messages, n=2, extra_body={"seed": 3, "think": True})
    for choice, seed in zip(made.choices, (3, 4), strict=True):
        wanted = models["echo"].say("hello", think=True, seed=seed)
        assert (choice.message.content, choice.message.reasoning_content) == (wanted.text, wanted.thinking)


def test_a_picture_comes_out_where_modalities_hold_one(client, models):
    messages = [{"role": "user", "content": "a red cat"}]
    made = client.chat.completions.create(model="masked", messages=messages, modalities=["text", "image"], seed=4)
    message, wanted = made.choices[0].message, models["masked"].generate("a red cat", seed=4)
    assert base64.b64decode(message.images[0]["image_url"]["url"].partition(",")[2]) == wanted.png()
    assert message.reasoning_content == wanted.thinking and message.content is None


@pytest.mark.parametrize("name", ["echo", "masked", "flow"])
def test_a_stream_adds_up_to_the_answer(client, name, ramp):
    plan = {} if name == "flow" else {"think": True}
    messages = [said("what is this?", ramp)]
    whole = client.chat.completions.create(model=name, messages=messages, extra_body=plan)
    stream = client.chat.completions.create(
        model=name, messages=messages, stream=True, stream_options={"include_usage": True}, extra_body=plan
    )
    *chunks, last = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant" and chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == getattr(whole.choices[0].message, "reasoning_content", "")
    assert last.choices == [] and last.usage == whole.usage


def test_words_come_one_after_another(client):
    messages = [{"role": "user", "content": "hello there"}]
    stream = client.chat.completions.create(model="echo", messages=messages, stream=True)
    assert sum(bool(chunk.choices[0].delta.content) for chunk in stream) > 3


def test_a_drawn_picture_is_watched_in_a_chat(client):
    stream = client.chat.completions.create(
        model="masked",
        messages=[{"role": "user", "content": "a red cat"}],
        stream=True,
        modalities=["text", "image"],
        extra_body={"partial_images": 2},
    )
    deltas = [chunk.choices[0].delta for chunk in stream]
    kinds = [kind for delta in deltas for kind in ("partial_image", "images") if getattr(delta, kind, None)]
    assert kinds == ["partial_image", "partial_image", "images"]


def test_the_conversation_so_far_is_seen(client, models):
    drawn = client.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": "a red cat"}], modalities=["text", "image"]
    )
    answer = drawn.choices[0].message.model_dump(exclude_none=True)
    messages = [{"role": "user", "content": "a red cat"}, answer, {"role": "user", "content": "what is this?"}]
    whole = client.chat.completions.create(model="echo", messages=messages, seed=1)
    url = answer["images"][0]["image_url"]["url"]
    picture = pil.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    history = (user("a red cat"), assistant(Image(picture)))
    (wanted,) = models["echo"].answer(Request("ask", "what is this?", False, history=history), [1])
    assert whole.choices[0].message.content == wanted.text
    assert whole.choices[0].request == wanted.request and wanted.request["history"]["messages"] == 2


def test_what_does_not_fit_is_left_out_from_the_beginning(client, ramp):
    messages = [{"role": "system", "content": "be brief"}]
    for number in range(3):
        messages += [said("what is this?", ramp), {"role": "assistant", "content": f"{number}"}]
    messages.append({"role": "user", "content": "and now?"})
    for memory, seen in ((0, 1), (1, 3), (2, 5), (9, 7)):
        made = client.chat.completions.create(model="echo", messages=messages, extra_body={"memory": memory})
        about = made.choices[0].request
        assert about["history"]["messages"] == seen
        assert ("image" in about) == (memory == 0), "a question about a picture shows it"


def test_a_long_conversation_with_a_small_model_goes_on(client, ramp):
    messages = []
    for _ in range(12):
        messages.append(said("what is this?", ramp))
        made = client.chat.completions.create(model="masked", messages=messages)
        messages.append({"role": "assistant", "content": made.choices[0].message.content or "a red cat"})
    assert made.choices[0].request["command"] == "ask"


def test_several_pictures_of_a_message_are_seen(client, models, ramp):
    made = client.chat.completions.create(model="flow", messages=[said("what is this?", ramp, ramp.rotate(90))])
    history = (user(Image(ramp)),)
    request = Request("ask", "what is this?", False, image=ramp.rotate(90), history=history)
    (wanted,) = models["flow"].answer(request, [0])
    assert made.choices[0].message.content == wanted.text


def test_fewer_tokens_are_made_where_fewer_are_wished(client):
    messages = [{"role": "user", "content": "hello there"}]
    short = client.chat.completions.create(model="echo", messages=messages, max_tokens=3)
    assert short.choices[0].message.content == "hel" and short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 3
    assert client.chat.completions.create(model="echo", messages=messages).choices[0].finish_reason == "stop"


def test_effort_says_whether_to_think(client):
    messages = [{"role": "user", "content": "hello"}]
    for effort, thinks in (("none", False), ("low", True)):
        made = client.chat.completions.create(model="echo", messages=messages, reasoning_effort=effort)
        assert hasattr(made.choices[0].message, "reasoning_content") == thinks


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, None),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 6000}]}, "prompt"),
        ({"temperature": -1}, "temperature"),
        ({"extra_body": {"temperature": "NaN"}}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"stop": "."}, "stop"),
        ({"n": 9}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"extra_body": {"partial_images": 1}}, "partial_images"),
    ],
    ids=str,
)
def test_what_is_impossible_is_refused_in_openais_shape(client, body, param):
    usual = {"model": "masked", "messages": [{"role": "user", "content": "a red cat"}]}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**(usual | body))
    assert caught.value.type == "invalid_request_error" and caught.value.param == param


def test_words_that_a_model_does_not_know_are_named(client):
    with pytest.raises(openai.BadRequestError, match="zebra"):
        client.chat.completions.create(model="masked", messages=[{"role": "user", "content": "zebra"}])


@pytest.mark.parametrize("url", ["https://example.com/a.png", "file:///etc/passwd", "/etc/passwd", "data:,hello"])
def test_pictures_elsewhere_are_not_fetched(client, url, monkeypatch):
    import socket

    def never(*_, **__):
        raise AssertionError("the server asked for an address")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    shown = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(openai.BadRequestError, match="not fetched") as caught:
        client.chat.completions.create(model="masked", messages=[{"role": "user", "content": [shown]}])
    assert caught.value.code == "invalid_image_url"
