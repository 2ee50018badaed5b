"""The dashboard's pages, written from real evaluations and opened in headless Chromium."""

import errno
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrflow.components.evaluate.results import too_few
from cxrflow.pipeline.reports.dashboard.auc_table import Table, published
from cxrflow.pipeline.reports.dashboard.evaluations import (
    history_views,
    load,
)
from cxrflow.pipeline.reports.dashboard.pages import (
    RunFolder,
    write_dashboard,
)
from cxrflow.schema.classes import DEFAULT_CLASSES
from cxrflow.schema.errors import CxrflowError
from tests.components.evaluate.evaluation_maker import make_rows, write_evaluation
from tests.pipeline.reports.browser import DEEP, Browser, assert_clean

pytestmark = pytest.mark.tf

METHODS = [
    "mean",
    "mean_logits",
    "weighted",
    "hard_vote",
    "hard_vote_majority",
    "max_vote",
    "stacked",
]
FEW = 10
INGEST = {"classes": list(DEFAULT_CLASSES), "split": "auto", "eval_share": 0.15, "test_share": 0.2}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """Two members, their ensemble, and an earlier evaluation of the ensemble."""
    root = tmp_path_factory.mktemp("run")
    evaluations = {
        "Evaluator": root / "artifacts" / "Evaluator" / "evaluation" / "12",
        "Evaluator.wide": root / "artifacts" / "Evaluator.wide" / "evaluation" / "7",
        "Evaluator.narrow": root / "artifacts" / "Evaluator.narrow" / "evaluation" / "8",
    }
    for seed, folder in enumerate([*evaluations.values(), evaluations["Evaluator"].parent / "5"]):
        write_evaluation(folder, root / "work" / str(seed), seed=seed)
    artifacts = {node: {"evaluation": str(path)} for node, path in evaluations.items()}
    report = root / "artifacts" / "Ensemble" / "report" / "9"
    report.mkdir(parents=True)
    (report / "ensemble.json").write_text(json.dumps(ensemble_report()))
    artifacts |= {"Ensemble": {"report": str(report)}, "Trainer.wide": {}, "Trainer.narrow": {}}
    return RunFolder(root, artifacts, INGEST, root / "data", synthetic=True, min_shown=FEW)


def ensemble_report() -> dict:
    names = ["wide", "narrow", *METHODS]
    scores = {name: dict.fromkeys(DEFAULT_CLASSES, 0.5 + i / 20) for i, name in enumerate(names)}
    for aucs in scores.values():
        aucs[DEFAULT_CLASSES[-1]] = None
    member = {"backbone": "MobileNet", "head": "attention", "weight": 0.5}
    return {
        "chosen": "weighted",
        "members": [{"name": "wide", **member}, {"name": "narrow", **member}],
        "left_out": [{"name": "broken", "reason": "its eval gate failed"}],
        "synthetic": True,
        "classes": list(DEFAULT_CLASSES),
        "scores": {"eval": scores, "test": scores},
        "methods": METHODS,
        "eval_note": "cross-fitted",
    }


@pytest.fixture(scope="module")
def pages(run, tmp_path_factory) -> dict[str, Path]:
    written = write_dashboard(run, tmp_path_factory.mktemp("pages"))
    return {path.name: path for path in written}


def tables_rows(tab: Browser) -> list[list[str]]:
    """Cells of the TFMA table, wherever shadow roots hide it."""
    return tab.evaluate(
        f"{DEEP}('.google-visualization-table tr')"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )


def test_all_pages_are_written(pages):
    models = ("ensemble", "narrow", "wide")
    of_models = {f"{kind}-{name}.html" for kind in ("slices", "plots") for name in models}
    assert set(pages) == {"index.html", "history.html"} | of_models
    assert next(iter(pages)) == "index.html"


def test_no_page_names_another_machine(pages):
    for path in pages.values():
        assert "//" not in path.read_text().replace("://", "").replace("<!--", ""), path


def test_index_shows_members_methods_and_published_figures(run, pages, tab):
    tab.open(pages["index.html"], "document.querySelectorAll('table').length === 2")
    table = tab.evaluate(
        "[...document.querySelectorAll('table')[0].rows].map(row => [...row.cells]"
        ".flatMap(cell => Array(cell.colSpan).fill(cell.innerText.split('\\n')[0])))"
    )
    groups, header, *rows, mean = table
    assert len(set(map(len, table))) == 1
    assert list(dict.fromkeys(groups))[1:4] == [
        "this run's models",
        "their ensembles",
        "published: official test list",
    ]
    shown = [name.replace("_", " ") for name in METHODS]
    assert header[2 : 2 + 2 + len(METHODS)] == ["narrow", "wide", *shown]
    assert [row[0] for row in rows] == list(DEFAULT_CLASSES)
    of = dict(zip(header, rows[0], strict=True))
    wide = load(Path(run.artifacts["Evaluator.wide"]["evaluation"]), DEFAULT_CLASSES).whole("test")
    assert of["wide"] == f"{wide[DEFAULT_CLASSES[0]]['auc']:.3f}"
    assert (of["mean"], of["weighted"]) == ("0.600", "0.650")
    assert of["Wang 2017"] == "0.700"
    for row in rows:
        few = int(row[1]) < FEW
        cells = dict(zip(header, row, strict=True))
        assert cells["wide"].startswith("too few: ") == few
        assert cells["Wang 2017"][0] == "0"
        assert (cells["weighted"] == "0.650") != few
    assert rows[-1][2] == "too few: 0 positives"
    assert mean[0] == "mean"
    assert dict(zip(header, mean, strict=True))["mean"] == "0.600"
    text = tab.evaluate("document.body.innerText")
    for part in ("Synthetic", "Not a medical device", "official test list", "its eval gate failed"):
        assert part in text
    assert_clean(tab)


