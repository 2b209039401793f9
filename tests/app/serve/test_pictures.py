"""Pictures from outside are hostile until proven otherwise."""

import base64
import contextlib
import io
import struct
import zlib

import openai
import pytest
from live import file_of, http
from PIL import Image as pil

PROMPT = "what is this?"


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, data=b""):
    """A PNG file that says it has this size, whatever its data are."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def ask(client, content, name="masked"):
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": PROMPT}]
    return client.chat.completions.create(model=name, messages=[{"role": "user", "content": parts}])


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
WHOLE = file_of(pil.linear_gradient("L").convert("RGB"))
JPEG = file_of(pil.linear_gradient("L").convert("RGB"), "JPEG")
TEXT_BOMB = WHOLE[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 80_000_000)) + WHOLE[33:]

HOSTILE = {
    "bomb of 50,000 x 50,000": png(50_000, 50_000),
    "bomb of 12,000 x 12,000": png(12_000, 12_000, b"\0" * 1000),
    "more than allowed": png(1200, 1000),
    "1 x 20,000": file_of(pil.new("RGB", (1, 20_000))),
    "20,000 x 1": file_of(pil.new("RGB", (20_000, 1))),
    "truncated PNG": WHOLE[: len(WHOLE) // 2],
    "truncated JPEG": JPEG[: len(JPEG) // 2],
    "bomb of text": TEXT_BOMB,
    "SVG": SVG,
    "TIFF": file_of(pil.new("RGB", (8, 8)), "TIFF"),
    "no picture": b"hello",
    "nothing": b"",
    "zero pixels": png(0, 5),
    "PNG without data": png(64, 64),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_words(client, name):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, HOSTILE[name])
    assert caught.value.code == "invalid_image" and caught.value.param == "messages.0.content"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_refused_in_words(client, name):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(model="masked", image=("a.png", HOSTILE[name]), prompt=PROMPT)
    assert caught.value.param == "image"


@pytest.mark.parametrize("name", ["SVG", "truncated PNG", "bomb of 50,000 x 50,000", "nothing"])
def test_hostile_masks_are_refused_in_words(client, name, ramp):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(model="masked", image=("a.png", file_of(ramp)), mask=("m.png", HOSTILE[name]), prompt=PROMPT)
    assert caught.value.param == "mask"


def test_a_mask_of_another_size_is_refused(client, ramp):
    mask = file_of(pil.new("L", (8, 8), 255))
    with pytest.raises(openai.BadRequestError, match="the picture's size"):
        client.images.edit(model="masked", image=("a.png", file_of(ramp)), mask=("m.png", mask), prompt=PROMPT)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_is_seen(client, form):
    frames = [pil.new("RGB", (32, 32), colour) for colour in ("red", "blue", "green")]
    moving = file_of(
        frames[0], form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
    )
    still = file_of(frames[0], form, **({"lossless": True} if form == "WEBP" else {}))
    assert ask(client, moving, "echo").usage == ask(client, still, "echo").usage
    made = client.images.edit(model="flow", image=("a.gif", moving), prompt=PROMPT)
    alone = client.images.edit(model="flow", image=("a.gif", still), prompt=PROMPT)
    assert made.data[0].b64_json == alone.data[0].b64_json


def test_pictures_are_turned_upright(client, models, ramp):
    about = pil.Exif()
    about[0x0112] = 6  # taken with the camera on its side
    turned = file_of(ramp.transpose(pil.Transpose.ROTATE_90), exif=about)
    mask = pil.new("L", ramp.size)
    mask.paste(255, (0, 0, 8, 8))
    made = client.images.edit(
        model="masked", image=("a.png", turned), mask=("m.png", file_of(mask)), prompt="a red cat"
    )
    assert base64.b64decode(made.data[0].b64_json) == models["masked"].inpaint(ramp, "a red cat", mask=mask).png()


def test_names_of_files_lead_nowhere(client, ramp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = client.images.edit(model="flow", image=("a.png", file_of(ramp)), prompt=PROMPT).data[0].b64_json
    for name in ("../../../etc/passwd", "/etc/passwd", "..\\..\\a.png", "a.svg", "con"):
        made = client.images.edit(model="flow", image=(name, file_of(ramp)), prompt=PROMPT)
        assert made.data[0].b64_json == wanted
    for name in ("a\0b.png", "x" * 5000):  # the form may be refused as a whole
        with contextlib.suppress(openai.BadRequestError):
            made = client.images.edit(model="flow", image=(name, file_of(ramp)), prompt=PROMPT)
            assert made.data[0].b64_json == wanted
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_of_a_megabyte_is_refused_at_once(client):
    for ask_it in (
        lambda words: client.images.generate(model="masked", prompt=words),
        lambda words: client.chat.completions.create(model="masked", messages=[{"role": "user", "content": words}]),
        lambda words: client.images.edit(model="masked", image=("a.png", WHOLE), prompt=words),
    ):
        with pytest.raises(openai.BadRequestError):
            ask_it("a red cat " * 100_000)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", '"NaN"', "null", "[]", "{}", "true"])
@pytest.mark.parametrize("name", ["guidance", "steps", "seed", "n", "budget", "candidates"])
def test_numbers_that_are_none_are_refused(served, name, value):
    body = f'{{"model": "echo", "prompt": "a", "verify": "orm", "{name}": {value}}}'
    headers = {"Content-Type": "application/json"}
    told = http.post(f"{served.base}/v1/images/generations", content=body, headers=headers)
    harmless = value in ("null", "true")  # null says nothing, and true is 1
    assert told.status_code == (200 if harmless else 400), told.text
    if not harmless:
        assert told.json()["error"]["param"] == name


def test_half_a_character_is_refused(served):
    body = '{"model": "echo", "prompt": "a \\ud800"}'
    headers = {"Content-Type": "application/json"}
    told = http.post(f"{served.base}/v1/images/generations", content=body, headers=headers)
    assert told.status_code == 400 and told.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"a"', b"[" * 100_000, b'{"prompt": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"{}"],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("path", ["images/generations", "chat/completions", "images/edits"])
def test_bodies_that_make_no_sense_are_refused(served, path, body):
    for kind in ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain"):
        told = http.post(f"{served.base}/v1/{path}", content=body, headers={"Content-Type": kind})
        assert told.status_code in (400, 415), told.text
        assert told.json()["error"]["type"] == "invalid_request_error"


def test_more_pictures_than_allowed_are_refused(models, ramp):
    from live import serving

    with serving({"echo": models["echo"]}, pictures=2) as live, live.client() as client:
        url = {"url": f"data:image/png;base64,{base64.b64encode(file_of(ramp)).decode()}"}
        parts = [{"type": "image_url", "image_url": url}] * 3
        with pytest.raises(openai.BadRequestError, match="pictures"):
            client.chat.completions.create(model="echo", messages=[{"role": "user", "content": parts}])
        with pytest.raises(openai.BadRequestError):
            client.images.edit(model="echo", image=[io.BytesIO(file_of(ramp)) for _ in range(3)], prompt=PROMPT)
