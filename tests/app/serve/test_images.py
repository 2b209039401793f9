"""Pictures through OpenAI's own client."""

import base64
import io
import json

import openai
import pytest
from live import file_of, serving
from PIL import Image as pil

from limner.answer import Answer, Limner
from limner.app.cli import main

PROMPT = "a red cat"


def content(picture):
    return base64.b64decode(picture.b64_json)


def pictures_of(stream):
    """The events that hold pictures."""
    return [event for event in stream if event.type.endswith((".partial_image", ".completed"))]


def opened(file):
    return pil.open(io.BytesIO(file))


def hole(size, box):
    """A mask as OpenAI has it: transparent where something is to be made anew."""
    alpha = pil.new("L", size, 255)
    alpha.paste(0, box)
    mask = pil.new("RGBA", size, "white")
    mask.putalpha(alpha)
    return file_of(mask)


@pytest.mark.parametrize("name", ["echo", "masked", "flow"])
def test_python_and_http_give_the_same_bytes(client, models, name):
    made = client.images.generate(model=name, prompt=PROMPT, n=2, extra_body={"seed": 5})
    for picture, seed in zip(made.data, (5, 6), strict=True):
        assert content(picture) == models[name].generate(PROMPT, seed=seed).png()
        assert picture.seed == seed
        assert picture.reasoning_content == models[name].generate(PROMPT, seed=seed).thinking


def test_the_command_line_and_http_give_the_same_bytes(models, tmp_path, capsys):
    folder = tmp_path / "echo"
    models["echo"].model.save(folder)
    path = tmp_path / "cat.png"
    assert main(["generate", PROMPT, "--model", str(folder), "--seed", "9", "-o", str(path)]) == 0
    with serving({str(folder): Limner.load(folder)}) as live, live.client() as client:
        made = client.images.generate(model=str(folder), prompt=PROMPT, extra_body={"seed": 9})
    assert content(made.data[0]) == path.read_bytes()


def test_what_was_asked_stands_in_the_file_and_beside_it(client, tmp_path):
    picture = client.images.generate(model="echo", prompt=PROMPT, extra_body={"seed": 3, "think": False}).data[0]
    (tmp_path / "a.png").write_bytes(content(picture))
    assert Answer.request_of(tmp_path / "a.png") == picture.request
    assert picture.request["prompt"] == PROMPT and picture.request["think"] is False and picture.request["seed"] == 3


@pytest.mark.parametrize("name", ["masked", "flow"])
def test_partial_pictures_come_before_the_whole_one_and_differ_from_it(client, models, name):
    events = pictures_of(client.images.generate(model=name, prompt=PROMPT, stream=True, partial_images=2))
    assert [event.type.partition(".")[2] for event in events] == ["partial_image"] * 2 + ["completed"]
    *partial, whole = events
    assert [event.partial_image_index for event in partial] == [0, 1]
    assert partial[0].step < partial[1].step < partial[1].steps
    pixels = [opened(content(event)).convert("RGB").tobytes() for event in (*partial, whole)]
    assert len(set(pixels)) == 3
    assert content(whole) == models[name].generate(PROMPT).png()


@pytest.mark.parametrize("name", ["masked", "flow"])
def test_the_thought_is_told_as_it_is_written(client, models, name):
    events = list(client.images.generate(model=name, prompt=PROMPT, stream=True))
    told = [event.delta for event in events if event.type == "image_generation.reasoning"]
    assert "".join(told) == models[name].generate(PROMPT).thinking
    assert [event.type for event in events[: len(told)]] == ["image_generation.reasoning"] * len(told)


def test_several_pictures_in_one_stream_are_told_apart(client, models):
    events = list(client.images.generate(model="masked", prompt=PROMPT, n=3, stream=True, partial_images=1))
    whole = {event.index: content(event) for event in events if event.type == "image_generation.completed"}
    assert whole == {i: models["masked"].generate(PROMPT, seed=i).png() for i in range(3)}
    assert sorted(e.index for e in events if e.type == "image_generation.partial_image") == [0, 1, 2]


