"""Figures get from docs/results.json into the pages, and a page that differs is told."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import docs, workers
from tests.bench.demo import excerpt
from tests.bench.docs import DocsError, Figure, differences, rendered, taken

SPEED = Figure(
    what="int8 against float32",
    value=2.594,
    show="{:.1f} ×",
    command="python -m tests.bench edge_models",
    date="2026-11-23",
    machine="2 cores",
    bench="so many times as fast",
)
FIGURES = {
    "edge.speed": SPEED,
    "edge.mb": replace(SPEED, what="MB", value=45, show="{}", bench="MB", field="mb", note="old"),
    "demo.output": replace(SPEED, value=["gate: blessed", "pushed"], bench=""),
}
PAGE = "It is <!--figure:edge.speed-->2.6 ×<!--/--> as fast.\n"


def test_the_repository_s_pages_have_the_results_figures():
    assert docs.main(["--check"]) == 0


# What looks measured and isn't: limits and needs, what follows by counting, others' results.
NOT_MEASURED = {
    "README.md": {"5 GB"},
    "docs/benchmarks.md": {"20 %"},
    "docs/decisions/compact-image.md": {"100 GB"},
    "docs/decisions/out-of-distribution.md": {"70 %", ".97"},
    "docs/decisions/probe.md": {".05"},
    "docs/decisions/selection-on-eval.md": {"38 %", ".027", ".054"},
    "docs/evidence.md": {".2"},
    "docs/gateway.md": {".5"},
    "docs/gpu.md": {"85 %", ".9"},
    "docs/limits.md": {".81", "1 MB"},
    "docs/model-card.md": {".1", ".25", ".5", ".75", ".9"},
    "docs/monitoring.md": {"0.1", ".1"},
    "docs/operations.md": {"0.11", "0.0", "30 s", "5 s", "30 MB"},
    "docs/report.md": {"1 MB"},
    "docs/scale.md": {"2 GB", "4.3 GB", "23 GB", "20 KB"},
}
CODE = re.compile(r"^ {4}[^\n]*$|```.*?```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LOOKS_MEASURED = re.compile(
    r"(?<![\w./-])(?:0?\.\d+|\d[\d,.]* (?:ms|s|seconds?|minutes?|hours?|KB|MB|GB|%)(?!\w))"
)


def loose_figures(text: str) -> set[str]:
    """What looks like a measured figure outside of the marks; 95 % is what an interval covers."""
    return set(LOOKS_MEASURED.findall(CODE.sub("", docs.MARKED.sub("", text)))) - {"95 %"}


def test_a_figure_outside_of_marks_is_found():
    page = "AUC .714, 3.5 GB, `12 s`, 95 %, 1.21.0, [a](b.5), 7 signs\n\n    40 ms\n" + PAGE
    assert loose_figures(page) == {".714", "3.5 GB"}


@pytest.mark.parametrize("page", docs.pages(docs.ROOT), ids=lambda page: page.name)
def test_measured_figures_stand_between_marks(page):
    allowed = NOT_MEASURED.get(str(page.relative_to(docs.ROOT)), set())
    assert loose_figures(page.read_text()) == allowed


def test_lines_become_a_table_or_a_block_of_code():
    table = replace(SPEED, value=["| a | b |", "|---|---|", "| 1 | 2 |"])
    assert table.text == "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    assert replace(SPEED, value=["a", "| b"]).text == "\n\n```text\na\n| b\n```\n\n"


def test_the_benchmark_of_two_processes_makes_its_page_s_table():
    took = {"ImageExampleGen": 11.7, "Transform": 52.0, "seconds": 63.7, "cpu_seconds": 47.2}
    half = {"ImageExampleGen": 7.1, "Transform": 31.2, "seconds": 38.3, "cpu_seconds": 56.0}
    _, _, *rows = workers.table({"one process, one core": took, "two": half}, 2016)
    assert rows == [
        "| one process, one core | 11.7 | 52.0 | 1.00 | 47 |",
        "| two | 7.1 | 31.2 | 1.66 | 56 |",
    ]


def patterns(module: str) -> Iterator[str]:
    """Regular expressions of all texts in a benchmark; what is filled in may be anything."""
    for node in ast.walk(ast.parse((docs.ROOT / "tests" / "bench" / f"{module}.py").read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.escape(node.value)
        if isinstance(node, ast.JoinedStr):
            known = [p.value if isinstance(p, ast.Constant) else "" for p in node.values]
            if len("".join(known)) > 10:  # else it would fit anything
                yield "".join(re.escape(text) or ".+" for text in known)


def test_figures_have_the_names_that_their_benchmarks_print():
    for name, figure in docs.read_results(docs.ROOT / docs.RESULTS).items():
        if figure.bench:
            *_, module = figure.command.split()
            assert any(re.fullmatch(each, figure.bench) for each in patterns(module)), name


def test_a_value_is_written_between_its_marks_and_nothing_else_changes():
    page = "a <!--figure:edge.speed--><!--/--> b <!--figure:edge.mb-->7\n<!--/--> <!-- c -->\n"
    assert rendered(page, FIGURES) == (
        "a <!--figure:edge.speed-->2.6 ×<!--/--> b <!--figure:edge.mb-->45<!--/--> <!-- c -->\n"
    )
    assert rendered(rendered(page, FIGURES), FIGURES) == rendered(page, FIGURES)


def test_lines_become_a_block_of_code():
    page = rendered("<!--figure:demo.output--><!--/-->", FIGURES)
    assert "-->\n\n```text\ngate: blessed\npushed\n```\n\n<!--" in page


def test_a_subject_becomes_a_table_with_commands_and_dates():
    page = rendered("<!--figures:edge--><!--/-->", FIGURES)
    by, on = "`python -m tests.bench edge_models`", "2026-11-23, 2 cores"
    assert page.splitlines()[4:6] == [
        f"| int8 against float32 | 2.6 × | {by} | {on} |",
        f"| MB (old) | 45 | {by} | {on} |",
    ]


def test_a_difference_is_told_with_both_values():
    assert list(differences(PAGE, FIGURES)) == []
    assert list(differences(PAGE.replace("2.6", "2.7"), FIGURES)) == [
        "edge.speed has '2.7 ×', not '2.6 ×'"
    ]
    assert list(differences("<!--figures:edge-->old<!--/-->", FIGURES)) == ["edge differs"]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("<!--figure:edge.sped-->1<!--/-->", "no figure 'edge.sped'"),
        ("<!--figures:edg-->1<!--/-->", "no figure 'edg.…'"),
        ("<!--figure:edge.speed-->1", "<!--figure:edge.speed--> has no partner"),
        ("1<!--/-->", "<!--/--> has no partner"),
        (f"<!--figure:edge.mb-->{PAGE}", "<!--figure:edge.mb--> has no partner"),
    ],
)
def test_a_mark_that_means_nothing_is_refused(page, reason):
    for look in (rendered, lambda *given: list(differences(*given))):
        with pytest.raises(DocsError, match=reason):
            look(page, FIGURES)


def test_a_benchmark_s_lines_give_newer_values():
    lines = [
        json.dumps({"figure": "so many times as fast", "value": 3.0, "reached": True}),
        json.dumps({"figure": "MB", "value": 1, "mb": 44}),
        json.dumps({"figure": "of no page", "value": 1}),
        "",
    ]
    newer = taken(FIGURES, lines, "2026-12-01", "8 cores")
    speed, megabytes = newer["edge.speed"], newer["edge.mb"]
    assert (speed.text, speed.date, speed.machine) == ("3.0 ×", "2026-12-01", "8 cores")
    assert (megabytes.value, megabytes.note) == (44, "")
    assert newer["demo.output"] == FIGURES["demo.output"]


def test_what_was_skipped_keeps_its_value():
    line = json.dumps({"figure": "so many times as fast", "skipped": "no real X-rays"})
    assert taken(FIGURES, [line], "2026-12-01", "8 cores") == FIGURES


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("make: *** [bench] Error 1", "no line of `make bench`: make"),
        ('["figure"]', "no line of `make bench`"),
        ('{"value": 1}', "no line of `make bench`"),
        ('{"figure": "MB", "value": 1}', "edge.mb: the benchmark's line has no 'mb'"),
    ],
)
def test_lines_of_something_else_are_refused(line, reason):
    with pytest.raises(DocsError, match=reason):
        taken(FIGURES, [line], "2026-12-01", "8 cores")


@pytest.fixture
def project(tmp_path) -> Path:
    """A project of one page and one figure."""
    (tmp_path / "docs").mkdir()
    docs.write_results({"edge.speed": SPEED}, tmp_path / docs.RESULTS)
    (tmp_path / "README.md").write_text("")
    (tmp_path / "docs" / "edge.md").write_text(PAGE.replace("2.6", "1"))
    return tmp_path


def test_results_are_read_as_they_were_written(project):
    assert docs.read_results(project / docs.RESULTS) == {"edge.speed": SPEED}


def test_the_command_tells_then_writes(project, capsys):
    page = project / "docs" / "edge.md"
    assert docs.main(["--check"], project) == 1
    assert "docs/edge.md: edge.speed has '1 ×', not '2.6 ×'" in capsys.readouterr().out
    assert page.read_text() == PAGE.replace("2.6", "1")
    assert docs.main([], project) == 0
    assert page.read_text() == PAGE
    assert docs.main(["--check"], project) == 0


def test_the_command_takes_what_the_benchmarks_printed(project, tmp_path):
    lines = tmp_path / "bench.jsonl"
    lines.write_text('{"figure": "so many times as fast", "value": 4}\n')
    assert docs.main(["--take", str(lines)], project) == 0
    assert "4.0 ×" in (project / "docs" / "edge.md").read_text()


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ("[]", "isn't what"),
        ("{", "isn't what"),
        ('{"edge.speed": {"value": 1}}', "missing 4 required"),
        ('{"edge.speed": {"values": 1}}', "unexpected keyword argument 'values'"),
    ],
)
def test_broken_results_are_one_line(project, capsys, results, reason):
    (project / docs.RESULTS).write_text(results)
    assert docs.main([], project) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line and "results.json" in line


def test_absent_files_are_one_line(project, capsys):
    assert docs.main(["--take", "nothing.jsonl"], project) == 2
    (project / docs.RESULTS).unlink()
    assert docs.main([], project) == 2
    for line in capsys.readouterr().err.splitlines():
        assert line.endswith("No such file or directory")


def test_an_excerpt_of_the_demo_has_ten_lines():
    output = """
     mean AUC
 model   eval
──────────────
 lse    0.8
   ensemble, test split
           the
 class     AUC  gate
──────────────────────
 Edema    0.99  not
                judged
 Hernia   0.98
 Mass     0.97

 mean     0.98
   ensemble against others on the same images: mean AUC
──────────────
 test    probe
gate: blessed: 3 of 3 gated classes pass
synthetic X-rays: these figures say nothing about real ones
calibration: 0.1
edge bundle: 6 of 6 variants blessed
took         584 s
pushed       runs/demo/serving/cxrflow/1
edge         runs/demo/edge/1
"""
    assert excerpt(output) == [
        "   ensemble, test split",
        "           the",
        " class     AUC  gate",
        " Edema    0.99  not",
        " Hernia   0.98",
        " mean     0.98",
        "gate: blessed: 3 of 3 gated classes pass",
        "synthetic X-rays: these figures say nothing about real ones",
        "edge bundle: 6 of 6 variants blessed",
        "pushed       runs/demo/serving/cxrflow/1",
    ]
