import random

import numpy as np
import torch

from limner.codecs.magvit import TINY, MagvitCodec, to_pixels
from limner.recipes.naming import names
from limner.recipes.tiny_codec import from_codec, pictures, tiny_codec, tiny_codec_large_end
from limner.world.draw import render
from limner.world.scene import BACKGROUNDS, COLOURS, KINDS, arrange, random_scene


def test_names_stand_where_the_things_are():
    scene = arrange("row", [("cat", "red"), ("car", "blue")], "night")
    kinds, colours, background = names(scene)
    cat, car = 1 + list(KINDS).index("cat"), 1 + list(KINDS).index("car")
    assert kinds[4, 2] == cat and kinds[4, 5] == car
    assert colours[4, 2] == 1 + COLOURS.index("red") and colours[4, 5] == 1 + COLOURS.index("blue")
    assert kinds[0, 0] == 0 and set(np.unique(kinds)) == {0, cat, car}
    assert (background == BACKGROUNDS.index("night")).all()


def test_what_stands_inside_a_container_takes_its_codes():
    kinds = names(arrange("inside", [("box", "red"), ("star", "blue")], "plain"))[0]
    assert kinds[4, 4] == 1 + list(KINDS).index("star") and kinds[1, 1] == 1 + list(KINDS).index("box")


def test_the_tiny_codes_of_a_far_corner_do_not_depend_on_what_stands_elsewhere():
    torch.manual_seed(0)
    codec = MagvitCodec(TINY)
    drawn = [render(arrange("row", [(k, "red"), ("car", "blue")], "day"), 64) for k in ("cat", "tree", "moon")]
    codes = codec.encode(to_pixels(torch.from_numpy(np.stack(drawn))))
    assert (codes[:, :, 6:] == codes[:1, :, 6:]).all()
    assert (codes[0] != codes[1]).any()


def test_batches_depend_on_the_step_alone():
    assert torch.equal(pictures(3, 2), pictures(3, 2)) and not torch.equal(pictures(3, 2), pictures(4, 2))


def test_a_few_steps_lower_the_loss():
    run = tiny_codec()
    torch.manual_seed(0)
    model, losses = run.build(), []
    optimizer = run.optimizer(model, run.lr, run.weight_decay)
    optimizer.scale(0.3)
    for batch in (next(run.batches(0, step, 8)) for step in range(12)):
        loss, _ = run.objective(model, batch, torch.Generator())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]


def test_a_larger_decoder_starts_on_frozen_codes(tmp_path):
    MagvitCodec(TINY).save(tmp_path)
    codec = from_codec(tmp_path)
    pixels = to_pixels(torch.from_numpy(render(random_scene(random.Random(0)), 64)[None]))
    shown, _ = codec(pixels, 128)
    shown.sum().backward()
    assert shown.shape == (1, 3, 128, 128)
    assert all((p.grad is not None) == name.startswith("larger") for name, p in codec.named_parameters())


def test_a_larger_decoder_is_trained_on_from_where_it_stands(tmp_path):
    torch.manual_seed(0)
    MagvitCodec(TINY).save(tmp_path / "small")
    first = from_codec(tmp_path / "small")
    first.save(tmp_path / "large")
    again = from_codec(tmp_path / "large")
    assert all(torch.equal(own, again.state_dict()[name]) for name, own in first.state_dict().items())
    trained = {name.split(".")[0] for name, own in again.named_parameters() if own.requires_grad}
    assert trained == {"larger"} and tiny_codec_large_end(tmp_path / "large").build().larger
