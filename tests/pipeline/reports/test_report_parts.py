"""What the report works out itself, by hand; without TensorFlow."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cxrflow.components.evaluate.results import too_few
from cxrflow.components.evaluate.statistics.draws import Draws, Estimate
from cxrflow.components.localise.report import (
    ClassScore,
    Control,
    Figure,
    LeftOut,
    Localisation,
    Overlap,
    Score,
    write_localisation,
)
from cxrflow.components.score.files import Scores, Table
from cxrflow.pipeline.reports.dashboard import charts
from cxrflow.pipeline.reports.dashboard.adjudicated_page import find_list, read_list
from cxrflow.pipeline.reports.dashboard.auc_table import published
from cxrflow.pipeline.reports.dashboard.blocks import interval, number, signed
from cxrflow.pipeline.reports.dashboard.curves_page import pr_points
from cxrflow.pipeline.reports.dashboard.localisation_table import localisation_blocks
from cxrflow.pipeline.reports.dashboard.operating import counts_at
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.schema.errors import CxrflowError

# By case: labels and probabilities; corners in every awkward place.
CURVES = {
    "ties": ([0, 1, 0, 1, 1, 0, 0, 1] * 3, [0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.1, 0.1] * 3),
    "one positive": ([0, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]),
    "all equal": ([0, 1, 1, 0, 0], [0.3] * 5),
    "negatives first": ([0, 0, 0, 1, 1, 1], [0.9, 0.8, 0.7, 0.4, 0.2, 0.1]),
    "perfect": ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]),
}


@pytest.mark.parametrize("case", CURVES)
def test_the_drawn_steps_hold_the_average_precision(case):
    """The area under the SVG's own path, in the axes' units."""
    truth, scores = (np.array(column) for column in CURVES[case])
    recall, precision = pr_points(truth, scores)
    svg = charts.precision_recall([charts.Curve("m", recall, precision)], {}, 0.5, "words")
    paths = re.findall(r'<path d="([^"]+)"[^>]*stroke: var\(--accent\)', svg)
    (drawn,) = [np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2) for path in paths]
    steps = np.diff(drawn, axis=0)
    assert (np.isclose(steps, 0, atol=0.02).any(axis=1)).all()  # level or upright
    corners = axes_corners(svg)
    x = (drawn[:, 0] - corners[0]) / (corners[2] - corners[0])
    y = 1.01 * (corners[1] - drawn[:, 1]) / (corners[1] - corners[3])
    assert np.trapezoid(y, x) == pytest.approx(average_precision_score(truth, scores), abs=0.01)


def axes_corners(svg: str) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of the axes, from the clip path."""
    x, y, width, height = map(
        float,
        re.search(
            r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg
        ).groups(),
    )
    return x, y + height, x + width, y


def test_charts_carry_words_and_the_pages_colours():
    rows = [charts.Row("A & B", 0.7, 0.6, 0.8), charts.Row("none", math.nan)]
    svg = charts.forest(rows, "AUC", 'A & "B" 0.700')
    assert 'role="img"' in svg and 'aria-label="A &amp; &#34;B&#34; 0.700"' in svg
    assert "no figure" in svg
    assert not re.search(r"#0[1-8]0", svg)  # stand-ins
    assert "font-family" not in svg and "DejaVu" not in svg


def table(n: int) -> Table:
    return Table(
        image_id=np.array([f"{i}.png" for i in range(n)]),
        patient_id=np.array([f"{i // 2}" for i in range(n)]),
        age=np.full(n, 50),
        sex=np.full(n, "F"),
        view=np.full(n, "PA"),
        age_band=np.full(n, "40-59"),
        labels=np.array([[1], [1], [1], [0], [0], [0]], np.uint8),
    )


def test_counts_at_an_operating_point_by_hand():
    probabilities = np.array([[0.9], [0.5], [0.1], [0.5], [0.2], [0.1]], np.float32)
    read = Scores("m", ("Mass",), "test", True, table(6), probabilities)
    found = counts_at(read, 0, {"youden": 0.5}, Draws.of(read.images.patient_id, 50))["youden"]
    counts = (found.true_positives, found.false_positives)
    assert counts == (2, 1)  # an image at the threshold is positive
    assert (found.false_negatives, found.true_negatives) == (1, 2)
    assert found.sensitivity.value == pytest.approx(2 / 3)
    assert found.specificity.value == pytest.approx(2 / 3)
    assert found.precision.value == pytest.approx(2 / 3)
    above = counts_at(read, 0, {"youden": 0.95}, Draws.of(read.images.patient_id, 50))["youden"]
    assert math.isnan(above.precision.value)  # nothing is called positive


