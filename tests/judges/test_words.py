import pytest

from limner.judges.base import weigh
from limner.judges.words import boxed, number, right_answer, same_answer, well_formed
from limner.parts import Image, Sample, Task, Text, Thinking, user


def sample(*parts, **facts):
    return Sample(Task((user("x"),), facts), parts)


@pytest.mark.parametrize(
    "said, wanted, same",
    [
        ("18", "18", True),
        ("The answer is 1,200.", "1200", True),
        ("so 3 + 4 = 7", "7", True),
        ("so 7 = 3 + 4", "7", False),
        ("50%", "0.5", True),
        ("-3/4", "-0.75", True),
        ("about \\boxed{\\frac{1}{2}} or 3", "\\frac{1}{2}", True),
        ("It is a Cat.", "a cat", False),
        ("A Cat.", "a cat", True),
        ("The answer is (B)", "B", True),
        ("A or B", "A", False),
        ("B, a red cat", "A", False),
        ("", "7", False),
        ("5/0", "5", False),
    ],
)
def test_answers_are_compared_by_what_they_mean(said, wanted, same):
    assert same_answer(said, wanted) == same


def test_the_last_box_and_the_last_number_count():
    assert boxed("\\boxed{1} and \\boxed{a{b}c}") == "a{b}c" and boxed("\\boxed{open") is None
    assert number("1 2 3.50") == 7 / 2 and number("none") is None


def test_a_right_answer_is_one_and_a_task_without_an_answer_cannot_be_judged():
    samples = [sample(Text("7"), answer=7), sample(Text("8"), answer="7"), sample(Text("7")), sample(answer="7")]
    verdicts = right_answer()(samples)
    assert [v.score for v in verdicts] == [1.0, 0.0, None, 0.0] and "wanted 7" in verdicts[1].why
    assert right_answer()([sample(Text("cat"), answer=["dog", "cat"])])[0].score == 1.0


def test_the_form_is_a_thought_that_ends_and_something_after_it():
    thought = Thinking("so, a cat", (1, 2))
    judge = well_formed(closed=lambda t: t.raw is not None and 2 in t.raw)
    replies = [
        ((thought, Text("cat")), 1.0),
        ((thought, Image(None)), 1.0),
        ((Thinking("so", (1,)), Text("cat")), 0.0),
        ((thought, Text(" ")), 0.0),
        ((thought,), 0.0),
        ((Text("cat"),), 0.0),
        ((), 0.0),
    ]
    assert [v.score for v in judge([sample(*parts) for parts, _ in replies])] == [score for _, score in replies]
    assert well_formed()([sample(Thinking("so"), Text("cat"))])[0].score == 1.0
    assert well_formed(follows=False)([sample(Thinking("so")), sample()])[0].score == 1.0


def test_the_published_text_reward_reports_both_parts():
    judge = weigh(correct=(right_answer(), 2.0), format=(well_formed(), 0.5))
    right, loose = judge([sample(Thinking("so"), Text("7"), answer=7), sample(Text("7"), answer=7)])
    assert right.score == 2.5 and loose.score == 2.0 and loose.parts == {"correct": 1.0, "format": 0.0}
