"""What an edit leaves alone keeps its pixels: where two drawings from the same noise are alike, the source is taken."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from built import built
from PIL import Image as pil

from limner.models.nexusgen.config import NexusConfig
from limner.models.nexusgen.keeping import blended, redrawn
from limner.models.nexusgen.pictures import Scene
from limner.parts import Ask, Image, Task, user
from limner.process.noise import Noise
from limner.turn import rollout


@pytest.fixture(scope="module")
def model():
    return built()


@pytest.fixture
def keeping(model):
    """The model, to be told by how many levels what is kept may differ."""
    before = model.config

    def tell(levels):
        model.config = replace(before, keep_below=levels)
        return model

    yield tell
    model.config = before


def noisy(seed=0, size=(24, 24)):
    """A source in which no two pixels are alike."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image(pil.fromarray(pixels))


def changed(model, source, seed=3):
    (sample,) = rollout(model, [Task((user(source, "make it blue"),))], model.plan(["image"]), [seed])
    return sample


def test_pixels_that_both_drawings_show_alike_are_the_sources():
    shown, again = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 100, np.uint8)
    shown[:, 5:, 1] = 200
    source = noisy(size=(8, 8)).image
    found = np.asarray(blended(pil.fromarray(shown), pil.fromarray(again), source, 40))
    # the mean of 3 x 3 reaches one pixel over the edge: two of three columns alike are 33 levels off on average
    assert (found[:, :5] == np.asarray(source)[:, :5]).all() and (found[:, 5:] == shown[:, 5:]).all()
    everything = blended(pil.fromarray(shown), pil.fromarray(again), source, 256)
    nothing = blended(pil.fromarray(shown), pil.fromarray(again), source, 0)
    assert everything.tobytes() == source.tobytes() and nothing.tobytes() == shown.tobytes()


def test_between_alike_and_different_both_are_mixed():
    again, source = pil.new("RGB", (9, 3), (100,) * 3), pil.new("RGB", (9, 3), (40,) * 3)
    for apart, share in ((0, 0.0), (20, 0.0), (30, 0.25), (40, 0.5), (60, 1.0), (90, 1.0)):
        shown = pil.new("RGB", (9, 3), (100 + apart,) * 3)
        found = np.asarray(blended(shown, again, source, 20, 60))
        assert (found == round(40 + share * (60 + apart))).all()
        hard = np.asarray(blended(shown, again, source, 20, 20))
        assert (hard == (40 if apart < 20 else 100 + apart)).all()


def test_a_source_of_another_size_is_resized():
    drawn = pil.new("RGB", (16, 16))
    assert blended(drawn, drawn, noisy(size=(40, 40)).image, 1).size == (16, 16)


def test_as_published_nothing_is_kept_and_with_all_levels_everything(keeping):
    source = noisy(size=(16, 16))
    published = changed(keeping(0.0), source)
    assert NexusConfig().keep_below == 0
    kept = changed(keeping(256), source)
    assert kept.image.tobytes() == source.image.tobytes() != published.image.tobytes()
    assert kept.reply[0].raw == published.reply[0].raw  # the values that were drawn stay, for whoever scores them


def test_the_source_is_drawn_anew_from_the_noise_of_the_edit(model):
    conversation, ask = (user(noisy(), "make it blue"),), Ask("image", steps=2)
    given = model.context([conversation], [()], ask).given
    assert isinstance(given, Scene)
    source, settings = conversation[0].parts[0].image, model.settings(ask, 1)
    one, same, other = (redrawn(model, given, source, settings, Noise.of([seed])) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    # what is drawn follows the given picture's own embeddings, beside the same source
    assert not torch.equal(one, redrawn(model, given, noisy(1).image, settings, Noise.of([1])))


def test_rows_of_a_batch_keep_what_they_would_alone_and_those_without_a_source_nothing(keeping):
    one, seeds = keeping(60), (3, 4, 5)
    tasks = [Task((user(noisy(i, size), "make it blue"),)) for i, size in enumerate(((24, 24), (40, 24)))]
    tasks.append(Task((user("a red cat"),)))
    plan = one.plan(["image"])
    together = [sample.image.tobytes() for sample in rollout(one, tasks, plan, seeds)]
    alone = [rollout(one, [task], plan, [seed])[0] for task, seed in zip(tasks, seeds, strict=True)]
    assert together == [sample.image.tobytes() for sample in alone]
    plain = [sample.image.tobytes() for sample in rollout(keeping(0.0), tasks, plan, seeds)]
    assert together[0] != plain[0] and together[2] == plain[2]


def test_a_shape_that_is_no_square_is_kept_too(keeping):
    one = keeping(256)
    wide = noisy(size=(24, 12))
    ask = replace(one.plan(["image"])[0], shape=(24, 12))
    (sample,) = rollout(one, [Task((user(wide, "make it blue"),))], (ask,), [0])
    assert sample.image.tobytes() == wide.image.tobytes()


def test_levels_are_counted_from_0_to_255():
    with pytest.raises(ValueError, match="keep_below=300 is counted in levels of 255"):
        NexusConfig(keep_below=300)
    with pytest.raises(ValueError, match="keep_until=-1 is counted in levels of 255"):
        NexusConfig(keep_until=-1)


def test_a_mixture_alone_is_enough_to_keep(keeping):
    one, source = keeping(0.0), noisy(size=(16, 16))
    plain = changed(one, source)
    one.config = replace(one.config, keep_until=256)
    mixed = changed(one, source)
    assert one.config.keeps and mixed.image.tobytes() not in (plain.image.tobytes(), source.image.tobytes())


def test_it_thinks_before_a_change_where_it_was_taught_to(model):
    assert model.thinks_of("image") and not model.thinks_of("image", edits=True) and not model.thinks_of("text")
    taught = built(thinks_of_edits=True)
    assert taught.thinks_of("image", edits=True) and not taught.thinks_of("text", edits=True)
