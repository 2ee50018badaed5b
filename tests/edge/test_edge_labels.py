"""AUCs and curves, against scikit-learn and by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from schema.classes import CLASSES_14, NO_FINDING
from tests.edge.bundles import CLASSES

labels = pytest.importorskip("labels")
bundles = pytest.importorskip("bundle")

TABLE = """Image Index,Finding Labels,Follow-up #
00000001_000.png,Cardiomegaly|Effusion,0
00000001_001.png,No Finding,1
00000002_000.png,Hernia,0
"""


def test_vocabulary_is_the_schemas() -> None:
    assert labels.NIH_CLASSES == CLASSES_14
    assert labels.NO_FINDING == NO_FINDING


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_reads_nihs_form(tmp_path: Path, start: str) -> None:
    (tmp_path / "labels.csv").write_text(start + TABLE, encoding="utf-8")
    found = labels.read_labels(str(tmp_path / "labels.csv"), CLASSES)
    assert found == {
        "00000001_000.png": {"Cardiomegaly", "Effusion"},
        "00000001_001.png": frozenset(),
        "00000002_000.png": {"Hernia"},
    }
    assert labels.label_of("/media/card/00000002_000.png", found) == {"Hernia"}
    assert labels.label_of("/media/card/3.png", found) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TABLE.replace("Hernia", "Hernai").encode(), "line 4: unknown class 'Hernai'; known are"),
        (b"a,b\n1,2\n", "no column 'Finding Labels'"),
        (b"", "no column"),
        (b"\xff\xfe\0", "can't be read"),
        (b"\x89PNG\r\n\x1a\n", "can't be read|no column"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(bundles.Refused, match=reason) as caught:
        labels.read_labels(str(tmp_path / "labels.csv"), CLASSES)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bundles.Refused, match="can't be read: No such file"):
        labels.read_labels(str(tmp_path / "labels.csv"), CLASSES)


def test_area_by_hand() -> None:
    # Pairs of a positive and a negative: .8 > .6, .8 > .3, .4 < .6, .4 > .3: three of four.
    found = labels.roc("Mass", np.array([1, 0, 1, 0], bool), np.array([0.8, 0.6, 0.4, 0.3]))
    assert found.auc == 0.75
    np.testing.assert_allclose(found.points, [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]])


def test_all_equal_is_a_half() -> None:
    assert labels.roc("Mass", np.array([1, 0, 0], bool), np.full(3, 0.2)).auc == 0.5


@pytest.mark.parametrize("truth", [[], [0, 0], [1, 1]])
def test_no_area_without_both_kinds(truth: list[int]) -> None:
    found = labels.roc("Mass", np.array(truth, bool), np.zeros(len(truth)))
    assert found.auc is None
    assert found.positives == sum(truth)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=2
    ).filter(lambda pairs: len({truth for truth, _ in pairs}) == 2)
)
def test_curves_are_scikit_learns(pairs: list[tuple[bool, float]]) -> None:
    truth, score = np.array([t for t, _ in pairs]), np.array([s for _, s in pairs])
    found = labels.roc("Mass", truth, score)
    assert found.auc == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(found.points, np.stack([false, true], axis=1))


def test_rows_without_answer_or_label_dont_count() -> None:
    def row(name: str, *values: float) -> dict[str, object]:
        return {"file": name, "findings": [{"probability": value} for value in values]}

    rows = [
        row("/a/1.png", 0.9, 0.2),
        row("/b/2.png", 0.1, 0.8),
        row("/b/unlabelled.png", 0.1, 0.8),
        {"file": "/b/3.png", "error": "empty"},
    ]
    table = {name: frozenset() for name in ("2.png", "3.png")} | {"1.png": frozenset(["Mass"])}
    (mass, edema), images = labels.curves(rows, table, ["Mass", "Edema"])
    assert images == 2
    assert (mass.auc, edema.auc) == (1.0, None)


def test_writes_the_studys_table_and_a_plot(tmp_path: Path) -> None:
    found = [
        labels.roc("Mass", np.array([1, 0, 1, 0], bool), np.array([0.8, 0.6, 0.4, 0.3])),
        labels.roc("Edema", np.zeros(4, bool), np.zeros(4)),
    ]
    labels.write_auc(str(tmp_path / "auc.csv"), "Mobilenet", found)
    assert (tmp_path / "auc.csv").read_text() == "Class,Mobilenet\nMass,0.75\nEdema,\n"
    labels.write_plot(str(tmp_path / "roc.png"), "MobileNet ü", True, found, 4)
    plot = np.asarray(Image.open(tmp_path / "roc.png"))
    blue = (plot == [0x1F, 0x77, 0xB4]).all(axis=2)
    # Mass's curve: up at false positive rate 0 to .5, right to .5, up to 1, right to 1.
    side, margin = 600, 60
    for x, y in ((0.25, 0.5), (0.5, 0.75), (0.75, 1.0)):
        column, row = round(margin + side * x), round(margin + side * (1 - y))
        assert blue[row - 2 : row + 3, column - 2 : column + 3].any()
    assert not blue[margin + 40 : margin + 250, margin + 40 : margin + 250].any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["auc.csv", "roc.png"]
