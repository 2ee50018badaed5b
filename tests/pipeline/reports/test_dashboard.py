"""The report's pages, written from a made run and opened in headless Chromium."""

import errno
import html
import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.pipeline.reports.dashboard.evaluations import load
from cxrflow.pipeline.reports.dashboard.pages import write_dashboard
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.pipeline.reports.dashboard.serving import listening, show
from cxrflow.schema.classes import DEFAULT_CLASSES
from cxrflow.schema.errors import CxrflowError
from tests.pipeline.reports.browser import DEEP, assert_clean
from tests.pipeline.reports.report_maker import FEW, INGEST, MODELS

pytestmark = pytest.mark.tf

OWN = [
    *("index.html", "classes.html", "models.html", "history.html", "curves.html"),
    *("calibration.html", "operating.html", "subgroups.html", "adjudicated.html"),
    *("attention.html", "mistakes.html", "data.html", "lineage.html"),
]
TFMA = [
    *(f"{kind}-{name}.html" for kind in ("slices", "plots") for name in sorted(MODELS)),
    "over-time.html",
]
MEGABYTES = 15  # of the whole report


def rows_of(tab, caption: str) -> list[dict[str, str]]:
    """The rows of a table by its columns' names."""
    return tab.evaluate(f"""
        (() => {{
          const table = [...document.querySelectorAll('table')]
              .find(one => one.caption.innerText.startsWith('{caption}'));
          const names = [...table.tHead.rows].at(-1).cells;
          return [...table.tBodies[0].rows].map(row => Object.fromEntries(
              [...row.cells].flatMap(cell => Array(cell.colSpan).fill(cell.innerText))
                  .map((text, i) => [names[i].innerText, text])));
        }})()
    """)


def test_all_pages_are_written_and_small(report):
    assert sorted(report) == sorted([*OWN, *TFMA])
    assert next(iter(report)) == "index.html"
    folder = report["index.html"].parent
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < MEGABYTES * 2**20


def test_no_page_names_another_machine(report):
    for name in OWN:
        text = report[name].read_text(encoding="utf-8")
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), name


def test_pages_are_clean_and_fit_a_phone(report, tab):
    """No complaint, nothing asked of a machine, no page that scrolls sideways."""
    tab.page.set_viewport_size({"width": 400, "height": 800})
    try:
        for name in OWN:
            tab.open(report[name])
            width = tab.evaluate("document.documentElement.scrollWidth")
            assert width <= 400, name
            # What stands for a chart's pixels to those who don't see them.
            assert tab.evaluate(
                "[...document.querySelectorAll('svg')].every(one => one.ariaLabel)"
            ), name
        assert_clean(tab)
    finally:
        tab.page.set_viewport_size({"width": 1400, "height": 900})


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_no_serious_fault(mode, report, tab):
    from axe_playwright_python.sync_playwright import Axe

    tab.page.emulate_media(color_scheme=mode)
    pages = [*OWN, "slices-wide.html", "over-time.html"] if mode == "light" else OWN[:2]
    try:
        for name in pages:
            shown = f"{DEEP}('.google-visualization-table tr').length" if name in TFMA else "true"
            tab.open(report[name], shown)
            # Its own way to style sheets, XMLHttpRequest, is barred on pages from disk.
            options = {"preload": False, "resultTypes": ["violations"]}  # the rest takes longer
            found = Axe().run(tab.page, options=options).response["violations"]
            # Gray of TFMA's own that its shadow roots hide from our style, .02 below AA.
            grave = [
                (one["id"], one["nodes"][0]["target"])
                for one in found
                if one["impact"] in ("serious", "critical")
                and not (one["id"] == "color-contrast" and name in TFMA)
            ]
            assert not grave, (name, grave)
    finally:
        tab.page.emulate_media(color_scheme="light")
    assert_clean(tab)


def test_tables_sort_by_keyboard(report, tab):
    tab.open(report["classes.html"])
    heading = "[...document.querySelectorAll('th')].find(one => one.innerText === 'AUC')"
    tab.evaluate(f"{heading}.querySelector('button').focus()")
    orders = []
    for _ in range(2):
        tab.page.keyboard.press("Enter")
        orders.append(tab.evaluate(f"{heading}.ariaSort"))
        aucs = [row["AUC"] for row in rows_of(tab, "Figures on test")]
        known = [float(auc) for auc in aucs if not auc.startswith("too few")]
        assert known == sorted(known, reverse=orders[-1] == "descending")
        assert aucs[len(known) :] == ["too few: 7 positives", "too few: 0 positives"]
    assert orders == ["descending", "ascending"]
    assert_clean(tab)


def test_paper_has_no_menu_and_cuts_nothing_off(report, tab):
    tab.open(report["classes.html"])
    tab.page.emulate_media(media="print")
    try:
        assert not tab.page.locator("nav").is_visible()
        assert tab.evaluate(
            "[...document.querySelectorAll('.scroll')]"
            ".every(one => getComputedStyle(one).overflowX === 'visible')"
        )
    finally:
        tab.page.emulate_media(media="screen")


