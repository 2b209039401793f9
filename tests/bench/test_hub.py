"""Data sets as the hub has them, in Parquet, become the lines that the benchmarks read."""

import io

import pytest
from PIL import Image as pil

from limner.bench import hub, suites

parquet = pytest.importorskip("pyarrow.parquet")


def picture(colour="red"):
    buffer = io.BytesIO()
    pil.new("RGB", (8, 8), colour).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def write(path, rows):
    import pyarrow

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


ROWS = {
    "mmmu": {"id": "validation_Art_1", "question": "<image 1>?", "options": "['x', 'y']", "answer": "B",
             "image_1": picture(), "image_2": None},
    "mmbench": {"index": 1_000_003, "question": "Which?", "hint": "Look.", "A": "x", "B": "y", "C": None, "answer": "B",
                "image": picture()},
    "realworldqa": {"question": "Left or right?", "answer": "A", "image": picture()},
    "pope": {"id": "1", "question": "Is there a cat?", "answer": "yes", "category": "random", "image": picture()},
    "seed": {"question_id": "1", "question": "?", "answer": "B", "choice_a": "x", "choice_b": "y", "choice_c": "z",
             "choice_d": "w", "image": [picture()]},
    "vqav2": {"question_id": 1, "question": "?", "answers": [{"answer": "yes"}, {"answer": "no"}], "image": picture()},
    "gsm8k": {"question": "1+1?", "answer": "#### 2"},
    "math": {"unique_id": "m/1", "problem": "1+1?", "solution": "\\boxed{2}", "subject": "Algebra"},
    "choices": {"question": "?", "choices": {"label": ["1", "2"], "text": ["x", "y"]}, "answerKey": "2"},
}  # fmt: skip
SPLITS = {"mmmu": "validation", "mmbench": "dev", "vqav2": "validation"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_copy_of_a_data_set_becomes_a_benchmarks_questions(name, tmp_path):
    folder = tmp_path / "copy"
    write(folder / "data" / f"{SPLITS.get(name, 'test')}-00000-of-00001.parquet", [ROWS[name]] * 2)
    write(folder / "data" / "train-00000-of-00001.parquet", [{"other": 1}])
    path = hub.data_of(str(folder), name)
    items = suites.find_suite(name).items(path, 0)
    assert len(items) == 2 and bool(items[0].pictures) == ("image" in str(ROWS[name].keys()))
    assert items[0].facts["answer"] == {"mmmu": "B", "vqav2": ["yes", "no"], "choices": "B"}.get(
        name, ROWS[name].get("answer", ROWS[name].get("solution"))
    )
    assert items[0].task().prompt[0].text.startswith(items[0].prompt[:1])
    before = path.stat().st_mtime_ns
    assert hub.data_of(str(folder), name) == path and path.stat().st_mtime_ns == before


def test_options_are_written_below_the_question_and_rotations_share_a_group(tmp_path):
    write(tmp_path / "copy" / "dev-00000-of-00001.parquet", [ROWS["mmbench"], ROWS["mmbench"] | {"index": 3}])
    items = suites.find_suite("mmbench").items(hub.data_of(str(tmp_path / "copy"), "mmbench"), 0)
    assert items[0].prompt == "Look.\nWhich?\nA. x\nB. y" and [item.facts["group"] for item in items] == [3, 3]


def test_the_number_of_a_right_answer_is_a_letter(tmp_path):
    row = {"question": "?", "choices": ["x", "y", "z"], "answer": 2, "subject": "law"}
    write(tmp_path / "copy" / "test" / "0000.parquet", [row])
    (item,) = suites.find_suite("choices").items(hub.data_of(str(tmp_path / "copy"), "choices"), 0)
    assert (item.facts["answer"], item.tag) == ("C", "law")


def test_what_is_not_there_or_not_so_is_said(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="gsm8k.jsonl, gsm8k.json, gsm8k.csv, or a hub data set's Parquet files"):
        hub.data_of(str(tmp_path / "empty"), "gsm8k")
    write(tmp_path / "copy" / "test-0.parquet", [{"other": 1}])
    with pytest.raises(ValueError, match="split dev"):
        hub.data_of(str(tmp_path / "copy"), "mmbench")
    for name in ("seed", "gsm8k"):
        with pytest.raises(ValueError, match=f"row 1 is not laid out as {name} is"):
            hub.data_of(str(tmp_path / "copy"), name)
    with pytest.raises(ValueError, match="gqa is not read from a hub data set"):
        hub.data_of(str(tmp_path / "copy"), "gqa")
    assert hub.data_of(str(tmp_path / "copy"), "geneval") is None  # it brings its own prompts
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: (_ for _ in ()).throw(OSError("offline")))
    with pytest.raises(ValueError, match="the hub gives no data set of that name \\(offline\\); go online"):
        hub.data_of("owner/name", "gsm8k")


def test_a_file_is_itself_and_a_folder_holds_one_for_each_benchmark(tmp_path):
    (tmp_path / "gsm8k.jsonl").write_text("{}\n")
    assert hub.data_of(None, "gsm8k") is None
    assert (
        hub.data_of(str(tmp_path), "gsm8k")
        == tmp_path / "gsm8k.jsonl"
        == hub.data_of(str(tmp_path / "gsm8k.jsonl"), "x")
    )
