"""RGPO (2505.13031): a group of chains of thought and pictures for every prompt, judged, compared, learned from.

    A_i   = (r_i - mean of the group) / (deviation + delta)
    J_i   = mean over a chain's tokens of min(rho A_i, clip(rho, 1 - low, 1 + high) A_i),  rho = exp(new - old)
    D_T,i = mean over a chain's tokens of e^d - d - 1,  d = log reference - log new
    D_I,i = how far the picture's network has moved, from the same text, noise and time
    loss  = - mean J_i + beta_T mean D_T,i + beta_I mean D_I,i

No reward flows through the picture: it is judged, and makes good text likelier. D_I keeps what the changed text states
do to the picture near the reference. All known of the paper's training are its loss, G = 4, both betas and a cosine
schedule; the rest are choices (docs/mindomni.md). Beyond the paper: ``chance`` samples pictures stochastically, so that
steps have a density and the picture's network learns from the same advantage (Flow-GRPO 2505.05470).

Letters: B rollouts, N tokens of a chain, S steps of a sampler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from limner.algorithms.adapters import has_adapters, without_adapters
from limner.algorithms.policy_gradient import LARGEST, Spread, clipped_gain, group_advantages, held_back
from limner.algorithms.recording import Recorded
from limner.algorithms.unigrpo import Exercise, Round
from limner.models.base import Model
from limner.parts import Part, Sample, Task, Verdict
from limner.process.base import Process, Scored, k3_divergence
from limner.process.flow import Flow, gaussian_divergence, level_divergence, velocity_divergence
from limner.process.noise import Noise
from limner.turn import rollout


@dataclass(frozen=True)
class RewardSettings:
    """Settings of RGPO; the defaults are published or, where nothing is, those of its code base.

    ``ratio``: "token" has one ratio for each token, "sequence" one for each chain, of summed log-probabilities.
    ``text_beta`` and ``picture_beta`` weigh both divergences; ``picture`` is "levels" (softmax over channels at
    ``temperature``, all levels) or "velocity". ``truncated`` "mask" leaves chains that were cut off at the limit out of
    J. ``drop_equal`` leaves groups with equal rewards out of everything, after ``resample`` further tries to find
    others. ``decoder`` above 0 weighs the clipped objective of ``decoder_steps`` steps of each picture, drawn with
    ``chance``; its ratio is of mean log-densities, so its clip is narrow. ``rows`` scores so many rollouts at a time
    and runs backward after each (0: all in one graph).
    """

    group: int = 4
    updates: int = 1
    low: float = 0.2
    high: float = 0.2
    ratio: Literal["token", "sequence"] = "token"
    spread: Spread = "sample"
    delta: float = 1e-4
    text_beta: float = 0.01
    picture_beta: float = 0.06
    picture: Literal["levels", "velocity"] = "levels"
    temperature: float = 1.0
    truncated: Literal["count", "mask"] = "count"
    drop_equal: bool = False
    resample: int = 0
    decoder: float = 0.0
    decoder_steps: int = 2
    decoder_clip: float = 1e-3
    decoder_beta: float = 0.0
    chance: float = 0.7
    rows: int = 0
    rollout_rows: int = 64

    def __post_init__(self) -> None:
        least = {"group": 2, "updates": 1, "decoder_steps": 1, "rollout_rows": 1, "rows": 0, "resample": 0}
        least |= {"text_beta": 0, "picture_beta": 0, "decoder": 0, "decoder_beta": 0, "delta": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {low}")
        if not 0 < self.low < 1 or not self.high > 0 or not self.temperature > 0:
            raise ValueError(f"low={self.low} must be between 0 and 1, high={self.high} and temperature above 0")
        for name, known in (
            ("ratio", ("token", "sequence")),
            ("picture", ("levels", "velocity")),
            ("truncated", ("count", "mask")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.decoder and not self.chance > 0:
            raise ValueError("steps of a picture have a density only with chance above 0")

    @property
    def compares(self) -> bool:
        """A reference is needed."""
        return self.text_beta > 0 or self.picture_beta > 0 or (self.decoder > 0 and self.decoder_beta > 0)


@dataclass(frozen=True)
class Terms:
    """Terms of the loss, scalars with gradients, and reports: ``clipped`` is the share of ratios held back."""

    policy: Tensor
    text: Tensor
    picture: Tensor
    clipped: Tensor
    ratio: Tensor

    def loss(self, settings: RewardSettings) -> Tensor:
        """- policy + beta_T text + beta_I picture."""
        return settings.text_beta * self.text + settings.picture_beta * self.picture - self.policy


def reward_terms(
    new: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantages: Tensor,
    counted: Tensor,
    apart: Tensor | None,
    settings: RewardSettings,
    share: Tensor | None = None,
) -> Terms:
    """The terms for log-probabilities (B, N), in their own type; counted (B, N) bool, advantages (B,).

    ``apart`` (B,) are the pictures' divergences. ``share`` (B,) is what each row counts in a mean (default 1 / B), so
    that the terms of small batches add up to those of the whole.
    """
    share = torch.full_like(new[:, 0], 1 / max(1, len(new))) if share is None else share.to(new)
    count = counted.to(new)
    weights = share[:, None] * count / count.sum(dim=1, keepdim=True).clamp(min=1)
    each = advantages.to(new)
    if settings.ratio == "sequence":
        ratios = ((new * count).sum(dim=1, keepdim=True), (old.detach() * count).sum(dim=1, keepdim=True))
        weighed, told = share[:, None], torch.ones_like(counted[:, :1])
    else:
        ratios, weighed, told = (new, old.detach()), weights, counted
    gain, ratio = clipped_gain(*ratios, each, settings.low, settings.high)
    held = held_back(ratio.detach(), each, settings.low, settings.high) & told
    nothing = new.new_zeros(())
    text = nothing
    if reference is not None and settings.text_beta:
        one = torch.ones(len(new), device=new.device)
        apart_text = k3_divergence(Scored(new, counted, one), Scored(reference.detach(), counted, one))
        text = (apart_text * weights).sum()
    return Terms(
        (gain * weighed).sum(),
        text,
        nothing if apart is None else (apart * share.to(apart)).sum(),
        held.sum().to(new) / told.sum().clamp(min=1),
        (ratio.detach() * weighed).sum(),
    )


def picture_apart(policy: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor], settings: RewardSettings) -> Tensor:
    """(B,) how far apart two traces (velocity (B, N), levels (B, L, n, D)) of the same noisy picture are."""
    if settings.picture == "velocity":
        return velocity_divergence(policy[0].float(), reference[0].detach().float())
    return level_divergence(policy[1], reference[1].detach(), settings.temperature)


def cut_off(process: Process[Any], values: Tensor) -> Tensor:
    """(B,) bool: values (B, N) of words fill all places, and the last of them ends nothing."""
    told = process.draw(values, Noise.of([0] * len(values)), torch.ones(len(values))).hidden
    stops = getattr(process, "stops", None) or {getattr(process, "stop", -1)}
    ended = torch.isin(values[:, -1], torch.tensor(sorted(stops), device=values.device))
    return told.all(dim=1) & ~ended


class RewardLearner(nn.Module):
    """A policy that is trained, its frozen reference, and the rollouts in use, which are buffers: a run stopped between
    two updates goes on to the same weights.

    ``reference`` None is right where no beta asks for one, and for a policy with adapters, whose base it is. Modules
    stay in evaluation mode.
    """

    def __init__(
        self, policy: Model, reference: Model | None, exercises: Sequence[Exercise], settings: RewardSettings
    ) -> None:
        super().__init__()
        if len({exercise.name for exercise in exercises}) != len(exercises) or not exercises:
            raise ValueError("give at least one exercise, each with a name of its own")
        self.policy = policy.eval()
        self.based = reference is None and has_adapters(policy)
        if settings.compares and reference is None and not self.based:
            raise ValueError("a beta above 0 needs a reference: another model, or adapters on the policy")
        self.reference = None if reference is None or not settings.compares else reference.eval().requires_grad_(False)
        self.exercises, self.settings = tuple(exercises), settings
        self._made: dict[str, tuple[int, list[Sample]]] = {}
        for exercise in exercises:
            self._prepare(exercise)

    def _prepare(self, exercise: Exercise) -> None:
        s, rows, kept = self.settings, exercise.prompts * self.settings.group, self.settings.updates > 1
        wishes = [self.policy.settings(ask, 1) for ask in exercise.plan]
        if not any(w.temperature > 0 for w, ask in zip(wishes, exercise.plan, strict=True) if ask.kind != "image"):
            raise ValueError(f"the words of the exercise {exercise.name!r} have temperature 0, so there is no chance")
        self.register_buffer(f"{exercise.name}_advantages", torch.zeros(rows), persistent=kept)
        self.register_buffer(f"{exercise.name}_share", torch.zeros(rows), persistent=kept)
        for index, (ask, wish) in enumerate(zip(exercise.plan, wishes, strict=True)):
            values = torch.zeros(rows, wish.length, dtype=torch.int64)
            self.register_buffer(f"{exercise.name}_values_{index}", values, persistent=kept)
            if ask.kind != "image" and kept:
                self.register_buffer(f"{exercise.name}_old_{index}", torch.zeros(rows, wish.length))
            if ask.kind == "image" and s.decoder:
                path = torch.zeros(rows, wish.steps + 1, wish.length)
                self.register_buffer(f"{exercise.name}_path", path, persistent=kept)
                if kept:
                    old = torch.zeros(s.updates * s.decoder_steps, rows)
                    self.register_buffer(f"{exercise.name}_path_old", old)

    def train(self, mode: bool = True) -> Self:
        """Keeps every module in evaluation mode."""
        super().train(mode)
        for module in (self.policy, self.reference):
            if module is not None:
                module.eval()
        return self

    def _refer(self) -> tuple[AbstractContextManager[Any], Model]:
        """(a context in which it is the reference, the model)."""
        if self.reference is not None:
            return nullcontext(), self.reference
        return without_adapters(self.policy), self.policy

    # rollouts

    def _get(self, exercise: Exercise, name: str) -> Tensor:
        return self.get_buffer(f"{exercise.name}_{name}")

    def _seeds(self, now: Round, rows: int, attempt: int = 0) -> list[int]:
        noise = Noise.of([now.seed] * rows).fork("reply", list(range(rows)))
        return (noise.fork("again", attempt) if attempt else noise).seed.tolist()

    @torch.no_grad()
    def roll(self, exercise: Exercise, now: Round) -> dict[str, float]:
        """Make and judge the rollouts of a round; what is reported of them."""
        s = self.settings
        many = [task for task in now.tasks[exercise.name] for _ in range(s.group)]
        wanted = list(range(len(many)))
        samples: list[Sample] = [Sample(task, ()) for task in many]
        verdicts: list[Verdict] = [Verdict(None)] * len(many)
        tries = 0
        for attempt in range(1 + s.resample):
            seeds = self._seeds(now, len(many), attempt)
            made, path = self._make(exercise, [many[i] for i in wanted], [seeds[i] for i in wanted])
            found = exercise.judge(made)
            if len(found) != len(made):
                raise ValueError(f"the judge gave {len(found)} verdicts for {len(made)} samples")
            for place, i in enumerate(wanted):
                samples[i], verdicts[i] = made[place], found[place]
            if path is not None:
                self._get(exercise, "path")[wanted] = path.to(self._get(exercise, "path").device)
            tries += len(wanted)
            advantages = group_advantages([v.score for v in verdicts], s.group, spread=s.spread, delta=s.delta)
            equal = ~(advantages.view(-1, s.group) != 0).any(dim=1)
            wanted = equal.repeat_interleave(s.group).nonzero().flatten().tolist()
            if not wanted:
                break
        self._get(exercise, "advantages").copy_(advantages)
        counts = ~equal.repeat_interleave(s.group) if s.drop_equal else torch.ones(len(many), dtype=torch.bool)
        self._get(exercise, "share").copy_(counts.float() / counts.sum().clamp(min=1))
        for index in range(len(exercise.plan)):
            self._get(exercise, f"values_{index}").copy_(self.policy.encode([x.reply[index] for x in samples]))
        self._made[exercise.name] = (now.seed, samples)
        if s.updates > 1:
            self._remember(exercise, now)
        numbers = {"equal_groups": float(equal.float().mean()), "tries": tries / len(many)}
        numbers |= _reported(verdicts) | self._lengths(exercise)
        if exercise.watch is not None:
            numbers |= exercise.watch(samples, verdicts)
        return {f"{exercise.name}_{name}": value for name, value in numbers.items()}

    def _make(self, exercise: Exercise, tasks: list[Task], seeds: list[int]) -> tuple[list[Sample], Tensor | None]:
        s = self.settings
        maker = Recorded(self.policy, s.chance) if s.decoder else None
        model = self.policy if maker is None else cast(Model, maker)
        samples = rollout(model, tasks, exercise.plan, seeds, batch=s.rollout_rows)
        return samples, None if maker is None else maker.path

    def _lengths(self, exercise: Exercise) -> dict[str, float]:
        """Mean tokens and share of chains cut off, of the first words."""
        index = next(i for i, ask in enumerate(exercise.plan) if ask.kind != "image")
        values, process = self._get(exercise, f"values_{index}"), self.policy.process(exercise.plan[index].kind)
        told = process.draw(values, Noise.of([0] * len(values)), torch.ones(len(values))).hidden
        cut = cut_off(process, values)
        return {"length": float(told.sum(dim=1).float().mean()), "truncated": float(cut.float().mean())}

    def samples(self, exercise: Exercise, now: Round) -> list[Sample]:
        """The rollouts of a round, put together again from the buffers after a resume."""
        made = self._made.get(exercise.name)
        if made is None or made[0] != now.seed:
            many = [task for task in now.tasks[exercise.name] for _ in range(self.settings.group)]
            columns: list[list[Part]] = [
                self.policy.decode(ask.kind, self._get(exercise, f"values_{index}"))
                for index, ask in enumerate(exercise.plan)
            ]
            found = [Sample(t, tuple(r)) for t, r in zip(many, zip(*columns, strict=True), strict=True)]
            made = self._made[exercise.name] = (now.seed, found)
        return made[1]

    # scoring

    def _context(self, model: Model, exercise: Exercise, now: Round, part: int, rows: list[int]) -> tuple[Any, Tensor]:
        made, ask = self.samples(exercise, now), exercise.plan[part]
        values = self._get(exercise, f"values_{part}")[rows]
        wish = replace(ask, limit=values.shape[1]) if ask.kind != "image" else ask
        context = model.context([made[i].task.prompt for i in rows], [made[i].reply[:part] for i in rows], wish)
        return context, values

    def words(self, model: Model, exercise: Exercise, now: Round, part: int, rows: list[int]) -> tuple[Tensor, Tensor]:
        """(log-probabilities (rows, N), counted (rows, N) bool) of words, with gradients."""
        context, values = self._context(model, exercise, now, part, rows)
        process = model.process(exercise.plan[part].kind)
        draw = process.draw(values, Noise.of([0] * len(rows)), torch.ones(len(rows)))
        counted = draw.hidden
        if self.settings.truncated == "mask":
            counted = counted & ~cut_off(process, values)[:, None]
        return process.log_prob(context, values, draw).tokens, counted

    def trace(self, model: Model, exercise: Exercise, now: Round, part: int, rows: list[int]) -> tuple[Tensor, Tensor]:
        """(velocity, levels) of the rollouts' own pictures at this update's noise and time, with gradients."""
        context, values = self._context(model, exercise, now, part, rows)
        process = model.process("image")
        if not isinstance(process, Flow):
            raise ValueError("the picture term compares flows; set picture_beta=0 for other pictures")
        seeds = self._seeds(now, len(self._get(exercise, "advantages")))
        noise = Noise.of([seeds[i] for i in rows]).fork("trace", now.update)
        return process.traced(context, values, process.draw(values, noise))

    def steps(self, now: Round, total: int) -> list[int]:
        """The sampler's steps that this update learns from, the same for all rollouts."""
        order = Noise.of([now.seed]).fork("steps").uniform("order", 0, total)[0].argsort().tolist()
        begin, count = now.update * self.settings.decoder_steps, self.settings.decoder_steps
        return [order[(begin + i) % total] for i in range(count)]

    def step_scores(
        self, model: Model, exercise: Exercise, now: Round, part: int, step: int, rows: list[int]
    ) -> tuple[Tensor, Tensor, float]:
        """(mean log-density (rows,) of a step, its mean (rows, N), its deviation), with gradients."""
        context, values = self._context(model, exercise, now, part, rows)
        wish = model.settings(exercise.plan[part], len(rows))
        own = model.process("image")
        assert isinstance(own, Flow)
        process = replace(own, chance=self.settings.chance, making=None)
        path = self._get(exercise, "path")[rows]
        density, mean = process.step_log_prob(context, wish, path[:, step], path[:, step + 1], step)
        return density / values.shape[1], mean, process.deviation(wish, step)

    def _remember(self, exercise: Exercise, now: Round) -> None:
        for part, ask in enumerate(exercise.plan):
            for rows in self._batches(exercise):
                if ask.kind != "image":
                    self._get(exercise, f"old_{part}")[rows] = self.words(self.policy, exercise, now, part, rows)[0]
                elif self.settings.decoder:
                    for update in range(self.settings.updates):
                        later = replace(now, update=update)
                        total = self._get(exercise, "path").shape[1] - 1
                        for place, step in enumerate(self.steps(later, total)):
                            scores, _, _ = self.step_scores(self.policy, exercise, later, part, step, rows)
                            at = update * self.settings.decoder_steps + place
                            self._get(exercise, "path_old")[at, rows] = scores

    def _batches(self, exercise: Exercise) -> list[list[int]]:
        total = exercise.prompts * self.settings.group
        size = self.settings.rows or total
        return [list(range(begin, min(begin + size, total))) for begin in range(0, total, size)]

    def losses(self, exercise: Exercise, now: Round) -> Iterator[tuple[Tensor, dict[str, float]]]:
        """The loss of one update piece by piece, pieces add up; with what is reported of each."""
        s = self.settings
        advantages, share = self._get(exercise, "advantages"), self._get(exercise, "share")
        for rows in self._batches(exercise):
            own, some = share[rows], advantages[rows]
            if not bool(own.any()):
                continue
            for part, ask in enumerate(exercise.plan):
                if ask.kind != "image":
                    yield self._text_loss(exercise, now, part, rows, some, own)
                elif s.picture_beta:
                    new = self.trace(self.policy, exercise, now, part, rows)
                    place, model = self._refer()
                    with torch.no_grad(), place:
                        was = self.trace(model, exercise, now, part, rows)
                    apart = (picture_apart(new, was, s) * own).sum()
                    yield s.picture_beta * apart, {"kl_picture": float(apart.detach())}
                if ask.kind == "image" and s.decoder:
                    yield from self._step_losses(exercise, now, part, rows, some, own)

    def _text_loss(
        self, exercise: Exercise, now: Round, part: int, rows: list[int], advantages: Tensor, share: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        s = self.settings
        new, counted = self.words(self.policy, exercise, now, part, rows)
        old = self._get(exercise, f"old_{part}")[rows] if s.updates > 1 else new.detach()
        was = None
        if s.text_beta:
            place, model = self._refer()
            with torch.no_grad(), place:
                was = self.words(model, exercise, now, part, rows)[0]
        terms = reward_terms(new, old, was, advantages, counted, None, s, share)
        part_of = float(share.sum())
        numbers = {"kl_text": float(terms.text.detach()), "clip_fraction": part_of * float(terms.clipped)}
        return terms.loss(s), numbers | {"ratio": float(terms.ratio)}

    def _step_losses(
        self, exercise: Exercise, now: Round, part: int, rows: list[int], advantages: Tensor, share: Tensor
    ) -> Iterator[tuple[Tensor, dict[str, float]]]:
        s = self.settings
        for place, step in enumerate(self.steps(now, self._get(exercise, "path").shape[1] - 1)):
            new, mean, deviation = self.step_scores(self.policy, exercise, now, part, step, rows)
            old = new.detach()
            if s.updates > 1:
                old = self._get(exercise, "path_old")[now.update * s.decoder_steps + place, rows]
            rho = (new - old).clamp(-LARGEST, LARGEST).exp()
            gain = torch.minimum(rho * advantages, rho.clamp(1 - s.decoder_clip, 1 + s.decoder_clip) * advantages)
            loss = -(gain * share).sum()
            if s.decoder_beta:
                context, model = self._refer()
                with torch.no_grad(), context:
                    _, was, _ = self.step_scores(model, exercise, now, part, step, rows)
                loss = loss + s.decoder_beta * (gaussian_divergence(mean, was, deviation) * share).sum() / mean.shape[1]
            ratio = float((rho.detach() * share).sum()) / s.decoder_steps
            yield s.decoder / s.decoder_steps * loss, {"decoder_ratio": ratio}


def _reported(verdicts: Sequence[Verdict]) -> dict[str, float]:
    def mean(values: list[float | None]) -> float:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else float("nan")

    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    numbers = {"reward": mean([verdict.score for verdict in verdicts])}
    numbers["reward_std"] = float(torch.tensor(scores).std()) if len(scores) > 1 else 0.0
    names = dict.fromkeys(name for verdict in verdicts for name in verdict.parts)
    numbers |= {name: mean([verdict.parts.get(name) for verdict in verdicts]) for name in names}
    return numbers | {"unjudged": 1 - len(scores) / max(1, len(verdicts))}


def rgpo(learner: nn.Module, now: Round, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    """(loss, numbers) of one step: the objective of a ``Run``. The first update of a round makes its rollouts.

    Numbers by exercise: reward, its standard deviation and named parts, length, truncated, equal_groups where rollouts
    were made; kl_text, kl_picture, clip_fraction and ratio at every step.
    """
    assert isinstance(learner, RewardLearner)
    numbers: dict[str, float] = {}
    total: Tensor | None = None
    for exercise in learner.exercises:
        if now.update == 0:
            numbers |= learner.roll(exercise, now)
        for loss, some in learner.losses(exercise, now):
            loss = exercise.weight * loss
            for name, value in some.items():
                key = f"{exercise.name}_{name}"
                numbers[key] = numbers.get(key, 0.0) + value
            if learner.settings.rows and total is not None and total.requires_grad:
                total.backward()
                total = total.detach()
            total = loss if total is None else total + loss
    if total is None:  # all groups were dropped
        total = sum(p.sum() * 0.0 for p in learner.policy.parameters() if p.requires_grad)  # type: ignore[assignment]
    assert total is not None
    return total, numbers
