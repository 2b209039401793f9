"""Replies are asked for once, kept by content, and never made up."""

import json

import pytest
from PIL import Image as pil

from limner.judges.replies import Judge, Put, judges_in, local
from limner.judges.replies import served as endpoint
from limner.judges.served import Unanswered
from limner.models.echo import Echo
from limner.parts import Image, user


def put(text="how many cats?", colour="red", rubric="r/1", attempt=0):
    return Put((user(Image(pil.new("RGB", (8, 8), colour)), text),), rubric, 20, attempt)


def counting(said):
    asked = []

    def say(conversation, limit):
        asked.append(conversation[-1].text)
        return said(len(asked))

    return say, asked


def test_the_same_question_is_asked_once_and_remembered_in_the_file(tmp_path):
    say, asked = counting(lambda n: f"reply {n}")
    judge = Judge("vlm-1", say, tmp_path / "replies.jsonl")
    first = [reply.text for reply in judge([put(), put("and dogs?"), put()])]
    assert first == ["reply 1", "reply 2", "reply 1"] and len(asked) == 2
    again = Judge("vlm-1", say, tmp_path / "replies.jsonl")
    assert [reply.text for reply in again([put(), put("and dogs?")])] == ["reply 1", "reply 2"] and len(asked) == 2
    assert again.counts == {"remembered": 2, "asked": 0, "failed": 0}


@pytest.mark.parametrize("other", [put(colour="blue"), put("who?"), put(rubric="r/2"), put(attempt=1)])
def test_whatever_a_reply_depends_on_is_in_its_key(other):
    assert put().key("a") != other.key("a") and put().key("a") != put().key("b")
    assert put().key("a") == put().key("a")


def test_replaying_needs_no_judge_and_makes_nothing_up(tmp_path):
    path = tmp_path / "replies.jsonl"
    Judge("vlm-1", counting(lambda n: "two")[0], path)([put()])
    replay = Judge(*judges_in(path), None, path)
    known, unknown = replay([put(), put("and dogs?")])
    assert known.text == "two" and unknown.text is None and "holds no reply of vlm-1" in unknown.why
    with pytest.raises(ValueError, match="a run that was judged"):
        judges_in(tmp_path / "nowhere.jsonl")


def test_a_failure_is_not_kept_and_is_asked_again(tmp_path):
    def say(conversation, limit):
        raise Unanswered("no text")

    path = tmp_path / "replies.jsonl"
    (reply,) = Judge("vlm-1", say, path)([put()])
    assert reply.text is None and reply.why == "no text" and not path.exists()
    assert Judge("vlm-1", lambda c, n: "two", path)([put()])[0].text == "two"


def test_a_dead_judge_is_given_up_after_a_few(tmp_path):
    calls = []

    def say(conversation, limit):
        calls.append(1)
        raise OSError("gone")

    found = Judge("vlm-1", say, tmp_path / "r.jsonl")([put(f"question {i}") for i in range(50)])
    assert len(calls) == 3 and found[-1].why == "not asked, because 3 in a row had no answer (OSError: gone)"


def test_a_torn_line_of_a_run_that_was_killed_is_asked_for_again(tmp_path):
    path, whole = tmp_path / "torn.jsonl", tmp_path / "whole.jsonl"
    some = [put(f"question {i}") for i in range(4)]
    for each in (path, whole):
        Judge("vlm-1", lambda c, n: c[-1].text.upper(), each)(some)
    for left in (0, 1, 100, len(path.read_bytes()) - 1):
        path.write_bytes(whole.read_bytes()[:left])
        Judge("vlm-1", lambda c, n: c[-1].text.upper(), path)(some)
        assert path.read_bytes() == whole.read_bytes()


def test_a_served_judge_is_asked_at_temperature_nought_with_the_picture(tmp_path, served):
    url, seen, answers = served
    answers.append(lambda body: f"tokens {body['max_tokens']}")
    (reply,) = Judge("vlm", endpoint(url, "vlm"), tmp_path / "r.jsonl")([put()])
    assert reply.text == "tokens 20"
    assert seen[0][2]["temperature"] == 0 and seen[0][2]["messages"][0]["content"][0]["type"] == "image_url"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (3.0, "no answer in time"),
        ((500, b"oh"), "it answered 500"),
        ((200, b"<html>busy</html>"), "no completion"),
        ((200, {"choices": [{"message": None}]}), "holds no text"),
        ((200, {"choices": [{"message": {"content": None}}]}), "holds no text"),
    ],
    ids=["late", "500", "garbage", "no message", "no text"],
)
def test_what_an_endpoint_does_wrong_is_a_reason_and_no_reply(tmp_path, served, answer, why):
    url, _, answers = served
    answers.append(answer)
    (reply,) = Judge("vlm", endpoint(url, "vlm", timeout=1.0, tries=1), tmp_path / "r.jsonl")([put()])
    assert reply.text is None and why in reply.why


def test_a_busy_endpoint_is_tried_again(tmp_path, served):
    url, seen, answers = served
    answers += [(503, b"busy"), 3.0, lambda body: "two"]
    (reply,) = Judge("vlm", endpoint(url, "vlm", timeout=1.0, tries=3), tmp_path / "r.jsonl")([put()])
    assert reply.text == "two" and len(seen) == 3


def test_a_model_in_this_process_replies_in_its_own_words(tmp_path):
    (reply,) = Judge("echo", local(Echo()), tmp_path / "r.jsonl")([put()])
    assert reply.text and json.loads((tmp_path / "r.jsonl").read_text())["reply"] == reply.text
