"""The trained reader: its targets say everything about a scene, and it learns."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from limner.recipes.world import batch, detector, worn
from limner.world import draw
from limner.world.content import Content
from limner.world.detect import Answer, Detector, DetectorConfig, Truth, detect, loss, reading, to_input, truth
from limner.world.scene import BACKGROUNDS, COLOURS, Scene, arrange, random_scene


def perfect(wanted: Truth) -> Answer:
    """The answer of a network that knows the truth."""
    heat = torch.logit(wanted.heat.clamp(0.001, 0.999))
    colour = 20.0 * torch.nn.functional.one_hot(wanted.colour.clamp(min=0), len(COLOURS)).movedim(-1, 2).float()
    place = wanted.place.clone()
    place[:, :, 3] = 20 * place[:, :, 3] - 10
    background = 20.0 * torch.nn.functional.one_hot(wanted.background, len(BACKGROUNDS)).float()
    return Answer(heat, colour, place, background)


def one(answer: Answer, i: int) -> Answer:
    return Answer(*(part[i] for part in answer))


def test_a_perfect_answer_is_the_scene():
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(300)]
    scenes.append(arrange("inside", [("box", "red"), ("cat", "blue")], "day"))
    answer = perfect(truth(scenes))
    assert [reading(one(answer, i), DetectorConfig()).scene for i in range(len(scenes))] == scenes


def test_a_doubtful_centre_is_unknown():
    answer = perfect(truth([arrange("row", [("cat", "red"), ("dog", "blue")], "snow")]))
    faint = answer._replace(heat=torch.logit(0.25 * answer.heat.sigmoid()))
    seen = reading(one(faint, 0), DetectorConfig())
    assert seen.scene is None and len(seen.unknown) == 2 and seen.things == ()


def test_the_loss_of_a_perfect_answer_is_almost_nothing():
    wanted = truth([arrange("trio", [("cat", "red"), ("bee", "pink"), ("cup", "white")], "rain"), Scene("sea", ())])
    assert loss(perfect(wanted), wanted)[0] < 0.05
    with torch.no_grad():
        assert loss(Detector()(torch.zeros(2, 3, 64, 64)), wanted)[0] > 1


def test_it_learns_within_seconds():
    torch.manual_seed(0)
    model = Detector(DetectorConfig(widths=(8, 16, 16), blocks=1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    pictures, wanted = batch(0, 8)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        value, _ = loss(model(pictures), wanted)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_saved_detector_answers_alike_and_is_small(tmp_path):
    torch.manual_seed(0)
    model = Detector().eval()
    model.save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3_000_000
    again = Detector.load(tmp_path)
    picture = to_input(draw.render(arrange("copies", [("cat", "red")], "day"), 64)[None])
    with torch.no_grad():
        assert torch.allclose(model(picture).heat, again(picture).heat, atol=0.05)


def test_pictures_are_read_alike_alone_and_together():
    torch.manual_seed(0)
    model = Detector(DetectorConfig(widths=(8, 16, 16), blocks=1)).eval()
    rng = random.Random(1)
    pictures = [draw.render(random_scene(rng), 64) for _ in range(5)]
    together = detect(pictures, model, batch_size=3)
    assert [each.things for each in together] == [detect([picture], model)[0].things for picture in pictures]
    assert all(math.isnan(each.residual) for each in together)
    assert all(each.content is None or isinstance(each.content, Content) for each in together)


def test_a_missing_checkpoint_is_told_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="limner train world.detector"):
        Detector.load(tmp_path)


def test_wear_is_random_but_repeatable_and_keeps_the_shape():
    clean = to_input(np.stack([draw.render(Scene("day", ()), 64)] * 3))
    first, again, other = (worn(clean, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == clean.shape and torch.equal(first, again) and not torch.equal(first, other)


def test_a_batch_depends_on_its_seed_alone():
    run = detector()
    first, second = (next(run.batches(0, 5, 4)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and all(map(torch.equal, first[1], second[1]))


def test_the_shipped_detector_reads_what_is_drawn_and_mostly_what_is_worn():
    rng = random.Random(11)
    scenes = [random_scene(rng) for _ in range(150)]
    clean = np.stack([draw.render(scene, 64) for scene in scenes])
    rough = worn(to_input(clean), torch.Generator().manual_seed(1))
    rough = ((rough.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for pictures, least in ((clean, 0.98), (rough, 0.9)):
        read = [found.content == Content.of(scene) for found, scene in zip(detect(pictures), scenes, strict=True)]
        assert np.mean(read) >= least
