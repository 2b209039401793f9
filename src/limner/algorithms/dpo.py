"""Direct preference optimisation for any process (2305.18290; for masked pictures 2501.13926 section 3.5).

    loss = mean over pairs of -log sigmoid( beta [log-ratio(chosen) - log-ratio(rejected)] - margin gap )

with log-ratio = log p(reply) under the policy minus under the frozen reference. What a log-probability is, the part's
process says: exact for words from left to right, a bound's estimate for masked and flow parts. There chosen and
rejected, policy and reference share their randomness (hidden places, times, noise), and several draws are averaged.

``OFFICIAL`` is the published estimator: one draw for each image, made independently for chosen and rejected, as is the
dropping of the condition; scores over the whole output table, the two trivial tokens around a picture included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.algorithms.adapters import reference_of
from limner.algorithms.gate import check_reference
from limner.algorithms.sft import table_scores
from limner.judges.verifier import Verifier
from limner.models.base import Model, Reply
from limner.parts import Ask, PartKind, Plan, Sample, Task
from limner.process.base import Context, Draw
from limner.process.noise import Noise
from limner.turn import draws, rollout


@dataclass(frozen=True)
class Preference:
    """Two replies to one task. ``gap`` is how much better the chosen one was judged (None: only that it was)."""

    task: Task
    chosen: Reply
    rejected: Reply
    gap: float | None = None


@dataclass(frozen=True)
class DpoSettings:
    """``draws`` are averaged inside the sigmoid. ``length`` "mean" divides a part's log-probability by what is scored,
    so that long replies have no advantage. ``margin`` times the gap is asked for on top. Pairs whose gap is at most
    ``least`` are ties: "drop" leaves them out, "even" asks for equal ratios. ``drop`` is the share of pairs scored
    without their condition. ``dpo`` and ``sft`` weigh the loss and the cross-entropy on the chosen reply. ``kinds`` are
    the parts that are scored (empty: all)."""

    beta: float = 0.1
    draws: int = 4
    length: Literal["sum", "mean"] = "sum"
    margin: float = 0.0
    least: float = 0.0
    ties: Literal["drop", "even"] = "drop"
    drop: float = 0.0
    dpo: float = 1.0
    sft: float = 0.0
    kinds: tuple[PartKind, ...] = ()
    shared: bool = True
    table: bool = False

    def __post_init__(self) -> None:
        if self.beta <= 0 or self.draws < 1 or min(self.margin, self.least, self.dpo, self.sft) < 0:
            raise ValueError(
                f"beta={self.beta} must be above 0, draws={self.draws} at least 1, margin={self.margin}, "
                f"least={self.least}, dpo={self.dpo} and sft={self.sft} at least 0"
            )
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop={self.drop} is a share of pairs; give 0 or more, less than 1")


OFFICIAL = DpoSettings(draws=1, drop=0.1, kinds=("image",), shared=False, table=True)


def preference_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    asked: Tensor | float = 0.0,
    ties: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(losses (P,), logits (P,)) of log-probabilities (P,). ``asked`` (P,) is the margin; tied pairs (P,) bool want the
    same ratio on both sides."""
    logits = beta * ((policy_chosen - policy_rejected) - (reference_chosen - reference_rejected))
    losses = -F.logsigmoid(logits - asked)
    if ties is not None:
        even = -(F.logsigmoid(logits) + F.logsigmoid(-logits)) / 2
        losses = torch.where(ties, even, losses)
    return losses, logits