def test_overview_says_what_a_decision_needs(report, tab):
    tab.open(report["index.html"])
    text = tab.evaluate("document.body.innerText")
    for part in (
        "the gate refused it",
        "ECE",
        "120 X-rays of 30 patients",
        "above the linear probe",
        "linear probe on frozen features",
        "these X-rays are synthetic",  # why published figures don't compare
        "Pneumothorax (too few: 0 positives)",
        "Could not be judged",
        "not a medical device",
    ):
        assert part in text, part
    assert_clean(tab)


def test_figures_by_finding_are_the_evaluations(made_run, report, tab):
    tab.open(report["classes.html"])
    folder = Path(made_run.artifacts["Evaluator"]["evaluation"])
    expected = load(folder, DEFAULT_CLASSES).whole("test")
    rows = rows_of(tab, "Figures on test")
    assert [row["finding"] for row in rows] == [c.replace("_", " ") for c in DEFAULT_CLASSES]
    for row, (name, scores) in zip(rows, expected.items(), strict=True):
        assert int(row["positives"]) == scores["positives"]
        if min(scores["positives"], scores["negatives"]) < FEW:
            assert row["AUC"].startswith("too few")
            continue
        low, high = map(float, row["95 %"].split(" to "))
        assert row["AUC"] == f"{scores['auc']:.3f}", name
        assert low < scores["auc"] < high
    (wang,) = [row for row in rows_of(tab, "On the official test list") if row["finding"] == "Mass"]
    assert wang["Wang 2017"] == "0.693"


def test_mistakes_are_the_most_confident_ones(report, tab):
    tab.open(report["mistakes.html"])
    cases = tab.page.locator("article").count()
    assert cases == 2 * (len(DEFAULT_CLASSES) - 1)  # one class has no case
    first = tab.page.locator("article").first
    assert first.locator("img").count() == 2 + 3  # X-ray, map, the patient's other three
    assert tab.evaluate(
        "Promise.all([...document.images].map(one => (one.loading = 'eager', one.decode())))"
        ".then(() => [...document.images].every(one => one.naturalWidth > 0 && one.alt))"
    )
    assert_clean(tab)


def test_gate_history_knows_cached_runs(report, tab):
    tab.open(report["history.html"])
    rows = rows_of(tab, "Every run")
    assert [row["gate"] for row in rows] == ["not reached", "from cache", "ran"]
    assert [row["verdict"] for row in rows] == ["none", "refused", "refused"]
    assert rows[0]["why"] == "ImageExampleGen broke"


def test_quarantine_is_listed_as_text(report, tab):
    tab.open(report["data.html"])
    (row,) = rows_of(tab, "All of them")
    assert (row["image"], row["reason"], row["row"]) == ("00000009_<b>.png", "corrupt", "12")
    counts = {row["split"]: row["patients"] for row in rows_of(tab, "Splits")}
    assert counts == {"train": "30", "eval": "30", "test": "30"}


