"""The gate of group learning: at the first update of a round, what is scored is what was sampled, by the same weights.

A ratio means something only if unchanged weights give 1. So before a round is learned from, its rows are held against
their sampler: what was kept are the sampled values, the scoring forward finds them as likely as the sampler did, a
picture's steps lead from one recorded latent to the next, old and new log-probabilities are equal, nothing drops out,
and the reference does not move along. Whatever differs stops the run with a ``Mismatch`` that names the part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from limner.algorithms.adapters import has_adapters
from limner.algorithms.recording import Sampled, Watched
from limner.models.base import Model
from limner.parts import PartKind, Plan, Sample
from limner.process.base import Draw
from limner.process.flow import to_latents

# Largest difference of a log-probability. Old and new are computed by the same operations: in float32 the difference is
# 0. A sampler works on other shapes, in its own order; where weights or autocast are narrow both are rounded by them.
SAME, SAME_NARROW = 1e-6, 1e-3
AS_SAMPLED, AS_SAMPLED_NARROW = 1e-2, 0.5
STEP = 1e-3  # largest difference of the noise of a picture's step from the noise that was drawn, in deviations


class Mismatch(ValueError):
    """What is to be scored is not what was sampled, or not by the same weights."""


def narrow(model: nn.Module) -> bool:
    """The model computes in less than float32."""
    first = next(model.parameters())
    return first.dtype != torch.float32 or torch.is_autocast_enabled(first.device.type)


def check_reference(policy: nn.Module, reference: nn.Module | None, compares: bool) -> None:
    """A reference where one is needed, with weights of its own. Raises ValueError."""
    if compares and reference is None and not has_adapters(policy):
        raise ValueError(
            "a beta above 0 needs a reference: give another model, or put adapters on the policy, whose base it is "
            "then, or set every beta to 0"
        )
    if reference is None:
        return
    own = {p.untyped_storage().data_ptr(): name for name, p in policy.named_parameters() if p.requires_grad}
    for name, p in reference.named_parameters():
        if not p.is_meta and p.numel() and p.untyped_storage().data_ptr() in own:
            raise Mismatch(
                f"the reference shares the weight {name!r} with the policy that is trained, so it would move along; "
                "give a copy"
            )


def check_apart(name: str, moved: bool, divergence: Tensor) -> None:
    """A policy that has moved is apart from its reference; zero says that the reference moved along."""
    if moved and float(divergence.detach()) == 0.0:
        raise Mismatch(
            f"{name}: the policy has changed since its replies were made, but is exactly as far from its reference as "
            "before, 0: both are the same weights"
        )


def check_quiet(model: nn.Module) -> None:
    """Nothing drops out."""
    for name, module in model.named_modules():
        if module.training:
            raise Mismatch(
                f"{name or 'the policy'} ({type(module).__name__}) is in training mode, so dropout may be on and no "
                "ratio would be 1; put the policy into evaluation mode"
            )


def check_kept(name: str, samples: Sequence[Sample], values: Sequence[Tensor]) -> None:
    """``values`` (rows, N) of each part are those of the samples, row by row."""
    for part, kept in enumerate(values):
        own = [sample.reply[part] for sample in samples]
        raws = [torch.tensor(reply.raw, dtype=torch.int64) for reply in own if reply.raw is not None]
        if len(raws) < len(own):
            continue  # nothing to compare with
        rows = kept.cpu()
        wrong = [i for i, raw in enumerate(raws) if not torch.equal(rows[i, : len(raw)], raw[: rows.shape[1]])]
        if wrong:
            told = _cause(own[0].kind, rows, raws, wrong)
            raise Mismatch(f"{name}: the values kept of part {part} ({own[0].kind}) are not those sampled: {told}")


def _cause(kind: PartKind, rows: Tensor, raws: Sequence[Tensor], wrong: Sequence[int]) -> str:
    def same(i: int, j: int) -> bool:
        return torch.equal(rows[i, : len(raws[j])], raws[j][: rows.shape[1]])

    if all(any(same(i, j) for j in range(len(raws))) for i in wrong):
        return f"rows were shuffled (row {wrong[0]} holds another's)"
    if kind == "image" and len(raws[0]) == rows.shape[1] and _is_narrow(to_latents(rows[wrong])):
        return "latents were cast to bfloat16"
    return f"row {wrong[0]} differs"


def _is_narrow(latents: Tensor) -> bool:
    return torch.equal(latents, latents.bfloat16().float())


def check_sampled(
    name: str,
    model: Model,
    plan: Plan,
    watched: Watched,
    values: Sequence[Tensor],
    score: Callable[[int, Tensor, Draw], Tensor],
) -> None:
    """The scoring forward finds the first rows as likely as their sampler did.

    ``values`` (rows, N) are those kept, part by part; score(part, values, draw) is their (rows, N) log-probabilities.
    Parts that were sampled from other probabilities than those that are scored (with guidance, or a penalty on what
    stands already) and pictures made by a flow are left out.
    """
    wide = AS_SAMPLED_NARROW if narrow(model) else AS_SAMPLED
    for part, ask in enumerate(plan):
        wish, process, kept = model.settings(ask, 1), model.process(ask.kind), values[part]
        sampled = Sampled.of(watched.told[part], wish.length)
        if sampled is None or wish.guidance > 0 or getattr(process, "penalty", 1.0) != 1.0:
            continue
        drawn, told, at = (
            each[: len(kept)].to(kept.device) for each in (sampled.values, sampled.log_prob, sampled.wanted)
        )
        if sampled.in_order:
            draw = process.draw(kept, None)
            at = at & draw.hidden
            other = ((drawn != kept) & at).any(dim=1)
            if bool(other.any()):
                row = int(other.nonzero()[0])
                raise Mismatch(f"{name}: part {part} ({ask.kind}) of row {row} is not what its sampler chose")
            found = score(part, kept, draw)
        else:
            found = score(part, drawn, Draw(torch.ones_like(at), torch.ones(len(kept), device=kept.device)))
        gap = (found - told).abs().where(at, torch.zeros_like(told))
        if not float(gap.max()) <= wide:
            row, place = divmod(int(gap.argmax()), gap.shape[1])
            raise Mismatch(
                f"{name}: part {part} ({ask.kind}) is scored {float(gap.max()):.2g} away from what its sampler found "
                f"(row {row}, place {place}), with the same weights: sampling and scoring differ in positions, context "
                "or something that is remembered"
            )


def check_unchanged(
    name: str, part: int, model: nn.Module, new: Tensor, old: Tensor, counted: Tensor | None = None
) -> None:
    """Old and new log-probabilities of unchanged weights are equal: every ratio is 1."""
    wide = SAME_NARROW if narrow(model) else SAME
    gap = (new - old).abs()
    gap = gap if counted is None else gap * counted
    if gap.numel() and not float(gap.max()) <= wide:
        raise Mismatch(
            f"{name}: unchanged weights score part {part} {float(gap.max()):.2g} apart in log-probability, so its "
            "ratios are not 1 at the first update: score with the same hidden values and noise for both policies, the "
            "same rows together, and without dropout"
        )


def check_path(name: str, path: Tensor, steps: int, values: Tensor | None) -> None:
    """A trajectory (rows, S + 1, N) has every step of its sampler and ends in the kept picture (rows, N), if given."""
    if path.shape[1] != steps + 1:
        raise Mismatch(
            f"{name}: a picture's trajectory has {path.shape[1]} entries, but its sampler makes {steps + 1} (the "
            "noise, then one a step): an entry was dropped or doubled"
        )
    if values is not None and not torch.equal(path[:, -1].cpu(), to_latents(values).cpu()):
        why = "; its latents were cast to bfloat16" if _is_narrow(path) else ""
        raise Mismatch(f"{name}: a picture's trajectory does not end in the picture that was kept{why}")


def check_step(name: str, step: int, mean: Tensor, deviation: float, path: Tensor, noise: Tensor) -> None:
    """The scored mean (rows, N) of a picture's step and its noise (rows, N) lead to the latents that the trajectory
    (rows, S + 1, N) holds after it."""
    found = (path[:, step + 1] - mean.detach()) / deviation
    gap = float((found - noise.to(found.device)).abs().max())
    if gap <= STEP:
        return
    cause = "time, guidance, condition or weights of scoring are not those of sampling, or rows were shuffled"
    if _is_narrow(path):
        cause = "the latents were cast to bfloat16"
    raise Mismatch(
        f"{name}: step {step} of the picture, as it is scored, is not the one that was sampled ({gap:.2g} deviations "
        f"away): {cause}"
    )