@pytest.mark.parametrize("alpha", [True, False], ids=["transparent", "white"])
def test_a_masked_edit_is_the_inpainting_of_python(client, models, ramp, alpha):
    box = (0, 0, 16, 16)
    white = pil.new("L", ramp.size)
    white.paste(255, box)
    mask = hole(ramp.size, box) if alpha else file_of(white)
    made = client.images.edit(
        model="masked", image=("a.png", file_of(ramp)), mask=("m.png", mask), prompt=PROMPT, extra_body={"seed": 2}
    )
    assert content(made.data[0]) == models["masked"].inpaint(ramp, PROMPT, mask=white, seed=2).png()
    kept = opened(content(made.data[0])).crop((16, 0, 32, 32)).tobytes()
    assert kept == ramp.crop((16, 0, 32, 32)).tobytes()


def test_a_hole_in_the_picture_itself_is_a_mask(client, models, ramp):
    given = ramp.convert("RGBA")
    alpha = pil.new("L", ramp.size, 255)
    alpha.paste(0, (16, 16, 32, 32))
    given.putalpha(alpha)
    made = client.images.edit(model="masked", image=("a.png", file_of(given)), prompt=PROMPT)
    assert made.data[0].request["command"] == "inpaint"
    kept = opened(content(made.data[0])).crop((0, 0, 32, 16)).tobytes()
    assert kept == ramp.crop((0, 0, 32, 16)).tobytes()


def test_an_edit_is_watched_too(client, ramp):
    events = pictures_of(
        client.images.edit(
            model="masked",
            image=("a.png", file_of(ramp)),
            mask=("m.png", hole(ramp.size, (0, 0, 32, 32))),
            prompt=PROMPT,
            stream=True,
            partial_images=2,
        )
    )
    assert [event.type for event in events] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]


def test_margins_extend_a_picture(client, models, ramp):
    made = client.images.edit(
        model="masked", image=("a.png", file_of(ramp)), prompt=PROMPT, extra_body={"left": 8, "down": 16}
    )
    assert made.size == "40x48"
    assert content(made.data[0]) == models["masked"].extend(ramp, PROMPT, left=8, down=16).png()


@pytest.mark.parametrize("name", ["masked", "flow"])
def test_without_a_mask_a_picture_is_drawn_after_the_given_one(client, models, ramp, name):
    made = client.images.edit(model=name, image=("a.png", file_of(ramp)), prompt=PROMPT, extra_body={"seed": 1})
    assert content(made.data[0]) == models[name].generate(PROMPT, image=ramp, seed=1).png()


def test_a_flow_refuses_a_mask_in_words(client, ramp):
    with pytest.raises(openai.BadRequestError, match="as a whole"):
        client.images.edit(
            model="flow",
            image=("a.png", file_of(ramp)),
            mask=("m.png", hole(ramp.size, (0, 0, 8, 8))),
            prompt=PROMPT,
        )


def test_one_of_several_candidates_is_chosen(client, models):
    extra = {"verify": "orm", "candidates": 3, "seed": 4}
    made = client.images.generate(model="masked", prompt=PROMPT, extra_body=extra)
    wanted = models["masked"].verified(PROMPT, "orm", 3, seed=4)
    assert made.data[0].seed == wanted.seed
    assert opened(content(made.data[0])).tobytes() == wanted.image.tobytes()
    assert made.data[0].request["verify"]["looks"] == wanted.request["verify"]["looks"] == 3


def test_the_looks_of_a_verifier_are_told_as_they_happen(client):
    extra = {"verify": "orm", "candidates": 3}
    events = list(client.images.generate(model="masked", prompt=PROMPT, stream=True, extra_body=extra))
    looks = [event for event in events if event.type == "image_generation.look"]
    assert sorted(look.path for look in looks if look.kind == "look") == [0, 1, 2]
    assert events[-1].type == "image_generation.completed"


def test_a_plan_says_which_parts_are_made_and_how(client):
    plan = ["thinking", {"kind": "image", "steps": 2}]
    made = client.images.generate(model="masked", prompt=PROMPT, extra_body={"plan": plan}).data[0]
    assert made.reasoning_content is not None
    assert [part["kind"] for part in made.request["plan"]] == ["thinking", "image"]
    assert made.request["plan"][1]["steps"] == 2


