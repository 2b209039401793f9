"""What is counted, and how it is told to Prometheus (text exposition format 0.0.4)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # of the histogram of seconds

_HELP = {
    "refused": "Requests that found no place (status 429).",
    "given_up": "Answers in the making that were given up, because the client went away or something failed.",
    "steps": "Steps that were made, each of all rows that step together.",
    "row_steps": "Rows that were made to go a step further.",
    "joined": "Groups of rows that caught up with others and went on together with them.",
    "step_seconds": "Seconds spent in steps.",
}


class Meter:
    """Counters that any thread may raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(_HELP, 0))
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, list[float]] = {}  # by path: a count for each bound, then the sum and the count

    def count(self, name: str, by: float = 1) -> None:
        """Raise a counter."""
        with self._lock:
            self._counts[name] += by  # type: ignore[assignment]

    def stepped(self, rows: int, seconds: float) -> None:
        """A step of so many rows."""
        with self._lock:
            self._counts.update({"steps": 1, "row_steps": rows})
            self._counts["step_seconds"] += seconds  # type: ignore[assignment]

    def answered(self, path: str, status: int, seconds: float) -> None:
        """A request came to its end."""
        with self._lock:
            self._requests[path, status] += 1
            told = self._seconds.setdefault(path, [0.0] * (len(BOUNDS) + 2))
            for i, bound in enumerate(BOUNDS):
                told[i] += seconds <= bound
            told[-2] += seconds
            told[-1] += 1

    def text(self, gauges: Mapping[str, Iterable[tuple[dict[str, str], float]]], helps: Mapping[str, str]) -> str:
        """Everything, with gauges measured now: name -> (labels, value)."""
        lines: list[str] = []

        def family(name: str, kind: str, told: str) -> None:
            lines.extend([f"# HELP limner_{name} {told}", f"# TYPE limner_{name} {kind}"])

        with self._lock:
            for name, told in _HELP.items():
                family(f"{name}_total", "counter", told)
                lines.append(f"limner_{name}_total {_number(self._counts[name])}")
            family("requests_total", "counter", "HTTP requests by path and status.")
            for (path, status), count in sorted(self._requests.items()):
                lines.append(f"limner_requests_total{_labels({'path': path, 'status': str(status)})} {count}")
            family("request_seconds", "histogram", "Seconds from a request's beginning to the end of its answer.")
            for path, told_ in sorted(self._seconds.items()):
                for bound, count_ in zip((*map(str, BOUNDS), "+Inf"), (*told_[:-2], told_[-1]), strict=True):
                    labels = _labels({"path": path, "le": bound})
                    lines.append(f"limner_request_seconds_bucket{labels} {_number(count_)}")
                lines.append(f"limner_request_seconds_sum{_labels({'path': path})} {_number(told_[-2])}")
                lines.append(f"limner_request_seconds_count{_labels({'path': path})} {_number(told_[-1])}")
        for name, values in gauges.items():
            family(name, "gauge", helps[name])
            lines.extend(f"limner_{name}{_labels(labels)} {_number(value)}" for labels, value in values)
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(round(float(value), 6))


def _labels(labels: Mapping[str, str]) -> str:
    escaped = {k: v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for k, v in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}" if labels else ""
