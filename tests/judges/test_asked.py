"""A model asked yes or no: exact shares from logits, unjudged where it cannot be asked."""

from dataclasses import replace

import pytest
import torch
from PIL import Image as pil

import limner
from limner.algorithms.verify.policies import orm
from limner.algorithms.verify.search import Ledger, Searcher, jobs_of
from limner.judges.asked import Asked, Wording, YesNo, asked_for, conversation, read_about, save_about
from limner.judges.verifier import About, Guarded
from limner.models.echo import Echo
from limner.parts import Ask, Image, Sample, Task, Text, user
from limner.process.base import Draw
from limner.turn import log_prob, opening, rollout

TASK = Task((user("a red cat"),))
PLAIN = Wording(
    outcome="is there {prompt}?",
    clarity="is there a cat?",
    potential="is there {prompt}?",
    step="is there {prompt}?",
    reflection="is there a cat?",
    critique="what is in the picture?",
)


@pytest.fixture(scope="module")
def tiny():
    return limner.load("tiny-mmada").model


def sample(colour="red", task=TASK):
    return Sample(task, (Image(pil.new("RGB", (64, 64), colour)),), 3, 0.5)


def test_the_share_is_exact_and_the_cases_are_summed():
    log = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    assert float(YesNo((0, 1), (2,)).share(log)) == pytest.approx(0.5)
    assert float(YesNo((3,), (2, 1)).share(log)) == pytest.approx(4 / 9)


def test_the_opening_is_the_first_value_s_likelihood(tiny):
    put = [conversation(PLAIN, "outcome", sample()), conversation(PLAIN, "outcome", sample("blue"))]
    logs = opening(tiny, put, 2)
    for word in ("yes", "no"):
        values = tiny.encode([Text(word)])
        drawn = [Draw(torch.ones(2, values.shape[1], dtype=torch.bool), torch.ones(2))]
        scored = log_prob(tiny, [Sample(Task(p), (Text(word),)) for p in put], drawn)[0]
        torch.testing.assert_close(logs[:, int(values[0, 0])], scored.tokens[:, 0].detach(), rtol=1e-4, atol=1e-5)


def test_words_from_left_to_right_open_alike():
    model = Echo()
    logs = opening(model, [(user("yes"),), (user("no way"),)])
    context = model.context([(user("yes"),)], [()], Ask("text", limit=2))
    first = model.process("text").net(context.given.before, context.given.kept, context.given)[0, -1].log_softmax(-1)
    torch.testing.assert_close(logs[0], first.detach())


def test_a_model_answers_for_every_row_as_it_would_alone(tiny):
    verifier = Asked(tiny, PLAIN)
    samples = [sample(), sample("blue"), sample("white", Task((user("three yellow stars at night"),)))]
    for question in ("outcome", "clarity", "potential", "step"):
        together = [o.yes for o in verifier(question, samples)]
        alone = [verifier(question, [s])[0].yes for s in samples]
        assert together == pytest.approx(alone, abs=1e-5)
        assert all(0 < yes < 1 for yes in together)
    assert [o.yes for o in replace(verifier, rows=1)("outcome", samples)] == pytest.approx(
        [o.yes for o in verifier("outcome", samples)], abs=1e-5
    )


def test_a_verifier_that_thinks_answers_behind_its_thought(tiny):
    thinking = Asked(tiny, PLAIN, thinks=("outcome",))
    (opinion,) = thinking("outcome", [sample()])
    put = conversation(PLAIN, "outcome", sample())
    (made,) = rollout(tiny, [Task(put)], tiny.plan(("thinking",)), [3])
    assert opinion.text == made.thinking
    behind = YesNo.of(tiny).share(opening(tiny, [put], 2, [made.reply]))
    assert opinion.yes == pytest.approx(float(behind[0])) != Asked(tiny, PLAIN)("outcome", [sample()])[0].yes
    assert thinking("clarity", [sample()]) == Asked(tiny, PLAIN)("clarity", [sample()])
    with pytest.raises(ValueError, match="fast"):
        Asked(tiny, PLAIN, thinks=("outcome",), fast="warp")("outcome", [sample()])


