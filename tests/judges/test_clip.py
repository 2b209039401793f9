import pytest
import torch
from PIL import Image as pil

from limner.judges.clip import clip_scorer, fits
from limner.parts import Image, Message, Sample, Task, Text, user

PICTURE = pil.new("RGB", (8, 8), (200, 0, 0))


def lengths(pictures, texts):
    return [len(text) + picture.size[0] / 100 for picture, text in zip(pictures, texts, strict=True)]


def drawn(facts=None, picture=PICTURE):
    parts = (Image(picture),) if picture else ()
    return Sample(Task((Message("system", (Text("draw"),)), user("a cat")), facts or {}), parts)


def test_a_drawn_picture_is_judged_by_its_caption_or_else_by_what_was_asked():
    verdicts = fits(lengths)([drawn(), drawn({"caption": "a red cat"}), drawn(picture=None)])
    assert [v.score for v in verdicts] == [5.08, 9.08, None]


def test_a_caption_is_judged_by_the_picture_that_was_shown():
    asked = Task((user(Image(PICTURE), "what is this?"),))
    verdicts = fits(lengths, said="reply")([Sample(asked, (Text("red"),)), Sample(asked, ())])
    assert [v.score for v in verdicts] == [3.08, None]


def test_pairs_are_scored_in_one_call_and_none_where_there_is_nothing():
    calls = []

    def counting(pictures, texts):
        calls.append(len(texts))
        return lengths(pictures, texts)

    fits(counting)([drawn(), drawn(picture=None), drawn()])
    fits(counting)([drawn(picture=None)])
    assert calls == [2]


def test_a_scorer_that_loses_pairs_is_caught():
    with pytest.raises(ValueError, match="1 scores for 2 pictures"):
        fits(lambda pictures, texts: [1.0])([drawn(), drawn()])


class Output:
    image_embeds = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    text_embeds = torch.tensor([[0.0, 2.0], [1.0, 0.0]])


class Inputs(dict):
    def to(self, device):
        return self


def test_clip_is_the_scaled_cosine_of_its_embeddings_and_is_loaded_once_when_asked():
    loads = []

    def load(name, device):
        loads.append((name, device))
        return lambda **inputs: Output(), lambda **inputs: Inputs(text=inputs["text"])

    scorer = clip_scorer("some/folder", scale=100.0, load=load)
    assert not loads
    for _ in range(2):
        assert scorer([PICTURE, PICTURE], ["a", "b"]) == pytest.approx([80.0, 100.0])
    assert loads == [("some/folder", "cpu")]
