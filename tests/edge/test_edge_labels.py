"""AUCs and curves, against scikit-learn and by hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

import bundle as bundles
import label_table
import labels
from cxrflow.components.ingest.table import COLUMNS, read_table
from cxrflow.pipeline.settings import IngestConfig
from cxrflow.schema.classes import CLASSES_14, NO_FINDING
from cxrflow.schema.errors import CxrflowError
from tests.edge.bundles import CLASSES

TABLE = """Image Index,Finding Labels,Follow-up #
00000001_000.png,Cardiomegaly|Effusion,0
00000001_001.png,No Finding,1
00000002_000.png,Hernia,0
"""


def test_vocabulary_is_the_schemas() -> None:
    assert labels.NIH_CLASSES == CLASSES_14
    assert label_table.NO_FINDING == NO_FINDING
    assert IngestConfig().max_bad_share == labels.MAX_BAD_SHARE


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
        (
            TABLE.replace("Hernia", "Hernai").encode(),
            "1 of 3 rows of .* bad, at most 1% .* first row 4: Hernai is not a finding",
        ),
        (TABLE.replace("No Finding", "").encode(), "row 3: no finding given"),
        (b"a,b\n1,2\n", "lacks the columns Image Index, Finding Labels"),
        (b"", "is empty"),
        (b"\xff\xfe\0", "UTF-16"),
        (b"\x89PNG\r\n\x1a\n", "line 1: byte 0x89"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(bundles.Refused, match=reason) as caught:
        labels.read_labels(str(tmp_path / "labels.csv"), CLASSES)
    assert "\n" not in str(caught.value)


def test_a_few_bad_rows_are_set_aside_and_told(tmp_path: Path) -> None:
    rows = [f"{i}.png,Mass" for i in range(200)] + ["x.png,Hernai", "1.png,Mass"]
    (tmp_path / "labels.csv").write_text("Image Index,Finding Labels\n" + "\n".join(rows))
    found = labels.read_labels(str(tmp_path / "labels.csv"), CLASSES)
    assert len(found) == 200
    assert found.set_aside == [
        "row 202: Hernai is not a finding; a normal image says No Finding",
        "row 203: repeats row 3",
    ]


def test_names_are_compared_as_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("Image Index,Finding Labels\nM\u00fcller.png ,Mass\n")
    found = labels.read_labels(str(tmp_path / "labels.csv"), CLASSES)
    assert labels.label_of("/card/Mu\u0308ller.png", found) == {"Mass"}


HEADER = ",".join(COLUMNS)
REST = "0,1,50,M,PA"
# What a file holds, and what becomes of it on host and device alike: rows that stay, rows set
# aside, or a word of the line that refuses it.
ROWS: list[tuple[str, list[int], list[int]]] = [
    (f"a.png,Mass,{REST}\nb.png,No Finding,{REST}\n", [2, 3], []),
    (f"a.png,Mass|Nodule,{REST},\n\nb.png, Mass | Edema ,{REST}\n\n", [2, 4], []),
    (f'"a.png","Mass",{REST}\n"b.png", "Mass",{REST}', [2, 3], []),
    (f"a.png,,{REST}\nb.png,Mass,{REST}\n", [3], [2]),
    (f"a.png,Sneezing,{REST}\nb.png,Mass|,{REST}\nc.png,mass,{REST}\n", [], [2, 3, 4]),
    (f"a.png,Mass|No Finding,{REST}\nb.png,Mass,{REST}\n", [3], [2]),
    (
        f"a,Mass,{REST}\nimages/b.png,Mass,{REST}\nc.dcm,Mass,{REST}\n.png,Mass,{REST}\n",
        [],
        [2, 3, 4, 5],
    ),
    (f"A.PNG,Mass,{REST}\na b[1]*.jpeg,Mass,{REST}\n", [2, 3], []),
    (f"a.png,Mass,{REST}\na.png,Mass,{REST}\n a.png,Mass,{REST}\n", [2], [3, 4]),
    (f"a.png,Mass,{REST}\nb.png,Mass,{REST}\na.png,Edema,{REST}\n", [3], [2, 4]),
    (f"u\u0308.png,Mass,{REST}\n\u00fc.png,Mass,{REST}\n", [2], [3]),
    (f"a.png,Mass,{REST},x\nb.png,Mass,{REST},,,\n", [3], [2]),
    (f",Mass,{REST}\n\a.png,Mass,{REST}\n", [], [2, 3]),
]
FILES: list[tuple[bytes, str]] = [
    (b"", "is empty"),
    (b"\n \r\n", "is empty"),
    (f"{HEADER}\n".encode(), "has a header but no rows"),
    (f"{HEADER}\na.png,Mass,{REST}\n".encode("utf-16"), "is text in UTF-16"),
    (f"{HEADER}\na.png,M\xe4ss,{REST}\n".encode("latin-1"), "line 2: byte 0xe4"),
    (f"{HEADER}\na.png\0,Mass,{REST}\n".encode(), "line 2: a zero byte"),
    (f"{HEADER}\na.png,Mass,{REST}\n".replace(",", ";").encode(), "by semicolons"),
    (f"{HEADER}\na.png,Mass,{REST}\n".replace(",", "\t").encode(), "by tabs"),
    (f'{HEADER}\na.png,"Mass,{REST}\n'.encode(), "line 2: a quote is opened and not closed"),
    (f"{HEADER},{HEADER}\n".encode(), "has the column twice: 'Image Index'"),
    (HEADER.replace("Finding Labels", "Findings").encode(), "lacks the column Finding Labels"),
]


def both(path: Path) -> tuple[tuple[list[int], list[int]] | str, tuple[list[int], list[int]] | str]:
    """Rows that stay and rows set aside on host and device, or the line that refuses the file."""
    answers = []
    try:
        table = read_table(path)
        answers.append((table.rows["row"].tolist(), [p.row for p in table.problems]))
    except CxrflowError as error:
        answers.append(str(error))
    try:
        found = labels.read_labels(str(path), CLASSES)
        rows = label_table.read_rows(str(path), ("Image Index",), {})
        aside = [int(line.split()[1][:-1]) for line in found.set_aside]
        answers.append((sorted({row.line for row in rows} - set(aside)), aside))
    except bundles.Refused as error:
        answers.append(str(error))
    return answers[0], answers[1]


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("rows", "good", "aside"), ROWS)
def test_host_and_device_keep_the_same_rows(
    tmp_path: Path, monkeypatch, rows: str, good: list[int], aside: list[int], end: str, start: str
) -> None:
    monkeypatch.setattr(labels, "MAX_BAD_SHARE", 1)
    path = tmp_path / "Data_Entry_2017.csv"
    path.write_bytes(f"{start}{HEADER}\n{rows}".replace("\n", end).encode())
    assert both(path) == ((good, aside),) * 2


@pytest.mark.parametrize(("content", "word"), FILES)
def test_host_and_device_refuse_the_same_files(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "Data_Entry_2017.csv"
    path.write_bytes(content)
    host, device = both(path)
    assert word in host and word in device


@pytest.mark.parametrize("kind", ["folder", "dead link", "pipe", "missing"])
def test_host_and_device_refuse_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "Data_Entry_2017.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "dead link":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    host, device = both(path)
    assert isinstance(host, str) and host == device and host.isprintable()


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


@settings(deadline=None)
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