def run_at(folder: Path, **changes) -> RunFolder:
    given = {"synthetic": False, "ingest": {"split": "auto"}, "artifacts": {}} | changes
    return RunFolder(root=folder, data_dir=folder, min_shown=10, **given)


def test_published_figures_compare_only_on_the_whole_official_list(tmp_path):
    def comparable(run: RunFolder, split: str, images: int) -> set[str]:
        return {one.split for one in published(run, ("Mass",), split, images) if one.comparable}

    assert comparable(run_at(tmp_path), "test", 25_596) == set()  # no list there
    (tmp_path / "test_list.txt").touch()
    assert comparable(run_at(tmp_path), "test", 25_596) == {"official test list"}
    assert comparable(run_at(tmp_path), "eval", 25_596) == set()
    assert comparable(run_at(tmp_path), "test", 735) == set()
    assert comparable(run_at(tmp_path, synthetic=True), "test", 25_596) == set()
    wang = published(run_at(tmp_path), ("Mass", "Hernia"), "test", 735)[0]
    assert wang.aucs == {"Mass": 0.693, "Hernia": 0.872}
    assert wang.mean(["Mass", "Hernia"]) == pytest.approx(0.7825)
    assert "735" in wang.reason


HEADER = "Image Index,Finding Labels,Pneumothorax,Airspace opacity,Nodule or mass\n"


def test_adjudicated_labels_are_found_beside_the_data_and_read(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    assert find_list(data) is None
    (tmp_path / "labels").mkdir()
    path = tmp_path / "labels" / "google2019_nih-chest-xray-labels.csv"
    path.write_text(f"{HEADER}00000013_008.png,No Finding,NO,YES,NO\n")
    assert find_list(data) == path
    found = read_list(path)["00000013_008.png"]
    assert found == {"Pneumothorax": False, "Airspace opacity": True, "Nodule or mass": False}
    path.write_text("a,b\n1,2\n")
    with pytest.raises(CxrflowError, match="no list of adjudicated labels"):
        read_list(path)


def test_localisation_is_a_table_or_words(tmp_path):
    (words,) = localisation_blocks(run_at(tmp_path))
    assert words.kind == "missing" and "BBox_List_2017.csv" in words.why
    figure = Figure(0.5, 0.25, 0.75)
    controls = {name: Control(0.1, Figure()) for name in ("random_box", "centre_prior")}
    score = Score(figure, controls)
    overlap = Overlap(0.25, score, score)
    one = ClassScore("Mass", 4, 3, 5, score, score, score, (overlap,), None)
    left = LeftOut(1, "outside its image")
    found = Localisation("m", True, "test", "b.csv", "class", (7, 7), (60,), 100, (one,), (left,))
    write_localisation(found, tmp_path)
    run = run_at(tmp_path, artifacts={"Localiser": {"report": str(tmp_path)}})
    pointing, overlaps, note = localisation_blocks(run)
    assert [cell.text for cell in pointing.rows[0]] == [
        *("Mass", "4", "3", "0.50", "0.25 to 0.75", "0.10", "0.10", "–"),
    ]
    assert [cell.text for cell in overlaps.rows[0]] == [
        *("Mass", "5", "0.50", "0.25 to 0.75", "0.10", "0.10", "–", "0.28", "0.50"),
    ]
    assert note.text == "1 boxes left out: outside its image."
    (tmp_path / "localisation.json").write_text("{}")
    (words,) = localisation_blocks(run)
    assert words.kind == "missing" and "run the pipeline again" in words.why


def test_figures_in_cells():
    assert (number(0.12345).text, number(math.nan).text) == ("0.123", "–")
    assert (signed(0.02).text, signed(-0.02).text, signed(math.nan).text) == (
        *("+0.020", "-0.020", "–"),
    )
    assert interval(Estimate(0.5, 0.4, 0.6)) == "0.400 to 0.600"
    assert interval(Estimate(0.1, -0.1, 0.3), "+") == "-0.100 to +0.300"
    assert interval(Estimate(0.5)) == "–"


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
