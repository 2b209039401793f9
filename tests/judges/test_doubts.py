"""The generator's own doubts: smudges are doubted, and nothing but generator and codec is asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as pil

import limner
from limner.algorithms.verify.policies import orm, parm
from limner.algorithms.verify.search import Ledger, Searcher, jobs_of
from limner.judges.doubts import FINISHED, HALF_MADE, Doubts, Weights
from limner.judges.named import find_verifier
from limner.judges.verifier import Guarded
from limner.models.echo import Echo
from limner.parts import Image, Sample, Task, Text, user
from limner.turn import rollout

PROMPTS = ("a red cat", "two blue dogs", "three red apples", "a yellow star above a green tree")


@pytest.fixture(scope="module")
def model():
    return limner.load("tiny-show-o").model


@pytest.fixture(scope="module")
def drawn(model):
    tasks = [Task((user(prompt),)) for prompt in PROMPTS]
    return rollout(model, tasks, model.plan(("image",)), list(range(len(tasks))))


def broken(model, sample, number=10):
    """The same picture with ``number`` codes next to each other drawn anew at random."""
    codes = model.encode([sample.reply[-1]])
    codes[0, 20 : 20 + number] = torch.randint(0, 1728, (number,), generator=torch.Generator().manual_seed(sample.seed))
    return replace(sample, reply=tuple(model.decode("image", codes)))


def test_what_neither_generator_nor_codec_would_draw_is_doubted(model, drawn):
    wrong = [broken(model, sample) for sample in drawn]
    doubts = Doubts(model)
    for good, bad in zip(doubts("outcome", drawn), doubts("outcome", wrong), strict=True):
        assert good.yes > bad.yes
    for unlikely, redrawn in (doubts.measured(drawn), doubts.measured(wrong)):
        assert (unlikely <= 0).all() and ((redrawn >= 0) & (redrawn <= 1)).all()
    assert (doubts.measured(drawn)[0] > doubts.measured(wrong)[0]).all()
    assert (doubts.measured(drawn)[1] < doubts.measured(wrong)[1]).all()


def test_the_prompt_counts(model, drawn):
    # what was asked stands in front of the codes: the same picture is less likely behind another prompt
    other = [replace(sample, task=Task((user("a purple house"),))) for sample in drawn]
    certain = Doubts(model, draws=4)
    assert float(certain.measured(drawn)[0].mean()) > float(certain.measured(other)[0].mean())


def test_alone_or_together_again_and_in_small_batches_the_answers_are_the_same(model, drawn):
    together = [opinion.yes for opinion in Doubts(model)("outcome", drawn)]
    assert together == [opinion.yes for opinion in Doubts(model)("outcome", drawn)]
    alone = [Doubts(model)("outcome", [sample])[0].yes for sample in drawn]
    small = [opinion.yes for opinion in Doubts(model, rows=3)("outcome", drawn)]
    assert alone == pytest.approx(together, abs=1e-5)
    assert small == pytest.approx(together, abs=1e-5)


def test_codes_alone_are_enough_and_pixels_alone_too(model, drawn):
    bare = [replace(s, reply=(Image(pil.new("RGB", (1, 1)), s.reply[-1].raw),)) for s in drawn]
    assert Doubts(model).reads_codes(model) and not Doubts(model).reads_codes(Echo())
    seen, unseen = (Doubts(model)("outcome", some) for some in (drawn, bare))
    assert [o.yes for o in seen] == [o.yes for o in unseen]
    shown = [replace(s, reply=(Image(s.image),)) for s in drawn]  # from a file: its codes are the codec's own
    assert all(0 < opinion.yes < 1 for opinion in Doubts(model)("outcome", shown))


def test_half_made_pictures_have_weights_of_their_own_and_are_clear_from_a_quarter_of_the_steps(model, drawn):
    early, late = ([replace(s, progress=share) for s in drawn] for share in (0.2, 0.3))
    doubts = Doubts(model, half_made=Weights(0.0, 0.0, 0.0))
    assert [o.yes for o in doubts("clarity", early)] == [0.0] * 4
    assert [o.yes for o in doubts("clarity", late)] == [1.0] * 4
    assert [o.yes for o in doubts("potential", late)] == [0.5] * 4
    assert HALF_MADE != FINISHED


def test_policies_choose_by_doubts(model):
    plan = tuple(replace(ask, steps=4) for ask in model.plan(("image",)))
    for policy in (orm(), parm(begin=0.5, within=0.6, fewest=2)):
        jobs = jobs_of([Task((user("a red cat"),))], 3, [0])
        (found,) = Searcher(model, plan, find_verifier("doubts", model), policy, ledger=Ledger()).run(jobs)
        assert found.sample.image is not None and found.choice.path in (0, 1, 2)


def test_what_cannot_be_doubted_is_said(model, drawn):
    with pytest.raises(ValueError, match="there is no picture to doubt"):
        Doubts(model)("outcome", [Sample(Task((user("a red cat"),)), (Text("no"),))])
    flow = limner.load("tiny-mindomni").model
    shown = [Sample(Task((user("a red cat"),)), (Image(pil.fromarray(np.zeros((64, 64, 3), np.uint8))),))]
    (opinion,) = Guarded(Doubts(flow))("outcome", shown)
    assert not opinion.judged and "mindomni draws no codes that could be hidden" in opinion.text
    with pytest.raises(ValueError, match="doubts are the generator's, and there is none here"):
        find_verifier("doubts")
