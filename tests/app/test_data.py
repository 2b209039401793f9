"""`limner data`, through the command line."""

import json

import pytest
from PIL import Image as pil

from limner.app.cli import main


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Three rows as Nexus-Gen writes them, of which the second is broken."""
    monkeypatch.chdir(tmp_path)
    pil.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    lines = [
        {"id": "1", "images": ["a.png"], "messages": [{"role": "user", "content": "a red field"},
                                                      {"role": "assistant", "content": "Here: <image>"}]},
        {"id": "2", "images": ["b.png"], "messages": [{"role": "user", "content": "<image>what?"},
                                                      {"role": "assistant", "content": "red"}]},
        {"id": "3", "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello you"}]},
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_validate_names_file_row_and_field(rows, capsys):
    assert main(["data", "validate", "rows.jsonl"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "rows.jsonl, row 2, images[0]: there is no picture file 'b.png'",
        "rows        3, of which 1 are broken",
    ]
    assert main(["data", "validate", "rows.jsonl", "--json"]) == 2
    bad, total = map(json.loads, capsys.readouterr().out.splitlines())
    assert bad == {"file": "rows.jsonl", "row": 2, "field": "images[0]", "reason": "there is no picture file 'b.png'"}
    assert total == {"rows": 3, "broken": 1}
    assert main(["data", "validate", "rows.jsonl", "--pictures", "named"]) == 0


def test_stats(rows, capsys):
    assert main(["data", "stats", "rows.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"] == {"draw": 1, "understand": 1, "talk": 1} and found["words"]["most"] == 4
    assert main(["data", "stats", "rows.jsonl", "--sizes"]) == 0
    out = capsys.readouterr().out
    assert "2 and 1 broken" in out and "sizes       8 x 6 1" in out


def test_show(rows, capsys):
    assert main(["data", "show", "rows.jsonl", "-n", "1", "-o", "s/sheet.png"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "rows.jsonl, row 1: draw, 1",
        "  user       a red field",
        "  assistant  Here:",
        "  assistant  [picture a.png, 8 x 6]",
        "sheet       s/sheet.png",
    ]
    with pil.open("s/sheet.png") as sheet:
        assert sheet.width > 100
    assert main(["data", "show", "rows.jsonl", "--row", "9"]) == 2
    assert "there is no row 9" in capsys.readouterr().err


def test_import_stops_or_skips_and_says_so(rows, capsys):
    assert main(["data", "import", "rows.jsonl", "-o", "out/new.jsonl"]) == 2
    assert "row 2" in capsys.readouterr().err and not (rows / "out" / "new.jsonl").exists()
    assert main(["data", "import", "rows.jsonl", "-o", "out/new.jsonl", "--broken", "skip", "--source", "mine"]) == 0
    assert "2 rows in out/new.jsonl" in capsys.readouterr().out
    assert json.loads((rows / "out" / "new.jsonl.broken.jsonl").read_text())["row"] == 2
    first = json.loads((rows / "out" / "new.jsonl").read_text().splitlines()[0])
    assert first["source"] == "mine"
    assert first["messages"][1]["content"][1] == {"type": "image", "path": "../a.png"}
    assert main(["data", "validate", "out/new.jsonl", "--pictures", "read"]) == 0


def test_import_copies_pictures_where_it_is_told_to(rows, capsys):
    assert main(["data", "import", "rows.jsonl", "-o", "o/new.jsonl", "--broken", "skip", "--copy"]) == 0
    assert (rows / "o" / "new_pictures" / "000001.0.png").is_file()
    assert main(["data", "validate", "o/new.jsonl", "--pictures", "read"]) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["validate"], "give at least one file"),
        (["validate", "none.jsonl"], "there is no file or folder"),
        (["show", "rows.jsonl", "-o", "x.jpg"], "a sheet is saved as PNG"),
        (["import", "rows.jsonl", "-o", "x.csv"], "give a file ending in one of"),
        (["import", "rows.jsonl", "-o", "rows.jsonl"], "exists already"),
        (["import", "rows.jsonl", "-o", "x.tar", "--copy"], "leave out --copy"),
    ],
)
def test_bad_wishes_are_one_line_and_status_two(rows, capsys, arguments, reason):
    assert main(["data", *arguments]) == 2
    told = capsys.readouterr().err
    assert reason in told and told.count("\n") == 1
