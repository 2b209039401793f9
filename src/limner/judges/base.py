"""A judge takes samples and returns verdicts. Judges are composed by weight; what could not be judged stays None."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from limner.parts import Sample, Verdict

Judge = Callable[[Sequence[Sample]], list[Verdict]]


def weigh(**judges: tuple[Judge, float]) -> Judge:
    """A judge whose score is the weighted sum of others, with every named score kept in ``Verdict.parts``.

    If one of them could not judge a sample, the sum is None too.
    """
    if not judges:
        raise ValueError("weigh needs at least one named judge, as in weigh(format=(judge, 1.0))")

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        opinions = {name: each(samples) for name, (each, _) in judges.items()}
        for name, verdicts in opinions.items():
            if len(verdicts) != len(samples):
                raise ValueError(f"the judge {name!r} gave {len(verdicts)} verdicts for {len(samples)} samples")
        verdicts = []
        for i in range(len(samples)):
            scores = {name: opinions[name][i].score for name in judges}
            known = [score * judges[name][1] for name, score in scores.items() if score is not None]
            total = sum(known) if len(known) == len(judges) else None
            why = "; ".join(f"{name}: {opinions[name][i].why}" for name in judges if opinions[name][i].why)
            verdicts.append(Verdict(total, scores, why))
        return verdicts

    return judge
