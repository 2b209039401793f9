import random
from dataclasses import replace

import pytest
import torch

from limner.codecs.magvit import TINY, MagvitCodec
from limner.models.mmada.digits import folded, share_digits
from limner.models.showo.model import ShowO
from limner.recipes import recipe, tiny_mmada
from limner.recipes.tiny_showo import (
    Mixture,
    Phase,
    Teacher,
    _objective,
    _optimizer,
    new_model,
    take_tables,
    tiny_showo,
)
from limner.train.fit import fit
from limner.world import lessons
from limner.world.splits import FORBIDDEN

EVERY = Mixture(t2i=3, r2i=2, think=2, caption=2, match=2, question=2, lm=2)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return new_model(MagvitCodec(TINY))


def test_a_batch_has_every_task_and_is_the_same_for_the_same_seed(model):
    teacher = Teacher(model, Phase(0, EVERY))
    first, again = teacher(5), teacher(5)
    assert [piece.name for piece in first] == list(vars(EVERY))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.values, b.values) and torch.equal(a.draw.hidden, b.draw.hidden)
        assert torch.equal(a.context.given.before, b.context.given.before)
        assert a.draw.hidden.any(dim=1).all(), "a row without anything hidden teaches nothing"


def test_words_end_in_every_row_and_pictures_are_blank_half_of_the_time(model):
    teacher = Teacher(model, Phase(0, replace(EVERY, t2i=8)))
    end, blank = model.config.specials.eos, 0
    for seed in range(12):
        for piece in teacher(seed):
            if piece.kind == "image":
                blank += int(piece.draw.hidden.all(dim=1).sum())
            else:
                scored = piece.draw.hidden.sum(dim=1)
                assert (piece.values == end).any(dim=1).all()
                assert (piece.values.gather(1, scored[:, None] - 1) == end).all(), "the last scored word is the end"
    assert 0.35 * 120 < blank < 0.8 * 120


def test_half_of_the_pictures_that_are_matched_are_not_what_is_asked_for(model):
    teacher = Teacher(model, Phase(0, Mixture(match=6), several=0.5))
    said = []
    for seed in range(3):
        (piece,) = teacher(seed)
        said += model.tokenizer.decode_batch(piece.values.tolist())
    assert said.count("yes") == said.count("no") == 9


def test_words_and_codes_begin_as_in_the_tables_they_are_taken_from(model):
    other = tiny_mmada.new_model(model.codec)
    with torch.no_grad():
        other.network.norm.weight.fill_(2.0)
        other.network.embed.weight.add_(1.0)  # both begin with the same random numbers
    mine = new_model(model.codec, model.tokenizer)
    fresh = mine.network.embed.weight.detach().clone()
    rows = take_tables(mine, other)
    code, word = mine.config.text_vocabulary + 5, mine.tokenizer.token_to_id("red")
    there = other.config.text_vocabulary + 5, other.tokenizer.token_to_id("red")
    for here, beside in zip((code, word, mine.config.mask), (*there, other.config.specials.mask), strict=True):
        assert torch.equal(mine.network.embed.weight[here], other.network.embed.weight[beside])
        assert torch.equal(mine.network.head.weight[here], 2 * other.network.head.weight[beside])
    assert rows > mine.config.codes and (fresh == mine.network.embed.weight).all(dim=1).sum() == len(fresh) - rows


def test_tables_of_other_codes_are_refused(model):
    other = tiny_mmada.new_model(model.codec)
    mine = new_model(model.codec, model.tokenizer)
    mine.config = replace(mine.config, codes=mine.config.codes + 1)
    with pytest.raises(ValueError, match="cannot begin a model of"):
        take_tables(mine, other)


def test_training_never_reads_the_demonstration_riddle(model):
    teacher = Teacher(model, Phase(0, Mixture(t2i=8, r2i=8, think=8), reasoning=0.8))
    for seed in range(12):
        for piece in teacher(seed):
            for row in piece.context.given.before:
                words = model.tokenizer.decode(row.tolist(), skip_special_tokens=True)
                assert FORBIDDEN.replace(" ", "") not in words.replace(" ", "")


def test_a_few_steps_lower_the_loss_of_every_task(model):
    student = new_model(model.codec, model.tokenizer)
    share_digits(student.network, TINY.quantiser, fresh=True)
    batch = Teacher(student, Phase(0, EVERY))(1)
    optimizer = _optimizer(student, 4e-3, 0.0)
    numbers = []
    for _ in range(10):
        loss, parts = _objective(student, batch, torch.Generator())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        numbers.append(parts)
    assert all(numbers[-1][name] < 0.9 * numbers[0][name] for name in numbers[0])


def test_every_thought_and_answer_fits_the_room_given_to_it(model):
    rng, d = random.Random(1), model.config.defaults
    for group in lessons.GROUPS + lessons.TEXT:
        for _ in range(30):
            lesson = lessons.lesson(group, rng, "train", "text")
            assert len(model.renderer.thought(lesson.thought)) < d.thinking_limit
            assert len(model.renderer.ids(lesson.answer or "")) < d.text_limit


def test_two_steps_leave_a_plain_model_that_draws(tmp_path):
    run = recipe("cot.tiny_showo")
    assert run.config() == tiny_showo().config()
    fit(replace(run, steps=2, checkpoint_every=2, sample_every=0, prefetch=0), tmp_path)
    model = ShowO.load(tmp_path / "released")
    assert not [name for name in model.network.state_dict() if "parametrizations" in name]
    assert model.decode("image", torch.zeros(1, 64, dtype=torch.int64))[0].image.size == (128, 128)


def test_the_plain_network_computes_what_the_shared_one_does(model):
    student = new_model(model.codec, model.tokenizer)
    share_digits(student.network, TINY.quantiser, fresh=True)
    plain = new_model(model.codec, model.tokenizer)
    plain.network.load_state_dict(folded(student.network))
    piece = Teacher(student, Phase(0, Mixture(t2i=2)))(3)[0]
    ours, theirs = (m.process("image").log_prob(piece.context, piece.values, piece.draw) for m in (student, plain))
    torch.testing.assert_close(ours.tokens, theirs.tokens)
