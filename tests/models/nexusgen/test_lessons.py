"""Conversations as they are learned: what stands as rows, what is shown, and which ids are trained."""

import pytest
import torch
from built import PICTURE, ROWS, built, picture, published

from limner.models.nexusgen.lessons import Lesson, embeddings, lay_out, lessons_of, loss_terms
from limner.models.nexusgen.objective import UNTRAINED
from limner.parts import Ask, Text, Thinking, assistant, user

STORY = (user("a red cat"), assistant(picture()), user("make it blue"), assistant(Text("and"), picture("blue")))


@pytest.fixture(scope="module")
def model():
    return built()


def spoken(renderer, lesson):
    """What is trained, as text; a picture's places are one mark each here."""
    script, _ = renderer.lesson(lesson.conversation, lesson.reply, lesson.ends)
    before, said = renderer.halves(script, [1] * len(script.pictures))
    learned = renderer.taught(before, said)
    return renderer.tokenizer.decode([i for i, one in zip(before + said, learned, strict=True) if one], False)


def test_a_picture_that_is_drawn_stands_as_rows_and_its_turn_is_learned():
    renderer = published()
    script, drawn = renderer.lesson((user("a red cat"),), (picture(),))
    assert len(drawn) == 1 and not script.pictures
    said = renderer.tokenizer.decode(script.said, skip_special_tokens=False)
    assert "<|vision_start|>" in said and said.rstrip().endswith("<|im_end|>")
    assert script.said.count(renderer.mark("<|video_pad|>")) == 1
    assert "<|im_end|>" not in spoken(renderer, Lesson((user("a red cat"),), (picture(),), ends=False))


def test_the_ids_are_those_that_inference_puts_before_the_picture(model):
    conversation = (user(picture(), "make it blue"),)
    laid = lay_out(model, [Lesson(conversation, (picture("blue"),))])
    before = model.context([conversation], [()], Ask("image")).given.before[0].tolist()
    assert laid.prompt.before[0, : len(before)].tolist() == before
    rest = laid.prompt.before[0, len(before) :].tolist()
    assert rest == [model.reader.drawn] * 9 + [model.reader.ends, min(model.renderer.ends)]


def test_pictures_of_earlier_turns_are_shown_or_stand_as_rows():
    seen, rows = published().lesson(STORY[:-1], STORY[-1].parts), published(own="rows")
    assert len(seen[1]) == 1 and len(seen[0].pictures) == 1 and PICTURE in seen[0].text
    script, drawn = rows.lesson(STORY[:-1], STORY[-1].parts)
    assert len(drawn) == 2 and not script.pictures and ROWS in script.text


def test_as_published_every_answer_is_learned_and_the_marks_between_turns_are_not():
    lesson = Lesson(STORY[:-1], STORY[-1].parts)
    told = spoken(published(own="rows"), lesson)
    assert told.count("<|vision_start|>") == 2 and told.count("<|im_end|>") == 1
    assert spoken(published(), lesson).count("<|vision_start|>") == 1
    assert "red" not in told and "blue" not in told


def test_a_conversation_teaches_every_turn_and_every_picture_in_it():
    reply = assistant(Text("a cat"), picture(), Text("and a dog"), picture("blue"), Text("and"))
    found = lessons_of((user("a red cat"), reply), "seen")
    assert [len(lesson.reply) for lesson in found] == [2, 4, 5]
    assert [lesson.ends for lesson in found] == [False, False, True]
    assert len(lessons_of(STORY, "seen")) == 2 and len(lessons_of(STORY, "rows")) == 1
    with pytest.raises(ValueError, match="no reply to learn"):
        lessons_of(STORY[:-1], "rows")


def test_words_behind_a_picture_are_learned_while_it_is_seen(model):
    laid = lay_out(model, [Lesson((user("a red cat"),), (picture(), Text("and a dog")))])
    assert not len(laid.patches) and laid.prompt.grids.tolist() == [[[1, 6, 6]]]
    trained = laid.labels[laid.labels != UNTRAINED]
    assert int(model.reader.config.image_token_id) not in trained.tolist()


def test_a_thought_is_learned_behind_the_prompt_that_asks_for_it(model):
    laid = lay_out(model, [Lesson((user("a red cat"),), (Thinking("a red cat and a dog"),))])
    renderer = model.renderer
    wanted = [*renderer.ids("a red cat and a dog"), renderer.mark("<|im_end|>")]
    assert laid.labels[laid.labels != UNTRAINED].tolist() == wanted


def test_a_batch_has_the_losses_of_its_rows(model):
    lessons = [
        Lesson((user("a red cat"),), (picture(),)),
        Lesson((user(picture(), "make it blue and a dog"),), (picture("blue"),)),
    ]
    both, each = lay_out(model, lessons), [lay_out(model, [lesson]) for lesson in lessons]
    found = loss_terms(model.reader, both, embeddings(model.reader, both))
    alone = [loss_terms(model.reader, one, embeddings(model.reader, one)) for one in each]
    torch.testing.assert_close(found.embeddings, (alone[0].embeddings + alone[1].embeddings) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.predicted, torch.cat([one.predicted for one in alone]), rtol=1e-4, atol=1e-4)