def test_potential_is_a_second_turn_and_the_prompt_stands_in_the_question():
    assert asked_for(sample()) == "a red cat"
    turns = conversation(PLAIN, "potential", sample())
    assert [turn.role for turn in turns] == ["user", "assistant", "user"] and turns[1].text == "yes"
    assert turns[2].text == "is there a red cat?"
    (single,) = conversation(replace(PLAIN, follows=False), "potential", sample())
    assert single.text == "is there a red cat?"


def test_what_cannot_be_asked_is_not_judged(tiny):
    strange = sample(task=Task((user("a zeppelin"),)))
    empty = Sample(TASK, ())
    opinions = Asked(tiny, PLAIN)("outcome", [strange, sample(), empty])
    assert [o.judged for o in opinions] == [False, True, False]
    assert "zeppelin" in opinions[0].text and "no picture" in opinions[2].text


def test_a_no_comes_with_a_critique_in_words(tiny):
    opinions = Asked(tiny, PLAIN)("reflection", [sample(), sample("blue")])
    for opinion in opinions:
        assert opinion.judged and bool(opinion.text) == (not opinion.says)


def test_a_model_without_a_value_for_yes_says_so():
    with pytest.raises(ValueError, match="does not write yes and no"):
        YesNo.of(Echo())
    chances = Asked(Echo(), likely=lambda put: torch.full((len(put),), 0.25, dtype=torch.float64))
    assert [o.yes for o in chances("outcome", [sample()])] == [0.25]


def test_how_a_verifier_is_asked_stands_beside_its_weights(tmp_path):
    assert read_about(tmp_path) == {}
    about = About("tiny orm", "scenes", "world")
    save_about(tmp_path, PLAIN, about, 3, ("outcome",), "factor")
    told = {"wording": PLAIN, "about": about, "length": 3, "thinks": ("outcome",), "fast": "factor"}
    assert read_about(tmp_path) == told
    (tmp_path / "verifier.json").write_text('{"wording": 3}')
    with pytest.raises(ValueError, match="does not describe a verifier"):
        read_about(tmp_path)


def test_codes_of_another_codec_are_not_taken_for_its_own(tiny):
    own = tiny.decode("image", torch.arange(64)[None])[0]
    other = Image(own.image, tuple(reversed(own.raw)))
    plain = Image(own.image)
    found = {}
    for name, part in (("own", own), ("other", other), ("plain", plain)):
        (found[name],) = Asked(tiny, PLAIN)("outcome", [Sample(TASK, (part,))])
    assert found["other"].yes == found["plain"].yes
    assert Asked(tiny)._same_codes([Sample(TASK, (own,))]) and not Asked(tiny)._same_codes([Sample(TASK, (other,))])
    assert not Asked(tiny)._same_codes([Sample(TASK, (Image(own.image, (10**6,) * 64),))])


def test_a_model_that_reads_codes_sees_no_picture_before_the_chosen_one(tiny):
    verifier, plan = Asked(tiny, PLAIN), tuple(replace(ask, steps=2) for ask in tiny.plan(["image"]))
    assert verifier.reads_codes(tiny) and not verifier.reads_codes(Echo())
    jobs = jobs_of([TASK], 3, [0])
    bare, whole = Ledger(), Ledger()
    (found,) = Searcher(tiny, plan, Guarded(verifier), orm(), ledger=bare).search(jobs)
    (same,) = Searcher(tiny, plan, lambda q, s: verifier(q, s), orm(), ledger=whole).search(jobs)
    assert found.sample == same.sample and found.sample.image.size != (1, 1)
    assert found.opinion.yes == pytest.approx(same.opinion.yes, abs=1e-6)
    assert (bare.decodes, whole.decodes) == (1, 3)
