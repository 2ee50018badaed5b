"""Whatever lies in a data folder: one line that refuses it, or a result; never another exception.

`data check` and a run ask the same code, so both sides are called on every folder.
"""

import contextlib
import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from cxrflow.components.ingest.check import check_folder, render
from cxrflow.components.ingest.folder import fingerprint
from cxrflow.components.ingest.plan import check_cheaply
from cxrflow.components.ingest.table import COLUMNS, read_table
from cxrflow.components.localise.boxes import read_boxes
from cxrflow.schema.errors import CxrflowError

SETTINGS = {
    "classes": ["Mass", "Nodule"],
    "cohort": "all",
    "split": "auto",
    "eval_share": 0.3,
    "test_share": 0.3,
    "split_salt": "cxrflow",
    "max_bad_share": 0.2,
    "min_side": 64,
    "max_side": 4096,
    "max_bytes": 2**20,
}
IMAGES = [f"{i:08d}_000.png" for i in range(1, 9)] + ["a.png", "M\u00fcller [1]*.png"]

ODD = ("", " ", "nan", "-1", "1e5", "17.0", "9" * 30, "x\ny", 'say "x"', "a,b", "\u0661", "a;b")
ODD += ("\ufeff", "\u2028", "'", "images/a.png", "a.dcm", "A.PNG", "\x07", "\U0001f600", "=1+1")
odd = st.sampled_from((*ODD, "x" * 300))
cells = {
    "Image Index": st.sampled_from(IMAGES),
    "Finding Labels": st.sampled_from(["Mass", "Mass|Nodule", "No Finding", "Mass|No Finding"]),
    "Follow-up #": st.sampled_from(["0", "1", "2.0", "003"]),
    "Patient ID": st.sampled_from(["1", "01", "1.0", " 1", "2", "3", "A", "a"]),
    "Patient Age": st.sampled_from(["50", "050Y", "50.0", "400"]),
    "Patient Gender": st.sampled_from(["M", "F", "m"]),
    "View Position": st.sampled_from(["PA", "AP", "LL"]),
    "Patient Sex": st.sampled_from(["M", "F"]),
    "": odd,
}


@st.composite
def tables(draw) -> bytes:
    """A table as people break them: columns, cells, quotes, line ends, coding, bytes."""
    names = list(COLUMNS)
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(list(cells)), max_size=10)) + names
    if draw(st.integers(0, 5)) == 0:
        names = draw(st.permutations(names))[draw(st.integers(0, 2)) :]
    whole_column = draw(st.none() | st.tuples(st.sampled_from(list(cells)), odd))
    bad = draw(st.sampled_from([0, 0, 0, 1, 10]))

    def cell(name: str) -> str:
        if whole_column and whole_column[0] == name:
            return whole_column[1]
        return draw(odd) if bad and draw(st.integers(1, 20)) <= bad else draw(cells[name])

    buffer = io.StringIO(newline="")
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    separator = draw(st.sampled_from(",,,,;\t|"))
    ends = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    writer = csv.writer(buffer, quoting=quoting, delimiter=separator, lineterminator=ends)
    writer.writerow(names)
    for _ in range(draw(st.integers(0, 12))):
        row = [cell(name) for name in names]
        writer.writerow(row[: draw(st.integers(0, len(row)))] if bad > 5 else row)
    text = draw(st.sampled_from(["", "\ufeff", "\n", "sep=,\n"])) + buffer.getvalue()
    coding = draw(st.sampled_from(["utf-8"] * 5 + ["utf-16", "utf-16-le", "latin-1"]))
    data = text.encode(coding, "replace")
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data)))
        data = (
            data[:at]
            + draw(st.sampled_from([b'"', b"\0", b"\xff", b"\r", b",", b'""']))
            + data[at:]
        )
    return data


def judged(root: Path) -> tuple[str | None, str | None]:
    """Why `data check` and why a run refuse the folder, None where they don't."""
    answers = []
    for side in (_check, _run):
        try:
            answers.append(side(str(root)))
        except CxrflowError as error:
            answers.append(str(error))
    for line in answers:
        assert line is None or (line.isprintable() and line.encode())
    return answers[0], answers[1]