def dpo(
    policy: Model, reference: Model | None, pairs: Sequence[Preference], seed: int, how: DpoSettings = DpoSettings()
) -> tuple[Tensor, dict[str, float]]:
    """(loss, numbers); without a reference it is the policy without its adapters.

    Numbers: ``accuracy`` (the chosen reply gained more), ``margin``, ``chosen`` and ``rejected`` (mean beta
    log-ratios), ``ties`` and ``sft``.
    """
    tied = [pair.gap is not None and pair.gap <= how.least for pair in pairs]
    kept = [pair for pair, tie in zip(pairs, tied, strict=True) if how.ties == "even" or not tie]
    numbers = {"ties": sum(tied) / max(1, len(pairs))}
    if not kept:
        nothing: Tensor = sum((p.sum() * 0 for p in policy.parameters() if p.requires_grad), torch.zeros(()))
        return nothing, numbers | {name: float("nan") for name in ("accuracy", "margin", "chosen", "rejected")}
    chosen = [Sample(pair.task, _scored_parts(pair.chosen)) for pair in kept]
    rejected = [Sample(pair.task, _scored_parts(pair.rejected)) for pair in kept]
    sums = torch.zeros(4, len(kept), device=policy.device)
    supervised = torch.zeros((), device=policy.device)
    for number in range(how.draws):
        own = Noise.of([seed] * len(kept)).fork(f"draw {number}", list(range(len(kept))))
        other = own if how.shared else own.fork("rejected")
        rows = []
        for samples, noise in ((chosen, own), (rejected, other)):
            drawn = draws(policy, samples, noise.seed.tolist())
            without = (noise.uniform("drop", 0, 1)[:, 0] < how.drop).tolist()
            row, count = _score(policy, samples, drawn, without, how)
            rows.append(row)
            if how.sft and samples is chosen:
                supervised = supervised - row.sum() / count.sum().clamp(min=1)
            with torch.no_grad(), reference_of(policy, reference) as base:
                rows.append(_score(base, samples, drawn, without, how)[0])
        sums = sums + torch.stack(rows)
    policy_chosen, reference_chosen, policy_rejected, reference_rejected = sums / how.draws
    gaps = torch.tensor([pair.gap or 0.0 for pair in kept], device=policy.device)
    ties = torch.tensor([pair.gap is not None and pair.gap <= how.least for pair in kept], device=policy.device)
    losses, logits = preference_loss(
        policy_chosen, policy_rejected, reference_chosen, reference_rejected, how.beta, how.margin * gaps, ties
    )
    with torch.no_grad():
        gained = how.beta * (policy_chosen - reference_chosen).mean()
        lost = how.beta * (policy_rejected - reference_rejected).mean()
        numbers |= {"accuracy": float((logits > 0).float().mean()), "margin": float(logits.mean())}
        numbers |= {"chosen": float(gained), "rejected": float(lost)}
    loss = how.dpo * losses.mean()
    if how.sft:
        supervised = supervised / how.draws
        numbers["sft"] = float(supervised.detach())
        loss = loss + how.sft * supervised
    return loss, numbers


def _scored_parts(reply: Reply) -> Reply:
    if not reply:
        raise ValueError("a pair has an empty reply; leave it out")
    return tuple(reply)


def _score(
    model: Model, samples: Sequence[Sample], drawn: Sequence[Draw], without: Sequence[bool], how: DpoSettings
) -> tuple[Tensor, Tensor]:
    """(log-probability (P,) of each reply's scored parts, how many values were scored (P,)). Rows ``without`` their
    condition are scored apart, because their contexts have another length."""
    total, count = torch.zeros(len(samples), device=model.device), torch.zeros(len(samples), device=model.device)
    for flag in dict.fromkeys(without):
        rows = [i for i, gone in enumerate(without) if gone == flag]
        some = [samples[i] for i in rows]
        for index, draw in enumerate(drawn):
            kind = some[0].reply[index].kind
            if how.kinds and kind not in how.kinds:
                continue
            values = model.encode([sample.reply[index] for sample in some])
            before = [sample.reply[:index] for sample in some]
            context = model.context([s.task.prompt for s in some], before, Ask(kind, limit=values.shape[1]))
            if flag:
                context = Context(context.dropped, context.dropped)
            mine = draw[rows].to(values.device)
            if how.table and kind == "image":
                scores, scored = table_log_prob(model, context, values, mine)
            else:
                found = model.process(kind).log_prob(context, values, mine)
                scored = found.hidden.sum(dim=1).float()
                scores = found.total
            if how.length == "mean":
                scores = scores / scored.clamp(min=1)
            where = torch.tensor(rows, device=model.device)
            total = total.index_add(0, where, scores.to(total.dtype))
            count = count.index_add(0, where, scored.to(count.dtype))
    return total, count


