"""A served judge that answers, dawdles, fails and babbles."""

import time

import pytest
from PIL import Image as pil

from limner.judges.endpoint import Endpoint
from limner.judges.verifier import About, Guarded, Opinion
from limner.parts import Image, Sample, Task, user


def sample(prompt="a red cat", seed=0):
    return Sample(Task((user(prompt),)), (Image(pil.new("RGB", (8, 8), "red")),), seed)


def said(text, **tokens):
    top = [{"token": token, "logprob": logprob} for token, logprob in tokens.items()]
    return {"choices": [{"message": {"content": text}, "logprobs": {"content": [{"top_logprobs": top}]}}]}


def test_the_share_of_yes_comes_from_all_cases_of_the_first_token(served, monkeypatch):
    url, seen, answers = served
    monkeypatch.setenv("OPENAI_API_KEY", "hush")
    answers.append((200, said("Yes", Yes=-1.0, yes=-2.0, No=-1.5, maybe=-0.1)))
    (opinion,) = Endpoint(url + "/", "vlm")("outcome", [sample()])
    yes, no = 2.718281828**-1 + 2.718281828**-2, 2.718281828**-1.5
    assert opinion.yes == pytest.approx(yes / (yes + no)) and opinion.says
    path, headers, body = seen[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer hush"
    picture, text = body["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,") and "a red cat" in text["text"]
    assert body["logprobs"] and body["model"] == "vlm" and body["temperature"] == 0


def test_without_probabilities_the_word_counts(served):
    url, _, answers = served
    answers += [(200, {"choices": [{"message": {"content": " No. "}}]}), (200, said("yes"))]
    opinions = Endpoint(url, "vlm", together=1)("outcome", [sample(), sample()])
    assert [o.yes for o in opinions] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, b"<html>busy</html>"), "no completion"),
        ((200, {"error": "none"}), "no completion"),
        ((200, {"choices": []}), "no completion"),
        ((200, said("perhaps")), "answered 'perhaps'"),
        ((200, {"choices": [{"message": None}]}), "TypeError"),
        ((401, b"who?"), "401"),
        ((500, b"oh"), "500"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_garbage_leaves_a_candidate_unjudged_with_the_reason(served, answer, why):
    url, _, answers = served
    answers.append(answer)
    (opinion,) = Endpoint(url, "vlm")("outcome", [sample()])
    assert opinion.yes is None and why in opinion.text and url in opinion.text


def test_what_is_late_is_tried_again_and_then_unjudged(served):
    url, seen, answers = served
    answers += [0.5, (200, said("yes"))]
    (opinion,) = Endpoint(url, "vlm", timeout=0.2)("outcome", [sample()])
    assert opinion.yes == 1.0 and len(seen) == 2
    answers[:] = [0.5]
    (opinion,) = Endpoint(url, "vlm", timeout=0.2, tries=1)("outcome", [sample()])
    assert opinion.yes is None and "in time" in opinion.text


def test_a_dead_endpoint_is_given_up_after_a_few_failures():
    begun = time.perf_counter()
    opinions = Endpoint("http://127.0.0.1:9", "vlm", together=2)("outcome", [sample()] * 200)
    assert time.perf_counter() - begun < 10 and len(opinions) == 200
    assert not any(o.judged for o in opinions) and "not asked" in opinions[-1].text and "refused" in opinions[0].text


def test_a_no_is_asked_for_its_reasons(served):
    url, seen, answers = served
    answers += [(200, said("no")), (200, said("there are two cats"))]
    (opinion,) = Endpoint(url, "vlm")("reflection", [sample()])
    assert opinion.says is False and opinion.text == "there are two cats" and len(seen) == 2
    answers[:] = [(200, said("no")), (500, b"oh"), (500, b"oh")]
    (opinion,) = Endpoint(url, "vlm")("reflection", [sample()])
    assert opinion.yes == 0.0 and "no critique" in opinion.text


def test_potential_is_asked_in_a_second_turn(served):
    url, seen, answers = served
    answers.append((200, said("yes")))
    Endpoint(url, "vlm")("potential", [sample()])
    assert [m["role"] for m in seen[0][2]["messages"]] == ["user", "assistant", "user"]


def test_impossible_endpoints_are_refused():
    for options, said_ in (({"url": "ftp://x"}, "http"), ({"timeout": 0}, "timeout=0"), ({"tries": 0}, "tries=0")):
        with pytest.raises(ValueError, match=said_):
            Endpoint(**{"url": "http://x", "model": "m", **options})


def test_a_guarded_judge_never_loses_a_picture():
    class Bad:
        about = About("bad")

        def __init__(self, result):
            self.result = result

        def __call__(self, question, samples):
            if isinstance(self.result, Exception):
                raise self.result
            return self.result

    samples = [sample(), sample()]
    for result, why in (
        (RuntimeError("out of memory"), "RuntimeError: out of memory"),
        ([Opinion(1.0)], "1 opinions on 2"),
        ([Opinion(float("nan")), Opinion(float("inf"))], "the score"),
    ):
        opinions = Guarded(Bad(result))("outcome", samples)
        assert [o.yes for o in opinions] == [None, None] and all(why in o.text for o in opinions)
    assert Guarded(Bad([Opinion(0.25)] * 2))("outcome", samples)[0].yes == 0.25
