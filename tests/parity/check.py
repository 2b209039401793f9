"""Everything that a reference folder records, computed by limner and compared.

    python tests/parity/check.py DIR

One row a tensor: its error and its limit. Floats: the largest difference relative to the largest recorded number;
integers: how many differ; pixels: by how many levels. Exits with 1 if any is beyond its limit.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

import checks_kindred  # noqa: E402
import checks_layout  # noqa: E402
import checks_sampling  # noqa: E402
import checks_showo  # noqa: E402
import checks_training  # noqa: E402
import torch  # noqa: E402
from reference import Reference  # noqa: E402

from limner.models.parity import Row  # noqa: E402

CHECKS = [*checks_layout.CHECKS, *checks_sampling.CHECKS, *checks_kindred.CHECKS, *checks_training.CHECKS]


def read(folder):
    """(the reference in a folder, its checks); ValueError for a folder that is none."""
    if (Path(folder) / "tiny" / "runs.json").is_file():
        return checks_showo.ShowOReference(folder), checks_showo.CHECKS
    if (Path(folder) / "selection_cases.json").is_file():
        import checks_cot

        return checks_cot.CotReference(folder), checks_cot.CHECKS
    if (Path(folder) / "checkpoint" / "image_decoder").is_dir():
        import checks_mindomni  # loads both large libraries

        return checks_mindomni.MindOmniReference(folder), checks_mindomni.CHECKS
    if (Path(folder) / "edit_decoder").is_dir():
        import checks_nexusgen

        return checks_nexusgen.NexusReference(folder), checks_nexusgen.CHECKS
    return Reference(folder), CHECKS


def rows(ref, checks):
    """The rows of every check, in order; a check that cannot be computed at all is a row of its own."""
    for check in checks:
        try:
            yield from check(ref)
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            yield Row(f"{check.__name__} stopped: {type(error).__name__} {error}".splitlines()[0], float("inf"), 0.0)


def benchmarks(golden):
    """Every golden scoring case of a folder; 1 if any differs or a file has no check."""
    import checks_benchmarks

    worst = 0
    for path in sorted(golden.glob("*.jsonl")):
        if path.stem not in checks_benchmarks.COMPUTED:
            print(f"WRONG {path.stem}: nothing computes it")
            worst = 1
            continue
        number, wrong = checks_benchmarks.mismatches(golden, path.stem)
        print(f"{'WRONG' if wrong else 'ok':<6}{number - len(wrong):>4} of {number:<4} {path.stem}")
        print("".join(f"      {line}\n" for line in wrong[:5]), end="")
        worst = max(worst, bool(wrong))
    return int(worst)


def main(arguments):
    """The exit status: 0 all right, 1 a mismatch, 2 no reference folder."""
    if len(arguments) != 1:
        print("usage: python tests/parity/check.py DIR", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    golden = next(
        (f for f in (Path(arguments[0]) / "golden", Path(arguments[0])) if any(f.glob("geneval_*.jsonl"))), None
    )
    if golden is not None:
        return benchmarks(golden)
    try:
        ref, checks = read(arguments[0])
    except ValueError as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    compared, wrong = set(), 0
    for row in rows(ref, checks):
        print(f"{'ok' if row.ok else 'WRONG':<6}{row.error:>10.2e}  limit {row.limit:.0e}  {row.tensor}", flush=True)
        compared.add(row.tensor)
        wrong += not row.ok
    rest = sorted(ref.io.keys() - compared)
    print(f"{len(compared)} tensors compared, {wrong} wrong; {len(rest)} are inputs of these:")
    print("  " + ", ".join(rest))
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