def test_plans_go_through_forms_too(client, ramp):
    for plan in (["image"], json.dumps([{"kind": "image", "steps": 3}]), "thinking,image"):
        made = client.images.edit(
            model="flow", image=("a.png", file_of(ramp)), prompt=PROMPT, extra_body={"plan": plan}
        )
        assert made.data[0].request["plan"][-1]["kind"] == "image"


@pytest.mark.parametrize(("form", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_files_have_the_wanted_format(client, form, kind):
    made = client.images.generate(model="echo", prompt=PROMPT, output_format=form)
    assert opened(content(made.data[0])).format == kind and made.output_format == form


def test_a_link_is_the_picture_itself(client, models):
    made = client.images.generate(model="echo", prompt=PROMPT, response_format="url")
    head, _, body = made.data[0].url.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == models["echo"].generate(PROMPT).png()


def test_usage_counts_what_the_model_read_and_made(client):
    used = client.images.generate(model="masked", prompt=PROMPT, extra_body={"think": False}).usage
    assert used.output_tokens == used.output_tokens_details.image_tokens == 16  # a grid of 4 x 4 codes
    assert used.input_tokens > 3 and used.total_tokens == used.input_tokens + used.output_tokens
    thought = client.images.generate(model="masked", prompt=PROMPT).usage
    assert thought.output_tokens_details.text_tokens > 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 5}, "n"),
        ({"size": "12"}, "size"),
        ({"size": "32x16"}, "size"),
        ({"size": "4000x4000"}, "size"),
        ({"prompt": ""}, None),
        ({"prompt": "x" * 5001}, "prompt"),
        ({"stream": True, "partial_images": 99}, "partial_images"),
        ({"partial_images": 1}, "partial_images"),
        ({"extra_body": {"steps": 51}}, "steps"),
        ({"extra_body": {"steps": 0}}, "steps"),
        ({"extra_body": {"seed": -1}}, "seed"),
        ({"extra_body": {"seed": 2**63 - 1}, "n": 2}, "seed"),
        ({"extra_body": {"guidance": 1e9}}, "guidance"),
        ({"extra_body": {"nonsense": 1}}, "nonsense"),
        ({"extra_body": {"plan": ["text"]}}, "plan"),
        ({"extra_body": {"plan": ["image"], "think": True}}, "think"),
        ({"extra_body": {"verify": "orm", "candidates": 9}}, "candidates"),
        ({"extra_body": {"verify": "orm", "judge": "llava:/etc"}}, "judge"),
        ({"extra_body": {"verify": "orm"}, "n": 2}, "verify"),
        ({"extra_body": {"budget": 1}}, "verify"),
        ({"extra_body": {"fast": "sideways"}}, None),
        ({"output_compression": 3}, "output_compression"),
    ],
    ids=str,
)
def test_what_is_impossible_is_refused_in_openais_shape(client, body, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**({"model": "masked", "prompt": PROMPT} | body))
    error = caught.value
    assert error.status_code == 400 and error.type == "invalid_request_error" and error.param == param
    assert set(error.body) == {"message", "type", "param", "code"} and error.body["message"]
    assert error.request_id.startswith("req_")


def test_a_failure_in_a_stream_is_an_error_of_the_client(served, client, monkeypatch):
    model = served.engine("masked").limner.model
    monkeypatch.setattr(type(model), "pictures", lambda *_: 1 / 0)
    with pytest.raises(openai.APIError, match="something went wrong"):
        list(client.images.generate(model="masked", prompt=PROMPT, stream=True))
    monkeypatch.undo()
    assert len(client.images.generate(model="masked", prompt=PROMPT).data) == 1


def test_a_failure_is_a_500_that_tells_nothing_of_the_inside(served, client, monkeypatch):
    model = served.engine("masked").limner.model
    monkeypatch.setattr(type(model), "pictures", lambda *_: 1 / 0)
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.generate(model="masked", prompt=PROMPT)
    assert caught.value.type == "server_error" and "division" not in str(caught.value)
