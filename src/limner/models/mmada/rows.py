"""Training rows: lists of texts and codes to (context, values), through the same lines as inference.

Every function pads tightly, so rows of like length belong in one batch. ``length`` is how many tokens an answer's
values have, EOS filler included (0: one more than the longest answer, so that every answer teaches its end).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from limner.models.mmada.render import Ids, Renderer, Script
from limner.process.base import Context

Rows = tuple[Context, Tensor]


def t2i_rows(renderer: Renderer, prompts: Sequence[str], codes: Tensor, drop: Sequence[bool] | None = None) -> Rows:
    """Pictures from plain prompts. codes (B, N) or (B, h, w); ``drop`` (B) takes a row's prompt away (for guidance)."""
    return renderer.context([_asked(prompt) for prompt in prompts], "image", drop), codes.flatten(1)


def think_rows(renderer: Renderer, prompts: Sequence[str], thoughts: Sequence[str], length: int = 0) -> Rows:
    """Thoughts from prompts: values are ``<think> thought </think>`` and filler."""
    scripts = [_asked(prompt, thinks=True) for prompt in prompts]
    return _words(renderer, scripts, [renderer.thought(text) for text in thoughts], "thinking", length)


def r2i_rows(
    renderer: Renderer,
    prompts: Sequence[str],
    thoughts: Sequence[str],
    codes: Tensor,
    drop: Sequence[bool] | None = None,
) -> Rows:
    """Pictures after a thought. codes (B, N) or (B, h, w)."""
    scripts = [_asked(p, thinks=True, said=renderer.thought(t)) for p, t in zip(prompts, thoughts, strict=True)]
    return renderer.context(scripts, "image", drop), codes.flatten(1)


def mmu_rows(
    renderer: Renderer,
    codes: Tensor,
    questions: Sequence[str],
    answers: Sequence[str],
    length: int = 0,
    thoughts: Sequence[str] | None = None,
) -> Rows:
    """Answers to questions about pictures, after a thought if ``thoughts`` are given. codes (B, N) or (B, h, w)."""
    pictures = [[picture] for picture in codes.flatten(1).tolist()]
    return _answers(renderer, questions, pictures, thoughts, answers, length)


def mmu_think_rows(
    renderer: Renderer, codes: Tensor, questions: Sequence[str], thoughts: Sequence[str], length: int = 0
) -> Rows:
    """Thoughts about pictures. codes (B, N) or (B, h, w)."""
    pictures = codes.flatten(1).tolist()
    scripts = [_asked(question, [picture], thinks=True) for question, picture in zip(questions, pictures, strict=True)]
    return _words(renderer, scripts, [renderer.thought(text) for text in thoughts], "thinking", length)


def lm_rows(
    renderer: Renderer,
    questions: Sequence[str],
    answers: Sequence[str],
    thoughts: Sequence[str] | None = None,
    length: int = 0,
) -> Rows:
    """Answers to plain questions, after a thought if ``thoughts`` are given."""
    return _answers(renderer, questions, [[]] * len(questions), thoughts, answers, length)


def _answers(
    renderer: Renderer,
    questions: Sequence[str],
    pictures: Sequence[Sequence[Ids]],
    thoughts: Sequence[str] | None,
    answers: Sequence[str],
    length: int,
) -> Rows:
    said = [None] * len(questions) if thoughts is None else [renderer.thought(text) for text in thoughts]
    rows = zip(questions, pictures, said, strict=True)
    scripts = [_asked(question, seen, thinks=thoughts is not None, said=thought) for question, seen, thought in rows]
    return _words(renderer, scripts, [renderer.ids(answer) for answer in answers], "text", length)


def _asked(question: str, pictures: Sequence[Ids] = (), *, thinks: bool = False, said: Ids | None = None) -> Script:
    return Script([("user", question)], list(pictures), list(said or []), thinks)


def _words(renderer: Renderer, scripts: list[Script], answers: list[Ids], kind: str, length: int) -> Rows:
    if len(scripts) != len(answers):
        raise ValueError(f"{len(scripts)} prompts need as many answers, got {len(answers)}")
    length = length or max(map(len, answers)) + 1
    context = renderer.context(scripts, "thinking" if kind == "thinking" else "text")
    return context, renderer.values(answers, length)
