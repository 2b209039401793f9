"""A scored run as one HTML file that needs nothing else: tables with intervals drawn, pictures with their verdicts."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from limner.bench.alarms import against
from limner.bench.run import cost_of, rows_of, write_whole
from limner.bench.score import Axis, gate, report_of, scores_of

SHOWN = 6  # pictures a group
MOVED = 10  # prompts with the largest change
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#a11}.good{color:#161}
.grid{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0;width:9rem;font-size:12px}
figure img{width:9rem;height:9rem;object-fit:contain;image-rendering:pixelated;background:#eee}
pre{white-space:pre-wrap;background:#f5f5f5;padding:.6rem;font-size:12px}
"""


def write(folder: Path, baseline: Path | None = None) -> Path:
    """Write ``report.html`` into a scored run folder; with ``baseline`` it has the paired comparison too."""
    report, scores = report_of(folder), scores_of(folder)
    rows = {(row["id"], row["seed"]): row for row in rows_of(folder)}
    manifest, counts = report["manifest"], report["counts"]
    tags = [*dict.fromkeys(line["tag"] for line in scores), "all"]
    title = f"{manifest['model']} on {report['benchmark']}"
    lost = ", ".join(f"{counts[state]} {state}" for state in ("missing", "unparsed", "unanswered"))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{manifest['count']} prompts, {manifest['seeds']} of each. Judged by: {escape(report['protocol'])}. "
        f"{counts['judged']} judged, {lost} (policy for missing: {escape(report['missing_policy'])}).</p>",
        *_alarms(report, baseline),
        "<h2>Success by group</h2>",
        _shares({tag: report["tags"][tag] for tag in tags}, report["passes"]),
    ]
    if report["official"]:
        parts += [
            "<h2>The benchmark's own figures</h2>",
            f"<pre>{escape(json.dumps(report['official'], indent=1))}</pre>",
        ]
    if baseline is not None:
        axes = gate(folder, baseline)
        parts += [f"<h2>Against {escape(str(baseline))}</h2>", _axes(axes), _moved(scores, scores_of(baseline), rows)]
    parts += ["<h2>Cost</h2>", _costs(folder, baseline)]
    parts += ["<h2>Samples</h2>", *_groups(folder, scores, rows)]
    parts += ["<h2>Manifest</h2>", f"<pre>{escape(json.dumps(manifest, indent=1, sort_keys=True))}</pre>"]
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    path = folder / "report.html"
    write_whole(path, page + "\n".join(parts) + "</html>\n")
    return path


def _alarms(report: Mapping[str, Any], baseline: Path | None) -> list[str]:
    """What gives reason to doubt the score, and the signs that it was taken from."""
    signs = report.get("signs")
    if signs is None:
        return []
    raised = list(signs["alarms"])
    if baseline is not None:
        raised += against(signs, report_of(baseline).get("signs", {}))
    means = [f"{name} {v['mean']:.4g}" for name, v in signs.items() if isinstance(v, dict) and "mean" in v]
    return [*(f"<p class='bad'>Alarm: {escape(words)}</p>" for words in raised), f"<p>Signs: {', '.join(means)}.</p>"]


def _costs(folder: Path, baseline: Path | None) -> str:
    rows = []
    for name, where in (("this run", folder), ("baseline", baseline)):
        if where is not None:
            cost = cost_of(where)
            rows.append(
                f"<tr><td>{name}</td><td class='n'>{cost['passes_per_sample']:g}</td>"
                f"<td class='n'>{cost['seconds_per_sample']:.3f}</td><td class='n'>{cost['seconds']:.1f}</td></tr>"
            )
    return _table(("", "-passes a sample", "-seconds a sample", "-seconds in all"), rows)


def _table(names: Sequence[str], rows: Sequence[str]) -> str:
    """A table; a name with a dash in front stands over numbers."""
    head = "".join(f"<th class='n'>{name[1:]}</th>" if name[:1] == "-" else f"<th>{name}</th>" for name in names)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _bar(low: float, mean: float, high: float, begin: float, end: float) -> str:
    """A picture of an interval on the axis from ``begin`` to ``end``."""

    def x(value: float) -> float:
        return 5 + 190 * (value - begin) / (end - begin)

    zero = f"<line x1='{x(0):.1f}' x2='{x(0):.1f}' y1='0' y2='14' stroke='#bbb'/>" if begin < 0 else ""
    return (
        f"<svg width='200' height='14' role='img' aria-label='{low:.3f} to {high:.3f}'>{zero}"
        f"<line x1='5' x2='195' y1='7' y2='7' stroke='#eee'/>"
        f"<line x1='{x(low):.1f}' x2='{x(high):.1f}' y1='7' y2='7' stroke='#369' stroke-width='3'/>"
        f"<circle cx='{x(mean):.1f}' cy='7' r='4' fill='#369'/></svg>"
    )


