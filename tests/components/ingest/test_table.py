import pytest

from components.ingest.quarantine import Reason
from components.ingest.table import read_table
from schema.errors import CxrflowError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
GOOD = {
    "image": "00000001_000.png",
    "findings": "Mass|Nodule",
    "follow_up": "0",
    "patient": "1",
    "age": "57",
    "sex": "M",
    "view": "PA",
}


def line(**changes: str) -> str:
    return ",".join((GOOD | changes).values()) + ",2682,2749,0.143,0.143"


def write(path, *lines: str, header: str = HEADER):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_typed_rows(tmp_path):
    normal = line(image="00000002_003.png", findings="No Finding", patient="2", follow_up="3")
    table = read_table(write(tmp_path / "t.csv", line(), normal))
    assert not table.problems and table.total == 2
    assert table.rows.to_dict("records") == [
        {
            "row": 2,
            "image_id": "00000001_000.png",
            "patient_id": "1",
            "findings": ("Mass", "Nodule"),
            "age": 57,
            "sex": "M",
            "view": "PA",
            "follow_up": 0,
        },
        {
            "row": 3,
            "image_id": "00000002_003.png",
            "patient_id": "2",
            "findings": (),
            "age": 57,
            "sex": "M",
            "view": "PA",
            "follow_up": 3,
        },
    ]


def test_the_variant_of_kaggles_sample(tmp_path):
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,"
        "OriginalImagePixelSpacing_y"
    )
    sample = line(image="00000013_005.png", follow_up="005", patient="00000013", age="060Y")
    infant = line(image="00000014_000.png", follow_up="000", patient="00000014", age="011M")
    rows = read_table(write(tmp_path / "t.csv", sample, infant, header=header)).rows
    assert list(rows[["patient_id", "age", "follow_up"]].itertuples(index=False, name=None)) == [
        ("13", 60, 5),
        ("14", 0, 0),
    ]


@pytest.mark.parametrize(
    ("header", "end"),
    [
        (HEADER + ",", ","),  # Kaggle's Data_Entry_2017.csv
        (HEADER, ","),  # rows one comma longer than the header
        ("\ufeff" + HEADER, ""),
        (HEADER.replace("Gender", "Sex"), ""),
    ],
)
def test_headers_seen_in_the_wild(tmp_path, header, end):
    table = read_table(write(tmp_path / "t.csv", line() + end, header=header))
    assert table.rows["image_id"].tolist() == [GOOD["image"]]
    assert table.rows["sex"].tolist() == ["M"]


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"image": ""}, Reason.BAD_IMAGE_NAME, "not the name"),
        ({"image": "x.dcm"}, Reason.BAD_IMAGE_NAME, "x.dcm"),
        ({"image": "../../etc/00000001_000.png"}, Reason.BAD_IMAGE_NAME, "not the name"),
        ({"patient": ""}, Reason.BAD_PATIENT, "no patient"),
        ({"patient": "2"}, Reason.PATIENT_MISMATCH, "not of patient 2"),
        ({"findings": "Mas"}, Reason.UNKNOWN_FINDING, "Mas is not a finding"),
        ({"findings": "Mass|"}, Reason.UNKNOWN_FINDING, "not a finding"),
        ({"findings": ""}, Reason.UNKNOWN_FINDING, "no finding given"),
        ({"findings": "Mass|No Finding"}, Reason.FINDING_CONFLICT, "contradicts"),
        ({"age": "121"}, Reason.IMPOSSIBLE_AGE, "over 120"),
        ({"age": "414Y"}, Reason.IMPOSSIBLE_AGE, "over 120"),
        ({"age": "-1"}, Reason.IMPOSSIBLE_AGE, "not a number"),
        ({"age": ""}, Reason.IMPOSSIBLE_AGE, "not a number"),
        ({"age": "nan"}, Reason.IMPOSSIBLE_AGE, "not a number"),
        ({"age": "\u0665\u0667"}, Reason.IMPOSSIBLE_AGE, "not a number"),
        ({"sex": "X"}, Reason.BAD_SEX, "M or F"),
        ({"view": "LL"}, Reason.BAD_VIEW, "PA or AP"),
        ({"view": ""}, Reason.BAD_VIEW, "PA or AP"),
        ({"follow_up": "first"}, Reason.BAD_FOLLOW_UP, "first"),
    ],
)
def test_bad_rows_are_set_aside(tmp_path, changes, reason, detail):
    other = line(image="00000002_000.png", patient="2")
    table = read_table(write(tmp_path / "t.csv", other, line(**changes)))
    (problem,) = table.problems
    assert (problem.reason, problem.row) == (reason.value, 3)
    assert detail in problem.detail
    assert table.rows["row"].tolist() == [2]


@pytest.mark.parametrize("age", ["0", "120", "057Y", "57.0", "1000D"])
def test_possible_ages(tmp_path, age):
    assert not read_table(write(tmp_path / "t.csv", line(age=age))).problems


def test_a_row_with_two_faults_is_one_problem_that_tells_both(tmp_path):
    (problem,) = read_table(write(tmp_path / "t.csv", line(sex="?", view="?"))).problems
    assert problem.reason == Reason.BAD_SEX.value
    assert problem.detail == "sex '?' is not M or F; view '?' is not PA or AP"


def test_rows_count_as_in_an_editor(tmp_path):
    table = read_table(write(tmp_path / "t.csv", line(), "", line(image="b.png", age="400"), ""))
    assert [p.row for p in table.problems] == [4]
    assert table.total == 2


def test_of_equal_repeats_one_stays_of_different_ones_none(tmp_path):
    table = read_table(
        write(
            tmp_path / "t.csv",
            line(),
            line(),
            line(image="00000002_000.png", patient="2"),
            line(image="00000002_000.png", patient="2", findings="No Finding"),
        )
    )
    assert table.rows["row"].tolist() == [2]
    assert [(p.row, p.reason) for p in table.problems] == [
        (n, Reason.DUPLICATE_IMAGE.value) for n in (3, 4, 5)
    ]
    assert table.problems[0].detail == "repeats row 2"
    assert table.problems[1].detail == "rows 4, 5 differ for this image"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (HEADER.encode(), "no rows"),
        ((HEADER + "\n\n\n").encode(), "no rows"),
        (HEADER.replace("View Position,", "").encode(), "lacks the column View Position"),
        (HEADER.replace(",", ";").encode(), "separates its columns by semicolons"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not a comma-separated table"),
        ((HEADER + '\n"x').encode(), "not a comma-separated table"),
    ],
)
def test_what_is_no_table_stops_with_one_line(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(CxrflowError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
