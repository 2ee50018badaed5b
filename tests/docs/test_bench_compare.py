"""What `make bench-compare` says of a measurement against the committed figures."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.bench import compare, docs
from tests.bench.compare import Compared, compared, report
from tests.bench.docs import Figure
from tests.bench.figure import ROOT, against, figure

COMMITTED = Figure(
    what="speed", value=2.0, command="c", date="2026-11-23", machine="this one", bench="speed"
)


@pytest.mark.parametrize(
    ("value", "reach", "comparison", "ratio"),
    [
        (3, ">= 1.5", "value / 1.5", 2),
        (1.2, "> 1.5 on 2 cores", "value / 1.5", 0.8),
        (2, "<= 4", "4 / value", 2),
        (5, "< 4", "4 / value", 0.8),
        (0.9, ">= 0.9, or >= 1.3 times the same", "value / 0.9", 1),
    ],
)
def test_a_ratio_above_1_is_better_than_needed(
    value: float, reach: str, comparison: str, ratio: float
) -> None:
    found = figure("f", value, reach, True)
    assert (found["comparison"], found["ratio"]) == (comparison, pytest.approx(ratio))


@pytest.mark.parametrize(("value", "reach"), [(0, "<= 1"), (-1, ">= 1"), (1, "0"), (1, "<= 0")])
def test_some_figures_have_no_ratio(value: float, reach: str) -> None:
    assert against(value, reach) == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"value": 1.7, "reach": ">= 1"}, 0.85),
        ({"value": 1.5, "reach": ">= 1"}, 0.75),
        ({"value": 1.5, "reach": "<= 1"}, 2 / 1.5),
        ({"value": 4.0, "reach": "<= 1"}, 0.5),
        ({"value": 1.5, "reach": ">= 1", "clock": True, "machine": "this one"}, 0.75),
        ({"value": 1.5, "reach": ">= 1", "clock": True, "machine": "it"}, "from another machine"),
        ({"value": 1.5, "reach": "0"}, "no ratio"),
        ({"value": ["a"], "reach": ">= 1"}, "no number"),
        ({"skipped": "no GPU here"}, "no GPU here"),
        (None, "wasn't measured"),
    ],
)
def test_a_figure_against_the_committed_one(line: dict | None, expected: float | str) -> None:
    (found,) = compared({"s": COMMITTED}, {"speed": line} if line else {})
    if isinstance(expected, str):
        assert isinstance(found, str) and expected in found
    else:
        assert isinstance(found, Compared) and found.change == pytest.approx(expected, abs=1e-3)
        assert found.has_fallen == (expected < 0.8)


def test_other_fields_and_figures_by_hand_are_left_out() -> None:
    others = {"a": replace(COMMITTED, bench=""), "b": replace(COMMITTED, field="mb")}
    assert list(compared(others, {})) == []


def test_the_report_begins_with_the_worst() -> None:
    found = [
        Compared("fine", 2, 1.9, ">= 1", 0.95),
        Compared("bad", 2, 1.5, ">= 1", 0.75),
        Compared("worse", 2, 1, ">= 1", 0.5),
        "other: wasn't measured",
    ]
    lines, fallen = report(found)
    assert fallen and lines == [
        "fell  worse: 1, was 2 (>= 1): 50%",
        "fell  bad: 1.5, was 2 (>= 1): 75%",
        "not compared  other: wasn't measured",
        "3 ratios compared, 2 fell by more than 20%, 1 figures not compared",
    ]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (json.dumps({"figure": "speed", "value": 1.9, "reach": ">= 1"}), 0, "0 fell by more"),
        (json.dumps({"figure": "speed", "value": 1.5, "reach": ">= 1"}), 1, "fell  s: 1.5, was 2"),
        ("make: *** [bench] Error 1", 2, "this is no line of `make bench`"),
        (None, 2, "can't be read"),
    ],
)
def test_the_command(tmp_path, capsys, content: str | None, code: int, said: str) -> None:
    (tmp_path / "docs").mkdir()
    docs.write_results({"s": COMMITTED}, tmp_path / docs.RESULTS)
    lines = tmp_path / "bench.jsonl"
    if content is not None:
        lines.write_text(content + "\n")
    assert compare.main([str(lines)], tmp_path) == code
    assert said in "".join(capsys.readouterr())


def test_the_largest_process_is_measured_in_gb_of_1e9_bytes() -> None:
    holds = "held = b'x' * 500_000_000"
    code = f"from tests.bench.figure import measure; print(measure('-c', {holds!r}).peak_gb)"
    # From a small process: the system counts into a child's peak what its parent had.
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert 0.5 <= float(done.stdout) < 0.53  # in GiB it would be .47, with Python's own 10 MB
