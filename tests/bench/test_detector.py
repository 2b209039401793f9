"""GenEval's trained detector: the arithmetic on answers that are known, and the real classes with random weights."""

from functools import partial

import pytest
import torch
from PIL import Image as pil

import limner
from limner.bench import detector, run, score, suites
from limner.bench.detector import ClipColours, Cut, Mask2Former, detections, prepared
from limner.bench.geneval import COLOURS, Detection, keep
from limner.bench.judging import Judging
from limner.models.echo import Echo
from limner.recipes import tiny_clip

NAMES = ["cat", "mouse", "dog"]


def answer(boxes, size=(32, 64), sure=4.0):
    """Class and mask logits of queries that each see one thing: (kind, certainty, box in pixels of 4)."""
    classes, masks = (
        torch.full((len(boxes), len(NAMES) + 1), -9.0),
        torch.full((len(boxes), size[0] // 4, size[1] // 4), -sure),
    )
    for i, (kind, certainty, (left, top, right, bottom)) in enumerate(boxes):
        classes[i, kind], classes[i, -1] = certainty, 0.0
        masks[i, top:bottom, left:right] = sure
    return classes, masks


def test_boxes_are_tight_scores_are_class_times_mask_and_doubles_count():
    classes, masks = answer([(0, 3.0, (1, 1, 4, 4)), (0, 1.0, (1, 1, 4, 4)), (1, 3.0, (8, 2, 12, 6))])
    picture = pil.new("RGB", (64, 32))
    found = detections(classes, masks, (32, 64), (32, 64), picture, NAMES)
    cats = [one for one in found["cat"] if one.score > 0.3]
    assert len(cats) == 2 and cats[0].score > cats[1].score
    assert cats[0].box == (4.0, 4.0, 16.0, 16.0) == cats[1].box
    (mouse,) = [one for one in found["computer mouse"] if one.score > 0.3]
    assert mouse.box == (32.0, 8.0, 48.0, 24.0) and "mouse" not in found
    chance = torch.tensor([3.0, 0.0, -9.0, -9.0]).softmax(dim=0)[0]
    assert 0.8 * chance < cats[0].score < chance  # the mask is not wholly certain at its rim


def test_padding_is_cut_off_and_the_picture_has_its_own_size():
    classes, masks = answer([(2, 5.0, (0, 0, 16, 8))])
    found = detections(classes, masks, (32, 64), (16, 48), pil.new("RGB", (96, 32)), NAMES)
    assert max(found["dog"]).box == (0.0, 0.0, 96.0, 32.0)


def test_at_most_a_hundred_answers_are_looked_at():
    classes, masks = answer([(0, 3.0, (0, 0, 2, 2))] * 150)
    found = detections(classes, masks, (32, 64), (32, 64), pil.new("RGB", (64, 32)), NAMES)
    assert sum(map(len, found.values())) == 100


def test_pictures_are_scaled_by_their_short_side_normalised_and_padded():
    pixels, kept = prepared(pil.new("RGB", (100, 50), (255, 0, 0)), 80, 133)
    assert pixels.shape == (1, 3, 96, 160) and kept.shape == (1, 96, 160)
    assert int(kept[0, :, 0].sum()) == 66 and int(kept[0, 0].sum()) == 133  # the long side decides here
    assert pixels[0, 0, 5, 5] == pytest.approx((1 - 0.485) / 0.229, abs=1e-5) and pixels[0, 0, -1, -1] == 0


def test_the_colour_is_asked_of_the_thing_alone():
    mask = torch.zeros(4, 4, dtype=torch.bool).numpy()
    mask[1:3, 1:3] = True
    shown = Cut(pil.new("RGB", (4, 4), "red"), mask).shown()
    assert shown.getpixel((1, 1)) == (255, 0, 0) and shown.getpixel((0, 0)) == (0x99, 0x99, 0x99)


class Loud:
    """Texts and pictures as vectors: a text's colour word, a picture's reddest channel."""

    config = None

    def __call__(self, pixels, words):
        return type("Out", (), {"image_embeds": pixels, "text_embeds": words})

    @staticmethod
    def vector(name):
        return torch.eye(len(COLOURS))[COLOURS.index(name)]


class Inputs(dict):
    def to(self, device):
        return self


def test_the_nearest_colour_of_three_texts_wins_and_texts_are_read_once_a_class():
    calls = []

    def processor(images, text, **options):
        calls.append(len(text))
        red = images[0].getpixel((0, 0)) == (255, 0, 0)
        words = [next((c for c in COLOURS if f" {c}" in t), "white") for t in text]
        return Inputs(
            pixels=Loud.vector("red" if red else "blue")[None], words=torch.stack([Loud.vector(w) for w in words])
        )

    colours = ClipColours(load=lambda name, device: (Loud(), processor))
    full = torch.ones(2, 2, dtype=torch.bool).numpy()
    for paint, wanted in (("red", "red"), ("blue", "blue")):
        assert colours("cat", Detection((0, 0, 2, 2), 1.0, Cut(pil.new("RGB", (2, 2), paint), full))) == wanted
    assert calls == [3 * len(COLOURS), 1, 1]


@pytest.fixture(scope="module")
def mask2former(tmp_path_factory):
    """The real class, small and untrained, in a folder."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    stages = ["stage1", "stage2", "stage3", "stage4"]
    swin = SwinConfig(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, out_features=stages)
    wide = {name: 32 for name in ("feature_size", "mask_feature_size", "hidden_dim", "encoder_feedforward_dim")}
    config = Mask2FormerConfig(
        backbone_config=swin, dim_feedforward=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        num_queries=20, num_labels=80, **wide,
    )  # fmt: skip
    names = [line.strip() for line in ["person", "bicycle", "car", "cat", "dog", "mouse"]]
    config.id2label = {i: names[i] if i < len(names) else f"class {i}" for i in range(80)}
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mask2former")
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    return folder


def test_the_real_class_with_random_weights_detects_something_and_the_same_twice(mask2former):
    eyes = Mask2Former(str(mask2former), short=64, long=128)
    picture = pil.effect_noise((48, 80), 60).convert("RGB")
    found, again = eyes(picture), Mask2Former(str(mask2former), short=64, long=128)(picture)
    assert found and sum(map(len, found.values())) <= 100
    for name, some in found.items():
        assert [one.box for one in some] == [one.box for one in again[name]]
        assert all(0 <= one.score <= 1 and one.box[0] < one.box[2] <= 48 and one.box[3] <= 80 for one in some)
        assert all(one.mark.picture.size == one.mark.mask.shape[::-1] for one in some)
    assert set(keep(found, "counting")) <= set(keep(found, "colors"))
    with pytest.raises(ValueError, match="give a folder or a hub id"):
        Mask2Former(str(mask2former / "nowhere"))(picture)


@pytest.mark.parametrize("limit", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_genevals_prompts_are_judged_by_the_trained_detector_with_the_same_rules(
    mask2former, tmp_path, monkeypatch, limit
):
    suite = suites.find_suite("geneval")
    items, model = suite.items(None, limit), Echo() if limit else limner.load("tiny-mmada").model
    plan = model.plan(("image",))
    manifest = run.Manifest(
        "geneval", run.digest_of_items(items), "a model", "w", 1, False, run.described(plan), len(items)
    )
    run.make(run.plain(model, plan), items, manifest, tmp_path)
    reader = tiny_clip.Reader(tiny_clip._tokenizer())
    clip = tiny_clip.tiny_clip().build().eval()  # the real class, untrained
    monkeypatch.setattr(detector, "Mask2Former", partial(Mask2Former, short=64, long=128))
    monkeypatch.setattr(detector, "ClipColours", partial(ClipColours, load=lambda name, device: (clip, reader)))
    report = score.score(tmp_path, judging=Judging(f"mask2former:{mask2former}"))
    assert report["counts"]["judged"] == len(items) == (6 if limit else 553)
    assert report["protocol"].startswith("geneval-hf: ")
    assert {line["why"][:8] for line in score.scores_of(tmp_path)} <= {"expected", ""}
