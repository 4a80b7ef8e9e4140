"""Studies: arms are kept, runs go on, rows come back as they were written, and pages show what the rows say."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
from shiftable import InputError
from shiftable.report import write_index, write_study
from shiftable.studies.menu import STUDIES
from shiftable.studies.rows import differ, estimate, grouped, read_rows, write_rows
from shiftable.studies.running import arm_name, run_study
from shiftable.studies.study import Bars, Figure, Lines, Study, Table, Told

SHARED = Path(os.environ.get("SHIFTABLE_SHARED", Path(__file__).parents[2] / "shared"))
CELLS = (
    st.none() | st.integers(-1000, 1000) | st.floats(-1e6, 1e6).filter(lambda x: x != int(x)) | st.sampled_from("ab")
)


@given(st.lists(st.fixed_dictionaries({"arm": st.sampled_from("xy"), "value": CELLS}), min_size=1, max_size=5))
def test_rows_come_back_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    write_rows(path, rows)
    assert read_rows(path) == rows


def test_intervals_over_seeds_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = estimate([{"p": float(value)} for value in rng.normal(1.0, 0.3, 3)], "p")
        held += found.low <= 1.0 <= found.high
    assert 0.92 < held / 400 < 0.98


def test_arms_that_share_their_seeds_spread_are_told_apart_and_equal_ones_as_seldom_as_is_said():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        shared, own = rng.normal(1.0, 0.3, 3), rng.normal(0, 0.01, (2, 3))
        one, other, better = (
            [{"seed": seed, "p": float(value)} for seed, value in enumerate(values)]
            for values in (shared + own[0], shared + own[1], shared + own[1] - 0.5)
        )
        wrong += differ(one, other, "p")
        assert differ(one, better, "p")
        assert differ(one, better[::-1], "p")  # seeds meet by their number
    assert 0.02 < wrong / 400 < 0.08
    assert not differ(one[:1], better[:1], "p")  # one seed tells nothing


def test_grouping_loses_no_row_and_keeps_the_order():
    rows = [{"net": net, "seed": seed} for seed in (0, 1) for net in "ba"]
    found = grouped(rows, "net")
    assert list(found) == [("b",), ("a",)]
    assert sum(map(len, found.values())) == len(rows)


def toy(calls, broken_at=None):
    def measure(arm, setting):
        if len(calls) == broken_at:
            raise RuntimeError("killed")
        calls.append(arm)
        yield {"x": 0, "p": 0.1 * arm["seed"]}
        yield {"x": 1, "p": 0.1 + 0.1 * arm["seed"]}

    def tell(rows):
        figure = Figure("all", "All", (Lines("p", "x", "p", "net", x_words="x", y_words="p"), Bars("p", "p", "net")))
        return Told("It is so.", ("One.",), (figure,), (Table("Numbers", ("net",), {"p": "P"}, percent=("p",)),))

    arms = [{"net": net, "seed": seed} for net in ("a", "b <i>") for seed in (0, 1)]
    return Study("toy", "A toy", "Is it?", ("So.",), "Others", lambda setting: arms, measure, tell)


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(tmp_path):
    with pytest.raises(RuntimeError):
        run_study(toy([], broken_at=2), tmp_path / "stopped")
    calls = []
    again = run_study(toy(calls), tmp_path / "stopped")
    assert len(calls) == 2
    assert again == run_study(toy([]), tmp_path / "whole")
    assert (tmp_path / "stopped" / "rows.csv").read_bytes() == (tmp_path / "whole" / "rows.csv").read_bytes()


def test_another_run_is_kept_unless_told_otherwise(tmp_path):
    run_study(toy([]), tmp_path / "out")
    with pytest.raises(InputError, match="another run"):
        run_study(toy([]), tmp_path / "out", scale="quick")
    calls = []
    run_study(toy(calls), tmp_path / "out", scale="quick", overwrite=True)
    assert len(calls) == 4
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="something else"):
        run_study(toy([]), tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_the_page_shows_what_the_rows_say(tmp_path):
    study = toy([])
    rows = run_study(study, tmp_path / "out", command="shiftable study toy")
    text = write_study(study, rows, tmp_path / "out").read_text()
    for said in ("Is it?", "It is so.", "shiftable study toy", "b &lt;i&gt;", "10.0 %"):
        assert said in text
    assert (tmp_path / "out" / "figures" / "all.png").stat().st_size > 1000
    assert "toy/report.html" in write_index([(study, "Yes.")], tmp_path).read_text()


def test_arms_have_names_of_their_own():
    arms = [{"net": "a/b"}, {"net": "a_b"}, {"net": "a" * 200}, {"net": "a" * 199 + "b"}, {}]
    names = [arm_name(arm) for arm in arms]
    assert len(set(names)) == len(arms)
    assert all("/" not in name and len(name) < 90 for name in names)


def test_unknown_studies_are_told_with_the_closest_name():
    code = "from shiftable.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    run = subprocess.run([sys.executable, "-c", code, "study", "smpling"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "did you mean sampling" in run.stderr


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_runs_quickly_and_writes_its_page(name, tmp_path):
    if not SHARED.is_dir() and name not in ("sampling", "bias", "over-invariance"):
        pytest.skip("needs ../shared")
    study = STUDIES[name]
    rows = run_study(study, tmp_path, scale="quick", shared=SHARED if SHARED.is_dir() else None)
    told = study.tell(rows)
    page = write_study(study, rows, tmp_path)
    text = page.read_text()
    assert "This is a quick run" in text
    assert page.stat().st_size < 5e6
    for figure in told.figures:
        assert (tmp_path / "figures" / f"{figure.name}.png").is_file()
        assert f'id="{figure.name}"' in text
    assert "nan" not in told.answer
