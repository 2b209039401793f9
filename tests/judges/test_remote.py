"""A judge behind HTTP says what the judge itself says; what goes wrong is never a score."""

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from PIL import Image as pil

from limner.judges.named import find_verifier
from limner.judges.remote import Remote, sample_from_json, sample_to_json, server
from limner.judges.verifier import About, Opinion
from limner.parts import Image, Sample, Task, Text, Thinking, user


class Redness:
    """How red the last picture is; knows nothing of samples without one."""

    about = About("redness", metric="red")

    def __init__(self):
        self.asked = []

    def __call__(self, question, samples):
        self.asked.append((question, len(samples)))
        return [
            Opinion(None, text="no picture") if each.image is None else Opinion(each.image.getpixel((0, 0))[0] / 255)
            for each in samples
        ]


@contextmanager
def serving(verifier):
    with server(verifier) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_address[1]}"
        finally:
            served.shutdown()
            thread.join()


def sample(red):
    task = Task((user(Image(pil.new("RGB", (3, 2), "blue")), "redder"),), {"n": 1}, id="x")
    return Sample(task, (Thinking("hm"), Image(pil.new("RGB", (4, 4), (red, 0, 0)), (1, 2))), progress=0.5)


WORDLESS = Sample(Task((user("x"),)), (Text("y"),))


def test_a_sample_survives_the_schema():
    again = sample_from_json(json.loads(json.dumps(sample_to_json(sample(9)))))
    assert again == sample(9)
    assert sample_from_json({"prompt": [{"role": "user", "content": "x"}], "reply": []}).progress == 1.0


def test_the_served_judge_says_what_the_judge_says():
    judge = Redness()
    samples = [*(sample(red) for red in range(0, 200, 10)), WORDLESS]
    with serving(judge) as url:
        remote = find_verifier(f"reward:{url}/")
        assert remote("outcome", samples) == judge("outcome", samples)
        assert Remote(url).about == About("redness", metric="red")
    assert [number for _, number in judge.asked[:2]] == [16, 5]  # a few at a time


def test_what_is_no_question_is_refused_with_a_reason():
    with serving(Redness()) as url:
        for path, body, status, reason in (
            ("judge", b"{", 400, "no question of the schema"),
            ("judge", b'{"question": "why", "samples": []}', 400, "is not one of: clarity"),
            ("judge", b'{"samples": [{"reply": []}]}', 400, "prompt"),
            ("score", b"{}", 404, "POST /judge"),
        ):
            with pytest.raises(urllib.error.HTTPError) as told:
                urllib.request.urlopen(f"{url}/{path}", body, timeout=10)
            with told.value as error:
                assert error.code == status and reason in json.loads(error.read())["error"]


class Broken:
    """A judge that gives back what it is told to."""

    about = About("broken")

    def __init__(self, opinions):
        self.opinions = opinions

    def __call__(self, question, samples):
        return self.opinions


@pytest.mark.parametrize(
    ("opinions", "reason"),
    [([Opinion(0.5)], "1 verdicts for 2 samples"), ([Opinion("x", 0.0, False), Opinion(0.5)], "'x' is no number")],
)
def test_a_judge_that_answers_nonsense_leaves_samples_unjudged(opinions, reason):
    with serving(Broken(opinions)) as url:
        found = Remote(url)("outcome", [sample(1), sample(2)])
    assert [each.yes for each in found] == [None, None] and all(reason in each.text for each in found)


def test_a_judge_that_is_gone_leaves_samples_unjudged():
    with serving(Redness()) as url:
        remote = Remote(url, tries=1, timeout=5)
    (found,) = remote("outcome", [sample(1)])
    assert found.yes is None and url in found.text
    with pytest.raises(ValueError, match="no judge answers at"):
        Remote(url, tries=1)
    with pytest.raises(ValueError, match="must begin with http"):
        Remote("localhost:80")