def test_slices_show_in_tfmas_table_and_sort_by_keyboard(made_run, report, tab):
    tab.open(report["slices-wide.html"], f"{DEEP}('.google-visualization-table tr').length > 9")
    read = (
        f"{DEEP}('.google-visualization-table tr')"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    header, *rows = tab.evaluate(read)
    assert header == ["feature", *DEFAULT_CLASSES, "example_count"]
    expected = load(Path(made_run.artifacts["Evaluator.wide"]["evaluation"]), DEFAULT_CLASSES)
    found = {row[0]: row[1:] for row in rows}
    assert set(found) == set(expected.metrics)
    assert found["test"][0] == f"{expected.metrics['test'][DEFAULT_CLASSES[0]]['auc']:.3f}"
    assert found["test"][-2:] == ["too few: 0 positives", "120"]
    tab.evaluate(f"{DEEP}('.google-visualization-table th button')[1].focus()")
    tab.page.keyboard.press("Enter")
    tab.wait(f"{DEEP}('th')[1].ariaSort === 'ascending'")
    aucs = [float(row[1]) for row in tab.evaluate(read)[1:] if not row[1].startswith("too few")]
    assert aucs == sorted(aucs)
    tab.page.locator("select").select_option("Mass")
    tab.wait(f"{DEEP}('th').some(cell => cell.textContent === 'brier_score')")
    assert_clean(tab)


def test_plots_show_three_charts_a_class(report, tab):
    tab.open(report["plots-ensemble.html"], f"{DEEP}('svg').length >= 37")
    tags = tab.evaluate("[...document.querySelectorAll('.plots > div > *')].map(e => e.tagName)")
    assert tags.count("TFMA-ROC-CURVE") == len(DEFAULT_CLASSES) - 1  # one has no positives
    assert tags.count("TFMA-PRECISION-RECALL-CURVE") == len(DEFAULT_CLASSES) - 1
    assert tags.count("TFMA-CALIBRATION-PLOT") == len(DEFAULT_CLASSES)
    assert_clean(tab)


def words_of(pages: list[Path]) -> dict[str, str]:
    """By page, what stands in the places of figures."""
    found = {}
    for page in pages:
        parts = re.findall(r'class="missing">(.*?)</div>', page.read_text("utf-8"), re.DOTALL)
        found[page.name] = html.unescape(re.sub(r"<[^>]+>|\s+", " ", " ".join(parts)))
    return found


def test_a_run_without_anything_says_so_on_every_page(tmp_path):
    bare = RunFolder(tmp_path, {}, INGEST, tmp_path / "gone", False, FEW)
    words = words_of(write_dashboard(bare, tmp_path / "to"))
    assert "no evaluation" in words["index.html"]
    assert "no metadata.sqlite" in words["lineage.html"]
    assert "kept no score" in words["mistakes.html"]
    assert all(words[page] for page in words), words


def test_a_run_of_an_older_version_shows_what_it_has(made_run, tmp_path, tab):
    """One without scores, and with a verdict of another form."""
    old = tmp_path / "verdict"
    old.mkdir()
    (old / "verdict.json").write_text(json.dumps({"blessed": True}))
    artifacts = {
        node: made_run.artifacts[node] for node in ("Evaluator", "Evaluator.wide", "Trainer.wide")
    } | {"Gate": {"verdict": str(old)}}
    pages = write_dashboard(replace(made_run, artifacts=artifacts), tmp_path / "to")
    words = words_of(pages)
    for name in ("curves.html", "calibration.html", "operating.html", "mistakes.html"):
        assert "This run kept no score of each X-ray" in words[name]
    assert "not a verdict" in words["subgroups.html"]
    tab.open(pages[0])
    text = tab.evaluate("document.body.innerText")
    assert "Nobody has judged" in text and "0.9" in text  # AUCs, without intervals
    assert_clean(tab)


def test_damaged_evaluations_are_words(made_run, tmp_path):
    broken = tmp_path / "3"
    broken.mkdir()
    (broken / "eval_config.json").write_text("{")
    artifacts = made_run.artifacts | {"Evaluator": {"evaluation": str(broken)}}
    words = words_of(write_dashboard(replace(made_run, artifacts=artifacts), tmp_path / "to"))
    assert "can't be read" in words["classes.html"]


def test_nothing_is_half_written(made_run, tmp_path, monkeypatch):
    kept = tmp_path / "pages"
    kept.mkdir()
    (kept / "index.html").write_text("of an earlier call")
    (kept / "mine.txt").write_text("another's")
    bare = replace(made_run, artifacts={})

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    for to in (kept, tmp_path / "new" / "pages"):
        with pytest.raises(CxrflowError, match="can't be written: No space left on device"):
            write_dashboard(bare, to)
    assert {path.name for path in kept.iterdir()} == {"index.html", "mine.txt"}
    assert (kept / "index.html").read_text() == "of an earlier call"
    assert not (tmp_path / "new" / "pages").exists()


def test_a_page_survives_any_folder_name(made_run, tmp_path, tab):
    named = replace(made_run, root=tmp_path / "r\udcfcn <b>\"'[1]\n&", artifacts={})
    pages = write_dashboard(named, tmp_path / "p\udcfc [1] #'?")
    tab.open(pages[0])
    assert r"run r\xfcn <b>" in tab.evaluate("document.body.innerText")
    assert_clean(tab)


def test_served_pages_ask_loopback_alone(report, tab):
    with listening(0) as server:
        thread = threading.Thread(target=show, args=(server, report["index.html"].parent))
        thread.start()
        try:
            start = f"http://127.0.0.1:{server.server_port}/"
            tab.open(start)
            assert "Overview" in tab.evaluate("document.body.innerText")
            tab.open(f"{start}slices-wide.html", f"{DEEP}('.google-visualization-table').length")
            assert_clean(tab, start)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{start}../../etc/passwd")
            taken = f"port {server.server_port} can't be had"
            with pytest.raises(CxrflowError, match=taken), listening(server.server_port):
                pass
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["eval_config.json", "metrics", "plots"])
def test_damaged_evaluation_is_one_line(name, made_run, tmp_path):
    damaged = tmp_path / "3"
    shutil.copytree(made_run.artifacts["Evaluator"]["evaluation"], damaged)
    for path in damaged.glob(f"{name}*"):
        path.write_bytes(path.read_bytes()[:-20] + b"x" * 9)
    with pytest.raises(CxrflowError, match="can't be read") as error:
        load(damaged, DEFAULT_CLASSES)
    assert "\n" not in str(error.value)
