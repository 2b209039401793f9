"""A stream's order is a function of seed and place: at any slot, for any number of processes."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from limner.data.batches import bucketed, from_names
from limner.data.messages import BadRow
from limner.data.stream import Report, Stream, parts_of


@pytest.fixture
def files(tmp_path):
    """Three files of 40, 25 and 10 rows."""
    names = {}
    for name, count in (("a", 40), ("b", 25), ("c", 10)):
        path = tmp_path / f"{name}.jsonl"
        with path.open("w") as file:
            for i in range(count):
                said = [{"role": "user", "content": f"{name}{i}"}, {"role": "assistant", "content": "x" * (i + 1)}]
                file.write(json.dumps({"messages": said}) + "\n")
        names[name] = str(path)
    return names


def words(found):
    return found.row.turns[0].parts[0].text


def take(stream, count):
    return [words(one) for one in islice(stream, count)]


@pytest.fixture
def mixed(files):
    return [f"{files['a']}@3", files["b"], f"{files['c']}@0.5"]


def stream(names, **options):
    return Stream(parts_of(names), **{"window": 8, "seed": 5, **options})


def test_one_pass_gives_every_row_once_and_the_next_in_another_order(files):
    found = take(stream([files["a"]]), 80)
    assert Counter(found[:40]) == Counter(found[40:]) == Counter(f"a{i}" for i in range(40))
    assert found[:40] != found[40:]


def test_without_shuffling_rows_come_as_they_stand(files):
    assert take(stream([files["c"]], shuffle=False), 12) == [f"c{i % 10}" for i in range(12)]


def test_weights_are_shares(mixed):
    found = Counter(word[0] for word in take(stream(mixed), 4500))
    for name, share in (("a", 3 / 4.5), ("b", 1 / 4.5), ("c", 0.5 / 4.5)):
        assert found[name] / 4500 == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("slot", [0, 1, 7, 8, 100, 333])
def test_a_stream_can_begin_at_any_slot(mixed, slot):
    wanted = take(stream(mixed), slot + 20)[slot:]
    other = stream(mixed)
    other.seek(slot)
    assert take(other, 20) == wanted


def test_seeking_reads_only_the_window_where_the_length_is_known(files, monkeypatch):
    parts = parts_of([files["a"]])
    read = []
    window = parts[0].source.window
    monkeypatch.setattr(parts[0].source, "window", lambda start, size: read.append(start) or window(start, size))
    one = Stream(parts, window=8, seed=5)
    one.seek(1000 * 40 + 19)
    next(one)
    assert read == [16]


@pytest.mark.parametrize("slot", [1, 8, 40, 75])
def test_a_state_goes_on_also_through_json(mixed, slot):
    one = stream(mixed)
    take(one, slot)
    state = json.loads(json.dumps(one.state_dict()))
    wanted = take(one, 60)
    other = stream(mixed)
    other.load_state_dict(state)
    assert take(other, 60) == wanted


def test_a_state_of_other_sources_is_refused(files, mixed):
    with pytest.raises(ValueError, match="3 sources with seed 5, this stream has 1"):
        stream([files["a"]]).load_state_dict(stream(mixed).state_dict())


def test_processes_share_the_slots_and_their_number_may_change(mixed):
    whole = take(stream(mixed), 120)
    ranks = [stream(mixed, rank=rank, world=3) for rank in range(3)]
    parts = [take(one, 20) for one in ranks]
    assert [word for slots in zip(*parts, strict=True) for word in slots] == whole[:60]
    state = ranks[2].state_dict()  # the last process has seen slot 59
    two = [stream(mixed, rank=rank, world=2) for rank in range(2)]
    for one in two:
        one.load_state_dict(state)
    after = [take(one, 10) for one in two]
    assert [word for slots in zip(*after, strict=True) for word in slots] == whole[60:80]


def test_what_is_streamed_resumes_through_marks(files, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = [json.loads(line) for line in Path(files["a"]).read_text().splitlines()]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "arrow"))
    name = str(tmp_path / "arrow")
    wanted = take(stream([name]), 100)
    one = stream([name])
    assert take(one, 53) == wanted[:53]
    other = stream([name])
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert take(other, 47) == wanted[53:]
    third = stream([name])
    third.seek(53)
    assert take(third, 47) == wanted[53:]


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.jsonl"
    good = '{"messages": [{"role": "user", "content": "r%d"}, {"role": "assistant", "content": "x"}]}'
    lines = [good % i for i in range(20)]
    lines[4], lines[11] = "{", '{"messages": [{"role": "user", "content": "r11"}]}'
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_a_broken_row_ends_a_stream_with_file_row_and_reason(broken):
    with pytest.raises(BadRow, match=r"broken.jsonl, row (5: is not JSON|12, messages: end without)"):
        take(stream([broken]), 20)


def test_or_is_left_out_and_reported_once(broken, tmp_path):
    report = Report("skip", tmp_path / "report.jsonl")
    found = take(stream([broken], report=report), 40)
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert sorted((line["row"], line["field"]) for line in lines) == [(5, ""), (12, "messages")]
    assert "r4" not in found and len(set(found)) == 18
    again = Report("skip", tmp_path / "report.jsonl")
    take(stream([broken], report=again), 40)
    assert len((tmp_path / "report.jsonl").read_text().splitlines()) == 2


def test_broken_rows_do_not_shift_what_other_processes_see(broken):
    def report():
        return Report("skip")

    whole = take(stream([broken], report=report()), 40)
    parts = [take(stream([broken], report=report(), rank=rank, world=2), 20) for rank in range(2)]
    assert [word for slots in zip(*parts, strict=True) for word in slots] == whole


def test_too_many_broken_rows_are_an_error(broken):
    with pytest.raises(ValueError, match="more than 1 rows are broken"):
        take(stream([broken], report=Report("skip", most=1)), 20)


def test_nothing_but_broken_rows_is_an_error(tmp_path):
    (tmp_path / "x.jsonl").write_text("{\n" * 5)
    with pytest.raises(ValueError, match="none of 5 rows can be used"):
        next(stream([str(tmp_path / "x.jsonl")], report=Report("skip")))


def test_empty_sources_and_weights_that_are_none(tmp_path):
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds no rows"):
        next(stream([str(tmp_path / "x.jsonl")]))
    with pytest.raises(ValueError, match="a weight is a number above 0"):
        parts_of([f"{tmp_path / 'x.jsonl'}@0"])


@pytest.mark.parametrize("length", [None, lambda one: len(one.row.turns[1].parts[0].text)])
def test_the_batch_of_a_step_depends_on_seed_and_step_alone(mixed, length):
    batches = from_names(mixed, window=8, length=length, group=4)
    wanted = list(islice(batches(3, 0, 6), 30))
    for start in (1, 4, 13, 29):
        assert [words(x) for x in next(batches(3, start, 6))] == [words(x) for x in wanted[start]]
    assert [words(x) for x in next(batches(4, 0, 6))] != [words(x) for x in wanted[0]]


def test_rows_of_like_length_share_a_batch():
    rows = [(i * 37) % 64 for i in range(64)]
    found = bucketed(rows, lambda value: value, 8, "0")
    assert sorted(value for batch in found for value in batch) == list(range(64))
    assert all(max(batch) - min(batch) == 7 for batch in found)
    assert [batch[0] for batch in found] != sorted(batch[0] for batch in found)
