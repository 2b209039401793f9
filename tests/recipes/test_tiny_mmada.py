import random

import pytest
import torch

from limner.codecs.magvit import TINY, MagvitCodec
from limner.models.mmada.digits import digit_features, folded, share_digits
from limner.models.mmada.model import MMaDA
from limner.models.mmada.tokenizer import CLOSE
from limner.recipes.tiny_mmada import (
    halfway,
    new_model,
    tiny_stage_two,
    tiny_stage_two_ask,
    tiny_stage_two_direct,
    tiny_stage_two_end,
    tiny_stage_two_look,
    tiny_stage_two_polish,
)
from limner.recipes.tiny_mmada_data import ANSWER, THOUGHT, Mixture, Phase, drawn, teacher_of
from limner.world import lessons, questions, say
from limner.world.content import random_content
from limner.world.splits import FORBIDDEN, known_content, may_train


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return new_model(MagvitCodec(TINY))


def test_sharing_digits_of_a_trained_network_changes_nothing_and_folds_back(model):
    ids, kept = torch.randint(0, 300, (2, 9)), torch.ones(2, 9, dtype=torch.bool)
    before = model.network(ids, kept)
    other = new_model(model.codec, model.tokenizer)
    other.network.load_state_dict(model.network.state_dict())
    share_digits(other.network, TINY.quantiser, fresh=False)
    assert torch.allclose(other.network(ids, kept), before, atol=1e-6)
    with torch.no_grad():
        for shared in (other.network.embed, other.network.head):
            shared.parametrizations.weight[0].mix.normal_()
    changed = other.network(ids, kept)
    assert not torch.allclose(changed, before)
    plain = new_model(model.codec, model.tokenizer)
    plain.network.load_state_dict(folded(other.network))
    assert torch.allclose(plain.network(ids, kept), changed)


def test_codes_with_a_digit_in_common_share_its_feature():
    features = digit_features(TINY.quantiser)
    levels = TINY.quantiser.levels
    assert features.shape == (TINY.quantiser.num_codes, sum(levels) + len(levels))
    assert (features[:, : sum(levels)].sum(dim=1) == len(levels)).all()
    first = features[0, : sum(levels)]
    assert float(first @ features[1, : sum(levels)]) == len(levels) - 1, "code 1 differs from code 0 in one digit"


def test_a_batch_has_every_task_and_is_the_same_for_the_same_seed(model):
    teacher = teacher_of(model, Phase(0, Mixture(t2i=3, r2i=2, think=2, caption=2, question=2, lm=2), 0.3, 0.5, 0.5))
    first, again = teacher(5), teacher(5)
    assert [piece.name for piece in first] == ["t2i", "r2i", "think", "caption", "question", "lm"]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.values, b.values) and torch.equal(a.draw.hidden, b.draw.hidden)
        assert torch.equal(a.context.given.before, b.context.given.before)
        assert a.draw.hidden.any(dim=1).all(), "a row without anything hidden teaches nothing"


def test_answers_come_after_thoughts_and_after_what_is_seen(model):
    mixture = Mixture(think=2, said=3, looks=4, seen=5, told=6)
    pieces = {piece.name: piece for piece in teacher_of(model, Phase(0, mixture, unread=1.0))(3)}
    assert {name: len(piece.values) for name, piece in pieces.items()} == {
        "think": 5, "said": 3, "looks": 4, "seen": 5, "told": 6
    }  # fmt: skip
    assert [pieces[name].kind for name in ("think", "said", "looks", "seen", "told")] == [
        "thinking", "text", "thinking", "text", "text"
    ]  # fmt: skip
    assert all(pieces[name].draw.hidden.all() for name in ("looks", "seen", "told")), "unread=1 hides every word"
    # where an answer follows a thought, the thought is read; where the thought is learned, it is not
    for name, thoughts in (("said", 1), ("seen", 1), ("told", 1), ("looks", 0)):
        marks = (pieces[name].context.given.before == model.tokenizer.token_to_id(CLOSE)).sum(dim=1)
        assert (marks == thoughts).all(), name
    seen = [part.text for part in model.decode("thinking", pieces["looks"].values)]
    assert all(say.plan_of(text) is not None for text in seen), "what is seen is a plan"


def test_three_things_come_as_often_as_a_phase_asks_for(model):
    def share(trios):
        teacher = teacher_of(model, Phase(0, Mixture(), several=1.0, tangled=1.0, trios=trios))
        some = [teacher._lesson(random.Random(seed), "picture").content for seed in range(120)]
        assert all(may_train(content) for content in some)
        return sum(content.layout == "trio" for content in some) / 120

    assert share(0.0) < 0.4 < 0.5 < share(0.7) < share(1.0) == 1.0


def test_a_phase_says_what_is_asked_of_pictures_and_what_lies_inside_what(model):
    teacher = teacher_of(model, Phase(0, Mixture(), several=1.0, tangled=1.0, inside=1.0, topics=("is_placed",)))
    rng = random.Random(1)
    assert {drawn(teacher._lesson(rng, "picture")).layout for _ in range(20)} == {"inside"}
    for _ in range(20):
        content, (question, answer) = teacher._question(rng)
        assert content.layout != "copies" and question.startswith("is the ") and answer in ("yes", "no")
    topics = {questions.ask(known_content(rng), rng)[0].split()[0] for _ in range(60)}
    assert len(topics) > 2, "without topics all that fit are asked"