def test_slices_show_in_tfmas_table(run, pages, tab):
    tab.open(pages["slices-wide.html"], f"{DEEP}('.google-visualization-table tr').length > 9")
    header, *rows = tables_rows(tab)
    assert header == ["feature", *DEFAULT_CLASSES, "example_count"]
    expected = load(Path(run.artifacts["Evaluator.wide"]["evaluation"]), DEFAULT_CLASSES)
    found = {row[0]: row[1:] for row in rows}
    assert set(found) == set(expected.metrics)
    for slice_, classes in expected.metrics.items():
        for name, cell in zip(DEFAULT_CLASSES, found[slice_], strict=False):
            scores = classes[name]
            count = min(scores["positives"], scores["negatives"])
            few = f"too few: {count:.0f} positive{'' if count == 1 else 's'}"
            assert cell == (f"{scores['auc']:.3f}" if count >= FEW else few)
    assert found["test"][-2:] == ["too few: 0 positives", "100"]
    overview = f"{DEEP}('tfma-slice-overview')[0].shadowRoot"
    assert tab.evaluate(f"{overview}.querySelectorAll('g[clip-path] rect').length") == len(rows)
    assert_clean(tab)


def test_another_table_is_a_choice_away(pages, tab):
    tab.open(pages["slices-wide.html"], f"{DEEP}('.google-visualization-table tr').length > 9")
    tab.evaluate(
        "const s = document.querySelector('select'); s.value = 'Mass';"
        "s.dispatchEvent(new Event('change'))"
    )
    tab.wait(f"{DEEP}('th').some(cell => cell.textContent === 'brier_score')")
    header, *rows = tables_rows(tab)
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        few = min(int(cells["positives"]), int(cells["negatives"])) < FEW
        for score in ("auc", "auc_precision_recall"):
            assert cells[score].startswith("too few: ") == few
        assert len(cells["brier_score"]) == 5
    assert_clean(tab)


def test_plots_show_three_charts_a_class(pages, tab):
    tab.open(pages["plots-ensemble.html"], f"{DEEP}('svg').length >= 37")
    counts = tab.evaluate(
        "[...document.querySelectorAll('.plots h3, .plots > div > *')].map(e => e.tagName)"
    )
    assert counts.count("H3") == len(DEFAULT_CLASSES)
    assert counts.count("TFMA-ROC-CURVE") == len(DEFAULT_CLASSES) - 1  # one has no positives
    assert counts.count("TFMA-PRECISION-RECALL-CURVE") == len(DEFAULT_CLASSES) - 1
    assert counts.count("TFMA-CALIBRATION-PLOT") == len(DEFAULT_CLASSES)
    assert_clean(tab)


def test_history_has_a_row_for_each_evaluation(pages, tab):
    tab.open(pages["history.html"], f"{DEEP}('.google-visualization-table tr').length === 3")
    header, *rows = tables_rows(tab)
    assert header[:3] == ["Model", "Data", "All (mean)"]
    assert [row[0] for row in rows] == ["12", "5"]
    chart = f"{DEEP}('tfma-line-chart')[0].shadowRoot.querySelector('google-chart').shadowRoot"
    assert tab.evaluate(f"{chart}.querySelectorAll('circle').length") == 2
    assert_clean(tab)


def test_ensemble_of_one_left_over_member_shows_all_members(run, tmp_path, tab):
    alone = ensemble_report() | {"chosen": "wide", "methods": []}
    alone["members"] = alone["members"][:1]
    (tmp_path / "ensemble.json").write_text(json.dumps(alone))
    artifacts = {**run.artifacts, "Ensemble": {"report": str(tmp_path)}}
    index = write_dashboard(RunFolder(run.root, artifacts, INGEST, tmp_path, True, FEW), tmp_path)[
        0
    ]
    tab.open(index, "document.querySelector('table')")
    groups, columns = tab.evaluate(
        "[...document.querySelector('table').rows].slice(0, 2).map(row => "
        "[...row.cells].map(cell => [cell.innerText, cell.colSpan]))"
    )
    assert sum(span for _, span in groups) == len(columns)
    assert [text for text, _ in columns[:4]] == ["class", "positives", "narrow", "wide"]
    assert "The model is wide, made of wide" in tab.evaluate("document.body.innerText")
    assert_clean(tab)


