"""What docs/serving.md shows is true: its calls run on the model inside the package, its tables are the code's."""

import re
from dataclasses import fields
from pathlib import Path

from live import serving

from limner.answer import Limner
from limner.app.cli import parse
from limner.app.serve.command import Serve
from limner.app.serve.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_calls_run_and_give_what_python_gives(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    limner = Limner.load("tiny-mmada")
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    with serving({"tiny-mmada": limner}) as live:
        names = {}
        exec(compile(block.replace("http://127.0.0.1:8000", live.base), "serving.md", "exec"), names)
        names["client"].close()
    assert (tmp_path / "apple.png").read_bytes() == limner.generate("a red apple", seed=7).png()
    said = capsys.readouterr().out
    assert said.count("step ") == 2 and said.splitlines()[-1] == names["reply"].choices[0].message.content


def test_the_command_is_one():
    command = re.search(r"^\$ limner (serve .*)$", PAGE, flags=re.MULTILINE)[1]
    assert parse(command.split()).settings().port == 8000


def test_the_limits_are_those_of_the_code():
    rows = re.findall(r"^\|[^|]+\| `--([a-z-]+)` \| ([\d,]+) \|$", PAGE, flags=re.MULTILINE)
    own = {field.name.replace("_", "-"): field.default for field in fields(Serve)}
    assert len(rows) == 6 and {name: int(value.replace(",", "")) for name, value in rows} == {
        name: own[name] for name, _ in rows
    }
    for name in ("prompt", "pictures", "candidates"):
        assert f"({getattr(Settings, name):,})" in PAGE
    assert f"({Settings.budget:g})" in PAGE