@pytest.mark.parametrize(
    "stage",
    [
        tiny_stage_two,
        tiny_stage_two_end,
        tiny_stage_two_look,
        tiny_stage_two_ask,
        tiny_stage_two_polish,
        tiny_stage_two_direct,
    ],
)
def test_a_stage_goes_on_from_the_weights_of_the_one_before(stage, model, tmp_path):
    model.save(tmp_path / "before")
    run = stage(tmp_path / "before", tmp_path / "before" / "codec")
    plain = new_model(model.codec, model.tokenizer)
    plain.network.load_state_dict(folded(run.build().network))
    own = model.network.state_dict()
    assert all(torch.allclose(value, own[name], atol=1e-6) for name, value in plain.network.state_dict().items())
    with pytest.raises(ValueError, match="no .*nothing; train"):
        stage(tmp_path / "nothing").build()


def test_training_never_reads_the_demonstration_riddle_nor_a_held_out_content(model):
    teacher = teacher_of(model, Phase(0, Mixture(t2i=8, think=24, lm=8, said=8), 0.3, 0.6, 0.5))
    for seed in range(20):
        for piece in teacher(seed):
            for row in piece.context.given.before:
                words = model.tokenizer.decode(row.tolist(), skip_special_tokens=True)
                assert FORBIDDEN.replace(" ", "") not in words.replace(" ", "")
    rng = random.Random(0)
    assert all(may_train(known_content(rng)) for _ in range(200))


def test_a_few_steps_lower_the_loss_of_every_task(model):
    from limner.recipes.tiny_mmada import _objective, _optimizer

    student = new_model(model.codec, model.tokenizer)
    share_digits(student.network, TINY.quantiser, fresh=True)
    batch = teacher_of(student, Phase(0, Mixture(t2i=4, think=4, caption=2, lm=2), 0.5))(1)
    optimizer = _optimizer(student, 2e-3, 0.0)
    numbers = []
    for _ in range(12):
        loss, parts = _objective(student, batch, torch.Generator())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        numbers.append(parts)
    assert all(numbers[-1][name] < 0.9 * numbers[0][name] for name in numbers[0])


def test_every_thought_and_answer_fits_the_room_given_to_it(model):
    rng = random.Random(1)
    longest_thought = longest_answer = 0
    for group in lessons.GROUPS + lessons.TEXT:
        for _ in range(150):
            lesson = lessons.lesson(group, rng, "train", "text")
            longest_thought = max(longest_thought, len(model.renderer.thought(lesson.thought)))
            longest_answer = max(longest_answer, len(model.renderer.ids(lesson.answer or "")))
    for _ in range(2000):
        content = random_content(rng)
        _, answer = questions.ask(content, rng)
        for said in (say.plan(content), answer):
            longest_answer = max(longest_answer, len(model.renderer.ids(said)))
    assert longest_thought < THOUGHT and longest_answer < ANSWER, "an end token must fit behind it"


def test_rows_of_like_length_come_together_and_every_length_as_often_as_it_is_drawn(model):
    def lengths(buckets, seeds):
        teacher = teacher_of(model, Phase(0, Mixture(think=8), reasoning=0.6))
        rows = []
        for seed in seeds:
            rng = random.Random(seed)
            some = teacher._lessons(rng, 8, "text", lambda s: len(s.thought)) if buckets else []
            some = some or [teacher._lesson(rng, "text") for _ in range(8)]
            rows.append([len(s.thought) for s in some])
        return rows

    sorted_rows, plain_rows = lengths(True, range(150)), lengths(False, range(150))
    spread = [max(row) - min(row) for row in sorted_rows]
    assert sum(spread) < 0.5 * sum(max(row) - min(row) for row in plain_rows)
    mean = [sum(map(sum, rows)) / (8 * len(rows)) for rows in (sorted_rows, plain_rows)]
    assert mean[0] == pytest.approx(mean[1], rel=0.1)


def test_thoughts_are_tight_mostly_and_have_all_the_room_of_sampling_sometimes(model):
    teacher = teacher_of(model, Phase(0, Mixture(think=4), reasoning=0.6))
    end = model.config.specials.eos
    tight, roomy = 0, 0
    for seed in range(60):
        values = teacher(seed)[0].values
        ends = (values == end).sum(dim=1)
        assert (ends >= 1).all(), "every thought teaches its end"
        tight += int(ends.min()) == 1
        roomy += values.shape[1] == THOUGHT
    assert tight > 30 and roomy > 3


def test_a_stage_may_release_what_lies_halfway_between_its_begin_and_its_end(model, tmp_path):
    model.save(tmp_path / "before")
    later = new_model(model.codec, model.tokenizer)
    later.network.load_state_dict({name: value + 2 for name, value in model.network.state_dict().items()})
    share_digits(later.network, TINY.quantiser, fresh=False)
    halfway(tmp_path / "before")(later, tmp_path / "released")
    between = MMaDA.load(tmp_path / "released").network.state_dict()
    for name, value in model.network.state_dict().items():
        assert torch.allclose(between[name], value + 1, atol=2e-2), name  # it is saved in bfloat16
