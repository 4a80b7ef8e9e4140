"""Every item once, in order, in batches of one size; every shard once, whole or not at all."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftable.engine import in_batches, run_shards, write_atomically


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 7))
def test_batches_give_what_a_loop_gives(sizes, batch_size):
    rng = np.random.default_rng(0)
    items = [(number, list(rng.normal(size=(size, 3)))) for number, size in enumerate(sizes)]
    seen = []

    def call(batch):
        seen.append(len(batch))
        return batch.sum(axis=1, keepdims=True) * 2

    found = list(in_batches(items, call, batch_size))
    assert set(seen) <= {batch_size}
    assert len(seen) == -(-sum(sizes) // batch_size)
    assert [number for number, _ in found] == list(range(len(items)))
    for number, result in found:
        expected = [row.sum(keepdims=True) * 2 for row in items[number][1]]
        np.testing.assert_array_equal(result, np.array(expected).reshape(-1, 1))


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 7), st.integers(2, 5))
def test_calls_at_once_give_the_same_in_the_same_order(sizes, batch_size, at_once):
    rng = np.random.default_rng(0)
    items = [(number, list(rng.normal(size=(size, 3)))) for number, size in enumerate(sizes)]

    def call(batch):
        time.sleep(0.0005 * abs(batch[0, 0]))  # later ones may be done first
        return batch * 2

    want = list(in_batches(items, lambda batch: batch * 2, batch_size))
    found = list(in_batches(items, call, batch_size, at_once))
    assert [item for item, _ in found] == [item for item, _ in want]
    for (_, rows), (_, expected) in zip(found, want, strict=True):
        np.testing.assert_array_equal(rows, expected)


def test_calls_at_once_do_overlap_and_no_more_than_asked():
    together, most = threading.Barrier(3, timeout=5), []

    def call(batch):
        most.append(threading.active_count())
        together.wait()
        return batch

    before = threading.active_count()
    rows = [("all", [np.array([float(at)]) for at in range(9)])]
    ((_, found),) = in_batches(rows, call, 1, at_once=3)
    assert found.ravel().tolist() == list(range(9))
    assert max(most) <= before + 3


def test_after_a_call_failed_those_that_wait_are_not_made():
    made = []

    def call(batch):
        made.append(batch[0, 0])
        if batch[0, 0] == 3:
            raise ValueError("3 is refused")
        time.sleep(0.01)
        return batch

    rows = [(at, [np.array([float(at)])]) for at in range(100)]
    with pytest.raises(ValueError, match="3 is refused"):
        list(in_batches(rows, call, 1, at_once=2))
    assert len(made) < 12
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("call")]


def _write(items, path):
    path.write_text(" ".join(map(str, items)))


def test_shards_are_written_in_order_and_not_twice(tmp_path):
    shards, loaded = [[0, 1, 2], [3, 4], [5]], []

    def load(item):
        loaded.append(item)
        return item * 10

    paths = run_shards(shards, tmp_path, load=load, work=_write)
    assert [path.read_text() for path in paths] == ["0 10 20", "30 40", "50"]
    paths[1].unlink()
    loaded.clear()
    assert run_shards(shards, tmp_path, load=load, work=_write) == paths
    assert paths[1].read_text() == "30 40"
    assert sorted(loaded) == [3, 4]


def test_a_shard_that_fails_leaves_nothing_behind_and_keeps_the_others(tmp_path):
    def work(items, path):
        _write(items, path)
        if path.name.startswith(".part-00001"):
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        run_shards([[0], [1], [2]], tmp_path, load=int, work=work)
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / ".part-00000.parquet.123").write_text("half")
    run_shards([[1]], tmp_path, load=int, work=_write)
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]


def test_few_items_are_loaded_ahead(tmp_path):
    under_way, most, lock = 0, 0, threading.Lock()

    def load(item):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        return item

    def work(items, path):
        nonlocal under_way
        for _ in items:
            with lock:
                under_way -= 1
        path.touch()

    run_shards([list(range(100)), list(range(100))], tmp_path, load=load, work=work, workers=3)
    assert most <= 2 * 3 + 1


def test_progress_counts_what_was_done_before(tmp_path):
    told = []
    run_shards([[0, 1], [2]], tmp_path, load=int, work=_write)
    (tmp_path / "part-00001.parquet").unlink()
    run_shards([[0, 1], [2]], tmp_path, load=int, work=_write, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (2, 3)
    assert told[-1] == (3, 3)


def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(draft):
        draft.write_text("new")
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_keeping_freed_memory_changes_no_number():
    code = (
        "import numpy as np; from shiftable.engine import keep_freed_memory; done = keep_freed_memory(); "
        "a = np.arange(30_000_000.0); b = a * 2; del a; c = np.arange(30_000_000.0) * 2; assert (b == c).all(); "
        "print(done)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) in ("True\n", "False\n")