def _check(root: str) -> str | None:
    from rich.console import Console

    report = check_folder(root, SETTINGS, whole=False)
    console = Console(file=io.StringIO(), width=100)
    console.print(render(report))
    assert console.file.getvalue().encode()
    for problem in report.problems:
        assert problem.detail.isprintable() and problem.row > 1
    assert report.shared_patients == 0
    return report.stop


def _run(root: str) -> None:
    """What a run does before TensorFlow is loaded, and what its wiring asks of the folder."""
    check_cheaply(root, SETTINGS)
    assert len(fingerprint(root)) == 32


@pytest.fixture(scope="module")
def make(picture):
    @contextlib.contextmanager
    def folder(**files: bytes | None):
        with tempfile.TemporaryDirectory() as path:
            root = Path(path)
            (root / "images").mkdir()
            for name in IMAGES:
                (root / "images" / name).write_bytes(picture())
            for name, content in files.items():
                if content is not None:
                    (root / name.replace("__", ".")).write_bytes(content)
            yield root

    return folder


GOOD = "\n".join(
    [",".join(COLUMNS), *(f"{name},Mass,0,{i},50,M,PA" for i, name in enumerate(IMAGES, 1))]
).encode()


@examples(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | tables())
@example(GOOD)
@example(GOOD.replace(b"_000.png", b"_000"))
def test_any_table(make, content):
    with make(Data_Entry_2017__csv=content) as root:
        check, run = judged(root)
        assert (check is None) == (run is None), "both sides accept, or none"
        with contextlib.suppress(CxrflowError):
            table = read_table(root / "Data_Entry_2017.csv")
            assert table.total > 0
            lines = [*table.rows["row"], *(problem.row for problem in table.problems)]
            assert len(set(lines)) == len(lines)


def test_the_good_table_is_accepted(make):
    with make(Data_Entry_2017__csv=GOOD) as root:
        assert judged(root) == (None, None)


names = st.sampled_from([*IMAGES, "", " a.png ", "gone.png", "\ufeff", '"a.png"', "x" * 9999])
lists = st.binary(max_size=60) | st.tuples(
    st.lists(names, max_size=12), st.sampled_from(["\n", "\r\n", "\r", "\n\n"])
).map(lambda drawn: drawn[1].join(drawn[0]).encode())


@examples(max_examples=60, deadline=None)
@given(st.none() | lists, st.none() | lists)
@example(b"\n".join(n.encode() for n in IMAGES[:6]), b"\n".join(n.encode() for n in IMAGES[6:]))
def test_any_split_list(make, train_val, test):
    files = dict(train_val_list__txt=train_val, test_list__txt=test)
    with make(Data_Entry_2017__csv=GOOD, **files) as root:
        check, run = judged(root)
        assert (check is None) == (run is None)
        if train_val is None and test is None:
            assert check is None


boxes = st.lists(
    st.lists(
        st.sampled_from(["a.png", "Mass", "1", "1e3", "nan", "-5", "", "x\ny", "inf"]), max_size=8
    ),
    max_size=4,
)


@examples(max_examples=100, deadline=None)
@given(st.binary(max_size=100) | st.binary(max_size=40).map(lambda b: b"\x1f\x8b\x08" + b) | boxes)
@example([["a.png", "Mass", "1", "2", "3", "4"]])
@example(
    [["a.png", "Mass", "1", "2", "3", "4", "", "", ""], ["b.png", "Mass", "1", "2", "nan", "4"]]
)
def test_any_list_of_boxes(content):
    if isinstance(content, list):
        buffer = io.StringIO()
        csv.writer(buffer).writerows([["Image Index", "Finding Label", "Bbox [x"], *content])
        content = buffer.getvalue().encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "BBox_List_2017.csv")
        path.write_bytes(content)
        try:
            found = read_boxes(path)
        except CxrflowError as error:
            assert str(error).isprintable()
        else:
            assert all(box.width > 0 for listed in found.values() for box in listed)
