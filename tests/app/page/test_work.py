"""A job as the page follows it."""

import pytest

from limner.app.page.session import Session
from limner.app.page.work import Work
from limner.app.serve.engine import Engine
from limner.app.serve.jobs import Choosing
from limner.request import Request


@pytest.fixture
def engine(echo):
    made = Engine(echo)
    yield made
    made.close()


def test_all_that_is_seen_ends_with_the_answers(engine, echo):
    work = Work(engine, Request("generate", "a cat", True), (4, 5))
    thoughts = {each.words.get((0, "thinking"), "") for each in work}
    assert "a cat" in thoughts and work.steps == 4 and set(work.pictures) == {0, 1}
    assert not work.stopped and work.count == 2
    for row, seed in enumerate((4, 5)):
        alone = echo.generate("a cat", seed=seed)
        assert work.answers[row].reply == alone.reply and work.answers[row].request == alone.request


def test_a_choice_has_looks(engine):
    work = Work(engine, Request("generate", "three red apples", True), (0,), Choosing("orm", 3, "scenes"))
    assert list(work) and work.count == 3
    assert {event.path for event in work.looks if event.kind == "look"} == {0, 1, 2} and len(work.answers) == 1


def test_what_is_stopped_ends_and_is_given_up(engine):
    work = Work(engine, Request("generate", "a cat", True), (0,))
    work.stop()
    list(work)
    assert work.stopped and work.job.gone and work.answers == {}


def test_what_cannot_be_made_is_refused(engine):
    with pytest.raises(ValueError, match="size=128"):
        list(Work(engine, Request("generate", "a cat", True, size=128), (0,)))


def test_a_sessions_files_go_with_it(echo):
    session = Session()
    answer = echo.generate("a cat")
    path = session.keep(answer)
    folder = session.folder
    assert path.endswith("a-cat-0.png") and session.made[0].caption == "a cat (seed 0)"
    assert session.file(answer.image) == session.file(answer.image)
    session.close()
    assert not folder.exists()