def test_run_from_before_plots_says_so(run, tmp_path, tab):
    old = tmp_path / "root" / "evaluation" / "3"
    shutil.copytree(run.artifacts["Evaluator"]["evaluation"], old)
    for path in old.glob("plots*"):
        path.write_bytes(b"")
    artifacts = {"Evaluator": {"evaluation": str(old)}}
    written = write_dashboard(
        RunFolder(tmp_path, artifacts, INGEST, tmp_path, False, FEW), tmp_path
    )
    names = [path.name for path in written]
    assert names == ["index.html", "slices-model.html", "plots-model.html", "history.html"]
    tab.open(written[2], "document.querySelector('.warn')")
    assert "before plots" in tab.evaluate("document.querySelector('.warn').innerText")
    tab.open(written[0], "document.querySelector('table')")
    assert "Synthetic" not in tab.evaluate("document.body.innerText")
    assert_clean(tab)


@pytest.mark.parametrize(
    "artifacts", [{}, {"Evaluator": {"evaluation": "/nowhere"}}], ids=["no node", "no folder"]
)
def test_missing_evaluation_is_an_error(artifacts, tmp_path):
    with pytest.raises(CxrflowError, match="no evaluation in"):
        write_dashboard(
            RunFolder(tmp_path, artifacts, INGEST, tmp_path, False, FEW), tmp_path / "to"
        )
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("name", ["eval_config.json", "metrics", "plots"])
def test_damaged_evaluation_is_one_line(name, run, tmp_path):
    damaged = tmp_path / "3"
    shutil.copytree(run.artifacts["Evaluator"]["evaluation"], damaged)
    for path in damaged.glob(f"{name}*"):
        path.write_bytes(path.read_bytes()[:-20] + b"x" * 9)
    with pytest.raises(CxrflowError, match="can't be read") as error:
        load(damaged, DEFAULT_CLASSES)
    assert "\n" not in str(error.value)


def test_published_figures_name_their_split():
    official, *others = published(("Mass", "Hernia"))
    assert official.title == "published: official test list"
    assert official.columns[0].aucs == {"Mass": 0.693, "Hernia": 0.872}
    study = others[-1].columns[0]
    assert study.name == "2019 study"
    assert math.isnan(study.aucs["Hernia"])
    table = Table("test", "", ("Mass", "Hernia"), {}, {"Mass": "", "Hernia": ""}, ())
    assert table.mean(official.columns[0]) == pytest.approx(0.7825)
    assert table.mean(study) == study.aucs["Mass"]
    few = Table("test", "", ("Mass", "Hernia"), {}, {"Mass": "", "Hernia": "too few"}, ())
    assert few.mean(official.columns[0]) == pytest.approx(0.693)


def test_maker_and_page_agree_on_the_auc(run):
    from sklearn.metrics import roc_auc_score

    labels, logits = make_rows(200, seed=0)
    expected = roc_auc_score(labels[1::2, 0], logits[1::2, 0])
    found = load(Path(run.artifacts["Evaluator"]["evaluation"]), DEFAULT_CLASSES)
    assert found.whole("test")["Atelectasis"]["auc"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("positives", "negatives", "words"),
    [
        (10, 10, ""),
        (9, 500, "too few: 9 positives"),
        (1, 1, "too few: 1 positive"),
        (50, 2, "too few: 2 negatives"),
        (0, 0, "too few: 0 positives"),
    ],
)
def test_too_few_is_said_in_words(positives, negatives, words):
    assert too_few(positives, negatives, 10) == words


def test_history_has_words_and_no_point_for_few(run):
    folder = Path(run.artifacts["Evaluator"]["evaluation"])
    evaluation = load(folder, DEFAULT_CLASSES)
    views = history_views({"12": evaluation}, "test", FEW)
    values = views["AUC of all classes"][0]["metrics"][""][""]
    assert values[DEFAULT_CLASSES[-1]] == {"stringValue": "too few: 0 positives"}
    shown = [
        scores["auc"]
        for scores in evaluation.whole("test").values()
        if min(scores["positives"], scores["negatives"]) >= FEW
    ]
    assert values["All (mean)"]["doubleValue"] == pytest.approx(np.mean(shown))


def test_nothing_is_half_written(run, tmp_path, monkeypatch):
    kept = tmp_path / "pages"
    kept.mkdir()
    (kept / "index.html").write_text("of an earlier call")
    (kept / "mine.txt").write_text("another's")

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    for to in (kept, tmp_path / "new" / "pages"):
        with pytest.raises(CxrflowError, match="can't be written: No space left on device"):
            write_dashboard(run, to)
    assert {path.name for path in kept.iterdir()} == {"index.html", "mine.txt"}
    assert (kept / "index.html").read_text() == "of an earlier call"
    assert not (tmp_path / "new" / "pages").exists()


def test_a_page_survives_any_folder_name(run, tmp_path, tab):
    named = replace(run, root=tmp_path / "r\udcfcn <b>\"'[1]\n&")
    to = tmp_path / "p\udcfc [1] #'?"
    pages = write_dashboard(named, to)
    tab.open(pages[0], "document.querySelector('table')")
    assert r"Run r\xfcn <b>" in tab.evaluate("document.body.innerText")
    assert not tab.evaluate("document.querySelectorAll('p b').length")
    assert_clean(tab)
