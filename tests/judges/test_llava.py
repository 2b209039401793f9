"""The published reward model as a verifier, with small random weights and a small vocabulary."""

from pathlib import Path

import pytest
import torch
from PIL import Image as pil
from tokenizers import Tokenizer, models, pre_tokenizers

from limner.judges.llava import Llava
from limner.judges.official import filtered
from limner.models.llava.network import load
from limner.models.llava.render import question
from limner.parts import Image, Sample, Task, user

DATA = Path(__file__).parents[1] / "parity" / "data" / "image-generation-cot" / "llava_onevision_tiny"


@pytest.fixture(scope="module")
def looker():
    looker = load(DATA, dtype=torch.float32)
    words = ["?", "yes", "no", "Yes", "No", "YES", "cat", "red", "image", "<|im_end|>"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    looker.tokenizer = tokenizer
    return looker


def sample(seed=0, colour="red"):
    return Sample(Task((user("a red cat"),)), (Image(pil.new("RGB", (48, 48), colour)),), seed)


def test_probabilities_are_exact_over_all_cases(looker):
    judge = Llava(looker)
    for name in ("outcome", "clarity", "potential"):
        (opinion,) = judge(name, [sample()])
        before, behind = looker.ids(question(name, "a red cat"))
        chances = looker.next_word(before, looker.features(sample().image), behind).double().softmax(-1)
        yes, no = float(chances[[1, 3, 5]].sum()), float(chances[[2, 4]].sum())
        assert opinion.yes == pytest.approx(yes / (yes + no))


def test_features_are_computed_once_a_picture(looker, monkeypatch):
    calls = []
    real = type(looker).features
    monkeypatch.setattr(type(looker), "features", lambda self, picture: calls.append(1) or real(self, picture))
    judge = Llava(looker, remembered=1)
    for name in ("clarity", "potential", "outcome"):
        judge(name, [sample()])
    assert len(calls) == 1
    judge("outcome", [sample(colour="blue"), sample()])
    assert len(calls) == 3


def test_the_official_answer_is_sampled_and_filtered(looker):
    judge = Llava(looker, official=True)
    looker.sampling = {"top_k": 20, "top_p": 0.8}
    before, behind = looker.ids(question("outcome", "a red cat"))
    chances = filtered(looker.next_word(before, looker.features(sample().image), behind))
    answers = [judge("outcome", [sample(seed)])[0] for seed in range(6)]
    assert {a.yes for a in answers} <= {float(chances[1]), 0.0}
    assert [a.yes for a in answers] == [judge("outcome", [sample(seed)])[0].yes for seed in range(6)]
    assert {judge("potential", [sample(seed)])[0].no for seed in range(6)} <= {50.0, float(chances[2]), 0.0, 1.0}


def test_a_no_comes_with_words_and_nothing_to_see_is_not_judged(looker):
    judge = Llava(looker)
    assert not judge("outcome", [Sample(Task((user("x"),)), ())])[0].judged
    for colour in ("red", "blue", "white"):
        (opinion,) = judge("reflection", [sample(colour=colour)])
        assert isinstance(opinion.text, str) and opinion.judged


def test_a_tokenizer_without_yes_is_refused():
    other = load(DATA, dtype=torch.float32)
    with pytest.raises(ValueError, match="without its tokenizer"):
        Llava(other)
    other.tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    with pytest.raises(ValueError, match="one token each"):
        Llava(other)
