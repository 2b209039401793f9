"""A manifest: one JSON object a line, each a piece of work.

    {"do": "generate", "id": "cat", "prompt": "a cat", "seed": 7, "n": 2}
    {"do": "verify", "prompt": "three red apples", "verify": "parm", "n": 8, "judge": "scenes"}
    {"do": "judge", "image": "cat.png", "prompt": "a cat", "judge": "clip"}
    {"do": "mine", "prompt": "two red apples", "n": 8, "judge": "scenes"}

All is checked before the first row is done: names, types, ids, picture files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DRAWING: dict[str, tuple[type, ...]] = {
    "prompt": (str,), "seed": (int,), "n": (int,), "think": (bool,), "steps": (int,),
    "guidance": (int, float), "size": (int,), "fast": (str,),
}  # fmt: skip
_JUDGING: dict[str, tuple[type, ...]] = {"judge": (str,), "facts": (dict,)}
# what is done -> field -> its types
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "generate": {**_DRAWING, "image": (str,)},
    "verify": {**_DRAWING, "verify": (str,), "judge": (str,), "budget": (int, float)},
    "judge": {**_JUDGING, "prompt": (str,), "image": (str,)},
    "mine": {**_DRAWING, **_JUDGING},
}
NEEDED = {"generate": ("prompt",), "verify": ("prompt",), "judge": ("prompt", "image"), "mine": ("prompt",)}
ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


@dataclass(frozen=True)
class Job:
    """A row of the manifest. ``picture`` are the bytes of the file that it names, so that a worker on another machine
    has it too."""

    id: str
    do: str
    wish: Mapping[str, Any]
    picture: bytes | None = field(default=None, repr=False)


def read_manifest(path: Path) -> tuple[list[Job], str]:
    """(The jobs of a manifest, sha256 of the manifest and of every picture it names).

    Raises ValueError naming file, row and field of the first thing that is wrong.
    """
    if not path.is_file():
        raise ValueError(f"there is no manifest {str(path)!r}; give a file of JSON lines")
    jobs: list[Job] = []
    digest = hashlib.sha256()
    seen: dict[str, int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            job = _job(line, number, path)
            if job.id in seen:
                raise ValueError(f"{path}, row {number}, id: {job.id!r} is the id of row {seen[job.id]} too")
            seen[job.id] = number
            digest.update(line.strip() + b"\n" + hashlib.sha256(job.picture or b"").digest())
            jobs.append(job)
    if not jobs:
        raise ValueError(f"{path} holds no rows")
    return jobs, digest.hexdigest()


def _job(line: bytes, number: int, path: Path) -> Job:
    where = f"{path}, row {number}"
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: a row is a JSON object, not {str(value)[:40]!r}")
    do, name = value.pop("do", None), value.pop("id", f"{number:06d}")
    if do not in FIELDS:
        raise ValueError(f"{where}, do: {do!r} is not one of: {', '.join(FIELDS)}")
    if not isinstance(name, str) or not ID.fullmatch(name):
        raise ValueError(f"{where}, id: {name!r} must be letters, digits, dots and dashes, as it names files")
    for key, each in value.items():
        types = FIELDS[do].get(key)
        if types is None:
            raise ValueError(f"{where}, {key}: is not known; {do} takes: {', '.join(FIELDS[do])}")
        if not isinstance(each, types) or (isinstance(each, bool) and bool not in types):
            raise ValueError(f"{where}, {key}: must be {types[-1].__name__}, not {each!r}")
    for key in NEEDED[do]:
        if not value.get(key):
            raise ValueError(f"{where}, {key}: is missing, and {do} needs it")
    least = 2 if do == "mine" else 1
    if value.get("n", least) < least:
        raise ValueError(f"{where}, n: {value['n']} must be at least {least}")
    picture = None
    if "image" in value:
        file = path.parent / value["image"]
        if not file.is_file():
            raise ValueError(f"{where}, image: there is no picture file {str(file)!r}")
        picture = file.read_bytes()
    return Job(name, do, value, picture)
