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
from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from limner.algorithms import gate, workers
from limner.algorithms.adapters import has_adapters, reference_of
from limner.algorithms.policy_gradient import LARGEST, group_advantages
from limner.algorithms.recording import Recorded, Watched
from limner.algorithms.rgpo_terms import RewardSettings, Terms, cut_off, picture_apart, reward_terms
from limner.algorithms.unigrpo import Exercise, Round, in_batches
from limner.models.base import Model
from limner.parts import Part, Sample, Task, Verdict
from limner.process.base import Draw
from limner.process.flow import Flow, gaussian_divergence
from limner.process.noise import Noise
from limner.turn import rollout

__all__ = ["RewardLearner", "RewardSettings", "Terms", "cut_off", "picture_apart", "reward_terms", "rgpo"]


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
        gate.check_reference(policy, reference, settings.compares)
        self.reference = None if reference is None or not settings.compares else reference.eval().requires_grad_(False)
        self.exercises, self.settings = tuple(exercises), settings
        self._made: dict[str, tuple[int, dict[int, Sample]]] = {}
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
        own = workers.own_rows(len(many))
        gate.check_quiet(self.policy)
        wanted = list(range(len(many)))
        watched: Watched | None = None
        samples: dict[int, Sample] = {}
        found: dict[int, Verdict] = {}
        tries = 0
        for attempt in range(1 + s.resample):
            seeds, some = self._seeds(now, len(many), attempt), [i for i in own if i in set(wanted)]
            with workers.whole(self.policy):
                made, path, by = self._make(exercise, [many[i] for i in some], [seeds[i] for i in some])
            watched = by if attempt == 0 else None  # others are not the first rows
            told = exercise.judge(made) if made else []
            if len(told) != len(made):
                raise ValueError(f"the judge gave {len(told)} verdicts for {len(made)} samples")
            samples |= dict(zip(some, made, strict=True))
            found |= dict(zip(some, told, strict=True))
            if path is not None:
                self._get(exercise, "path")[some] = path.to(self._get(exercise, "path").device)
            tries += len(wanted)
            verdicts = workers.joined_list([found[i] for i in own])
            advantages = group_advantages([v.score for v in verdicts], s.group, spread=s.spread, delta=s.delta)
            equal = ~(advantages.view(-1, s.group) != 0).any(dim=1)
            wanted = equal.repeat_interleave(s.group).nonzero().flatten().tolist()
            if not wanted:
                break
        self._get(exercise, "advantages").copy_(advantages)
        counts = ~equal.repeat_interleave(s.group) if s.drop_equal else torch.ones(len(many), dtype=torch.bool)
        self._get(exercise, "share").copy_(counts.float() / counts.sum().clamp(min=1))
        kept = [samples[i] for i in own]
        for index in range(len(exercise.plan)):
            values = self.policy.encode([sample.reply[index] for sample in kept])
            self._get(exercise, f"values_{index}").copy_(workers.joined_rows(values))
        if s.decoder:
            path = self._get(exercise, "path")
            path.copy_(workers.joined_rows(path[own]))
        self._made[exercise.name] = (now.seed, samples)
        self._check(exercise, now, samples, watched)
        if s.updates > 1:
            self._remember(exercise, now)
        numbers = {"equal_groups": float(equal.float().mean()), "tries": tries / len(many)}
        numbers |= _reported(verdicts) | self._lengths(exercise)
        if exercise.watch is not None:
            numbers |= workers.averaged(exercise.watch(kept, [found[i] for i in own]))
        return {f"{exercise.name}_{name}": value for name, value in numbers.items()}

    def _check(self, exercise: Exercise, now: Round, samples: dict[int, Sample], watched: Watched | None) -> None:
        """The gate between what was sampled and what is scored."""
        own = workers.own_rows(len(samples) * workers.count())
        kept = [self._get(exercise, f"values_{i}")[own] for i in range(len(exercise.plan))]
        gate.check_kept(exercise.name, [samples[i] for i in own], kept)
        if self.settings.decoder:
            part = next(i for i, ask in enumerate(exercise.plan) if ask.kind == "image")
            steps = self.policy.settings(exercise.plan[part], 1).steps
            gate.check_path(exercise.name, self._get(exercise, "path")[own], steps, kept[part])
        if watched is None:
            return
        some = self._batches(exercise)[0][: self.settings.rollout_rows]

        def score(part: int, values: Tensor, draw: Draw) -> Tensor:
            context, _ = self._context(self.policy, exercise, now, part, some)
            return self.policy.process(exercise.plan[part].kind).log_prob(context, values, draw).tokens

        gate.check_sampled(exercise.name, self.policy, exercise.plan, watched, [v[: len(some)] for v in kept], score)

    def _make(
        self, exercise: Exercise, tasks: list[Task], seeds: list[int]
    ) -> tuple[list[Sample], Tensor | None, Watched | None]:
        s = self.settings
        if not tasks:
            return [], None, None
        maker = Recorded(self.policy, s.chance) if s.decoder else None
        watched = Watched(maker or self.policy)
        samples = rollout(cast(Model, watched), tasks, exercise.plan, seeds, batch=s.rollout_rows)
        path = None if maker is None else maker.path
        if path is not None and path.shape[1:] != self._get(exercise, "path").shape[1:]:
            gate.check_path(exercise.name, path, self._get(exercise, "path").shape[1] - 1, None)
        return samples, path, watched

    def _lengths(self, exercise: Exercise) -> dict[str, float]:
        """Mean tokens and share of chains cut off, of the first words."""
        index = next(i for i, ask in enumerate(exercise.plan) if ask.kind != "image")
        values, process = self._get(exercise, f"values_{index}"), self.policy.process(exercise.plan[index].kind)
        told = process.draw(values, Noise.of([0] * len(values)), torch.ones(len(values))).hidden
        cut = cut_off(process, values)
        return {"length": float(told.sum(dim=1).float().mean()), "truncated": float(cut.float().mean())}

    def samples(self, exercise: Exercise, now: Round) -> dict[int, Sample]:
        """This process's rollouts of a round by row, put together again from the buffers after a resume."""
        made = self._made.get(exercise.name)
        if made is None or made[0] != now.seed:
            many = [task for task in now.tasks[exercise.name] for _ in range(self.settings.group)]
            own = workers.own_rows(len(many))
            columns: list[list[Part]] = [
                self.policy.decode(ask.kind, self._get(exercise, f"values_{index}")[own])
                for index, ask in enumerate(exercise.plan)
            ]
            found = {i: Sample(many[i], tuple(r)) for i, r in zip(own, zip(*columns, strict=True), strict=True)}
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
            batches = self._batches(exercise)
            if ask.kind != "image":
                old = [self.words(self.policy, exercise, now, part, rows)[0] for rows in batches]
                self._get(exercise, f"old_{part}").copy_(workers.joined_rows(torch.cat(old)))
            elif self.settings.decoder:
                total = self._get(exercise, "path").shape[1] - 1
                for update in range(self.settings.updates):
                    later = replace(now, update=update)
                    for place, step in enumerate(self.steps(later, total)):
                        scores = [
                            self.step_scores(self.policy, exercise, later, part, step, rows)[0] for rows in batches
                        ]
                        at = update * self.settings.decoder_steps + place
                        self._get(exercise, "path_old")[at] = workers.joined_rows(torch.cat(scores))

    def _batches(self, exercise: Exercise) -> list[list[int]]:
        return in_batches(workers.own_rows(exercise.prompts * self.settings.group), self.settings.rows)

    def _idle(self, exercise: Exercise, batch: int) -> bool:
        """No process has a row in this batch of its own that counts, so all leave it out together."""
        share = self._get(exercise, "share")
        size = len(workers.own_rows(len(share)))
        begin = batch * (self.settings.rows or size)
        count = min(self.settings.rows or size, size - begin)
        return not bool(share.view(-1, size)[:, begin : begin + count].any())

    def losses(self, exercise: Exercise, now: Round) -> Iterator[tuple[Tensor, dict[str, float]]]:
        """The loss of one update piece by piece, pieces add up; with what is reported of each."""
        s = self.settings
        advantages, share = self._get(exercise, "advantages"), self._get(exercise, "share")
        for batch, rows in enumerate(self._batches(exercise)):
            own, some = share[rows], advantages[rows]
            if self._idle(exercise, batch):
                continue
            for part, ask in enumerate(exercise.plan):
                if ask.kind != "image":
                    yield self._text_loss(exercise, now, part, rows, some, own)
                elif s.picture_beta:
                    few = rows[:: s.trace_every]
                    new = self.trace(self.policy, exercise, now, part, few)
                    with torch.no_grad(), reference_of(self.policy, self.reference) as model:
                        was = self.trace(model, exercise, now, part, few)
                    apart = (picture_apart(new, was, s) * own[:: s.trace_every]).sum() * len(rows) / len(few)
                    yield s.picture_beta * apart, {"kl_picture": float(apart.detach())}
                if ask.kind == "image" and s.decoder:
                    yield from self._step_losses(exercise, now, part, rows, some, own)

    def _text_loss(
        self, exercise: Exercise, now: Round, part: int, rows: list[int], advantages: Tensor, share: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        s = self.settings
        new, counted = self.words(self.policy, exercise, now, part, rows)
        old = self._get(exercise, f"old_{part}")[rows] if s.updates > 1 else new.detach()
        if s.updates > 1 and now.update == 0:
            gate.check_unchanged(exercise.name, part, self.policy, new.detach(), old, counted)
        was = None
        if s.text_beta:
            with torch.no_grad(), reference_of(self.policy, self.reference) as model:
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
                if now.update == 0:
                    gate.check_unchanged(exercise.name, part, self.policy, new.detach(), old)
            if now.update == 0:
                self._check_step(exercise, now, part, rows, step, mean, deviation)
            rho = (new - old).clamp(-LARGEST, LARGEST).exp()
            gain = torch.minimum(rho * advantages, rho.clamp(1 - s.decoder_clip, 1 + s.decoder_clip) * advantages)
            loss = -(gain * share).sum()
            if s.decoder_beta:
                with torch.no_grad(), reference_of(self.policy, self.reference) as model:
                    _, was, _ = self.step_scores(model, exercise, now, part, step, rows)
                loss = loss + s.decoder_beta * (gaussian_divergence(mean, was, deviation) * share).sum() / mean.shape[1]
            ratio = float((rho.detach() * share).sum()) / s.decoder_steps
            yield s.decoder / s.decoder_steps * loss, {"decoder_ratio": ratio}

    def _check_step(
        self, exercise: Exercise, now: Round, part: int, rows: list[int], step: int, mean: Tensor, deviation: float
    ) -> None:
        """The gate of a picture's steps: the noise that was drawn leads to the latents that were recorded."""
        made = self.samples(exercise, now)
        if deviation and all(made[i].seed is not None for i in rows):
            noise = Noise.of([int(made[i].seed or 0) for i in rows]).fork("image", [part] * len(rows))
            path = self._get(exercise, "path")[rows]
            gate.check_step(exercise.name, step, mean, deviation, path, noise.normal("push", step, mean.shape[1]))


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
    rolled: dict[str, float] = {}
    total: Tensor | None = None
    for exercise in learner.exercises:
        if now.update == 0:
            rolled |= learner.roll(exercise, now)
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
    return total, rolled | workers.summed(numbers)