def _shares(tags: Mapping[str, Any], passes: Mapping[str, float | None]) -> str:
    rows = [
        f"<tr><td>{escape(tag)}</td><td class='n'>{v['mean']:.3f}</td>"
        f"<td class='n'>{v['low']:.3f} to {v['high']:.3f}</td>"
        f"<td>{_bar(v['low'], v['mean'], v['high'], 0, 1)}</td><td class='n'>{v['prompts']}</td>"
        f"<td class='n'>{_number(passes[tag])}</td></tr>"
        for tag, v in tags.items()
    ]
    return _table(("group", "-mean", "-95% interval", "0 to 1", "-prompts", "-passes"), rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _axes(axes: Sequence[Axis]) -> str:
    rows = [
        f"<tr class='{'bad' if a.fell else ''}'><td>{escape(a.name)}</td><td class='n'>{a.now:.3f}</td>"
        f"<td class='n'>{a.before:.3f}</td><td class='n'>{a.change:+.3f}</td><td>{_bar(a.low, a.change, a.high, -1, 1)}"
        f"</td><td class='n'>{_number(a.passes)}</td><td class='n'>{_number(a.passes_before)}</td>"
        f"<td>{'fell' if a.fell else ''}</td></tr>"
        for a in axes
    ]
    names = ("group", "-now", "-before", "-change", "from -1 to 1", "-passes", "-before", "")
    return _table(names, rows)


def _moved(
    now: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]],
    rows: Mapping[tuple[str, int], Mapping[str, Any]],
) -> str:
    """The prompts whose mean changed most."""
    changes: dict[str, list[float]] = {}
    theirs = {(s["id"], s["seed"]): s["score"] for s in before}
    for line in now:
        if (line["id"], line["seed"]) in theirs:
            changes.setdefault(line["id"], []).append(line["score"] - theirs[line["id"], line["seed"]])
    means = {key: sum(values) / len(values) for key, values in changes.items()}
    most = sorted((key for key in means if means[key]), key=lambda key: (-abs(means[key]), key))[:MOVED]
    prompts = {row["id"]: row["prompt"] for row in rows.values()}
    listed = "".join(
        f"<tr><td class='n'>{means[key]:+.2f}</td><td>{escape(prompts.get(key, key))}</td></tr>" for key in most
    )
    return f"<h3>Prompts that changed most</h3><table>{listed}</table>" if listed else "<p>No prompt changed.</p>"


def _groups(
    folder: Path, scores: Sequence[Mapping[str, Any]], rows: Mapping[tuple[str, int], Mapping[str, Any]]
) -> list[str]:
    parts = []
    for tag in dict.fromkeys(line["tag"] for line in scores):
        some = [line for line in scores if line["tag"] == tag][:SHOWN]
        shown = "".join(_figure(folder, line, rows.get((line["id"], line["seed"]))) for line in some)
        parts.append(f"<h3>{escape(tag)}</h3><div class='grid'>{shown}</div>")
    return parts


def _figure(folder: Path, line: Mapping[str, Any], row: Mapping[str, Any] | None) -> str:
    picture = ""
    if row is not None and row["image"] is not None:
        data = base64.b64encode((folder / row["image"]).read_bytes()).decode("ascii")
        picture = f"<img alt='' src='data:image/png;base64,{data}'>"
    said = escape(str(row["text"])) if row is not None and row["text"] is not None else ""
    prompt = escape(row["prompt"]) if row is not None else escape(line["id"])
    kind = "good" if line["score"] == 1 else "bad"
    verdict = f"<div class='{kind}'>{line['score']:g}: {escape(line['why'] or line['state'])}</div>"
    return f"<figure>{picture}<div>{prompt}</div><div>{said}</div>{verdict}</figure>"