def table_log_prob(model: Model, context: Context, values: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """(sums (B,) of log-probabilities over the whole table at hidden codes and the tokens around the picture, how many
    (B,)), as published."""
    logits, labels, at = table_scores(model, context, values, draw)
    picked = logits.log_softmax(dim=-1).gather(1, labels[:, None])[:, 0]
    rows = torch.zeros(at.shape, dtype=picked.dtype, device=picked.device).masked_scatter(at, picked)
    return rows.sum(dim=1), at.sum(dim=1).float()


# guidance by a verifier while training


def official_guidance(chances: Sequence[float], weight: float = 0.1) -> float:
    """The published online term: ``weight`` times the mean of -log p(yes). A number: it has no gradient and changes no
    weight."""
    return weight * sum(-float(torch.tensor(p).clamp(min=1e-12).log()) for p in chances) / len(chances)


def guidance(
    policy: Model,
    tasks: Sequence[Task],
    plan: Plan,
    verifier: Verifier,
    seed: int,
    *,
    group: int = 4,
    draws_each: int = 1,
    weight: float = 0.1,
) -> tuple[Tensor, dict[str, float]]:
    """(loss, numbers) of a working online term: ``group`` replies to each task are made by the present policy, and the
    verifier's outcome, less the group's mean, weighs the mean log-probability of each (a score-function gradient).
    Replies that could not be judged count as the mean."""
    if group < 2:
        raise ValueError(f"group={group}: a reply is compared with others of its task; give at least 2")
    many = [task for task in tasks for _ in range(group)]
    seeds = Noise.of([seed] * len(many)).fork("guide", list(range(len(many)))).seed.tolist()
    samples = rollout(policy, many, plan, seeds)
    said = [opinion.yes for opinion in verifier("outcome", samples)]
    advantages = []
    for begin in range(0, len(said), group):
        known = [p for p in said[begin : begin + group] if p is not None]
        mean = sum(known) / len(known) if known else 0.0
        advantages += [0.0 if p is None else p - mean for p in said[begin : begin + group]]
    how = DpoSettings(length="mean")
    loss = torch.zeros((), device=policy.device)
    for number in range(draws_each):
        drawn = draws(policy, samples, Noise.of(seeds).fork("score", number).seed.tolist())
        scores, _ = _score(policy, samples, drawn, [False] * len(samples), how)
        loss = loss - (torch.tensor(advantages, device=scores.device) * scores).mean() / draws_each
    judged = [p for p in said if p is not None]
    numbers = {"guide": sum(judged) / len(judged) if judged else float("nan")}
    return weight * loss, numbers | {"guide_unjudged": 1 - len(judged) / len(said)}


class Aligner(nn.Module):
    """A policy in training beside its frozen reference; both in evaluation mode, or no ratio would begin at 1.

    ``reference`` None is right for a policy with adapters, whose base it is.
    """

    def __init__(self, policy: Model, reference: Model | None, how: DpoSettings) -> None:
        super().__init__()
        check_reference(policy, reference, True)
        self.policy, self.how = policy.eval(), how
        self.reference = None if reference is None else reference.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Aligner:
        """Keeps both in evaluation mode."""
        super().train(mode)
        self.policy.eval()
        if self.reference is not None:
            self.reference.eval()
        return self


def align(aligner: nn.Module, pairs: Sequence[Preference], rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    """The objective of a ``Run`` over batches of pairs."""
    assert isinstance(aligner, Aligner)
    seed = int(torch.randint(0, 2**62, (), generator=rng))
    return dpo(aligner.policy, aligner.reference, pairs, seed, aligner.how)
