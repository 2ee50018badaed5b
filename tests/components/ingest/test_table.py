import os
import re
from pathlib import Path

import pytest

from cxrflow.components.ingest.check import check_folder
from cxrflow.components.ingest.quarantine import Reason
from cxrflow.components.ingest.table import MAX_AGE, MAX_FOLLOW_UP, read_table
from cxrflow.schema.errors import CxrflowError

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
        ({"findings": "Mass|"}, Reason.UNKNOWN_FINDING, "'' is not a finding"),
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
        ({"follow_up": "1001"}, Reason.BAD_FOLLOW_UP, "from 0 to 1000"),
    ],
)
def test_bad_rows_are_set_aside(tmp_path, changes, reason, detail):
    other = line(image="00000002_000.png", patient="2")
    table = read_table(write(tmp_path / "t.csv", other, line(**changes)))
    (problem,) = table.problems
    assert (problem.reason, problem.row) == (reason.value, 3)
    assert detail in problem.detail
    assert table.rows["row"].tolist() == [2]


def test_what_is_kept_the_schema_accepts():
    """ExampleValidator would stop the run for what data check had let in."""
    schema = (Path(__file__).parents[3] / "schema" / "schema.pbtxt").read_text()

    def bounds(name: str) -> str:
        return re.search(rf'"{name}".*?int_domain {{(.*?)}}', schema, re.DOTALL)[1].strip()

    assert bounds("patient/age") == f"min: 0 max: {MAX_AGE}"
    assert bounds("follow_up") == f"min: 0 max: {MAX_FOLLOW_UP}"
    assert bounds("image/height") == bounds("image/width") == "min: 1", "ingest's settings decide"


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


def test_repeats_are_compared_as_read_not_as_spelled(tmp_path):
    twice = line(image="a.png", patient="17"), line(image="a.png ", patient="017", age="57.0")
    table = read_table(write(tmp_path / "t.csv", *twice))
    assert [(p.row, p.detail) for p in table.problems] == [(3, "repeats row 2")]
    # One image with two patients is of neither, and one bad value more is no reason to keep either.
    for other in ({"patient": "18"}, {"patient": "17", "age": "400"}):
        rows = line(image="a.png", patient="17"), line(image="a.png", **other)
        assert [p.row for p in read_table(write(tmp_path / "t.csv", *rows)).problems] == [2, 3]


def test_names_with_letters_of_one_or_two_characters_are_one(tmp_path):
    rows = line(image="M\u00fcller.png"), line(image="Mu\u0308ller.png")
    table = read_table(write(tmp_path / "t.csv", *rows))
    assert table.rows["image_id"].tolist() == ["M\u00fcller.png"]
    assert [p.detail for p in table.problems] == ["repeats row 2"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
def test_rows_are_the_lines_of_an_editor(tmp_path, start, end):
    lines = [
        HEADER + ",Remark",
        line() + ',"first\nsecond\n\nthird"',
        "",
        "  ",
        line(image="b.png", age="400"),
        line(image="c.png", view="LL") + ',"a, b"',
    ]
    text = start + "\n".join(lines)
    (tmp_path / "t.csv").write_bytes(text.replace("\n", end).encode())
    shown = text.split("\n")
    expected = [i for i, one in enumerate(shown, 1) if one.startswith(("b.png", "c.png"))]
    assert [p.row for p in read_table(tmp_path / "t.csv").problems] == expected


def test_a_row_with_too_many_or_too_few_values(tmp_path):
    rows = line(), line(image="b.png") + ",more", "c.png,Mass", line(image="d.png") + ",,"
    table = read_table(write(tmp_path / "t.csv", *rows))
    assert table.rows["image_id"].tolist() == [GOOD["image"], "d.png"]
    assert [(p.row, p.reason, p.image, p.detail) for p in table.problems] == [
        (3, "bad_row", "b.png", "12 values, the header has 11: quote a value that has a comma"),
        (4, "bad_row", "c.png", "2 values, the header has 11"),
    ]


@pytest.mark.parametrize("column", list(GOOD))
def test_a_column_that_is_bad_as_a_whole(tmp_path, column):
    table = read_table(write(tmp_path / "t.csv", *[line(**{column: "~"})] * 3))
    assert table.rows.empty and [p.row for p in table.problems] == [2, 3, 4]


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("Image\u00a0Index", r"Image\xa0Index"),  # looks as it should
        ("image index", "image index"),
        ("Image_Index", "Image_Index"),
        ("Imgae Index", "Imgae Index"),
    ],
)
def test_a_misspelt_column_is_named(tmp_path, title, told):
    path = write(tmp_path / "t.csv", line(), header=HEADER.replace("Image Index", title))
    with pytest.raises(CxrflowError) as error:
        read_table(path)
    assert f"lacks the column Image Index (it has '{told}');" in str(error.value)


def test_everything_in_a_message_is_short_and_on_one_line(tmp_path):
    bad = ",".join(['"' + "x" * 5000 + '\a"'] * 7)
    (problem,) = read_table(write(tmp_path / "t.csv", bad)).problems
    assert problem.detail.isprintable() and len(problem.detail) < 1000 and len(problem.image) < 70


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        (";", "semicolons"),
        (" ; ", "semicolons"),
        ("\t", "tabs"),
        ("|", "vertical bars"),
        ("  ", "spaces"),
        ("^", r"'\^'"),
        ("\uff0c", "'\uff0c'"),
    ],
)
def test_other_separators_are_named(tmp_path, sign, words):
    for header in (HEADER, f'"{HEADER}"'.replace(",", '","')):
        rows = line().replace(",", sign), "a.png;Mass, and more"
        path = write(tmp_path / "t.csv", *rows, header=header.replace(",", sign))
        with pytest.raises(CxrflowError, match=f"separates its columns by {words}; save it with"):
            read_table(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (HEADER.encode(), "no rows"),
        ((HEADER + "\n\n\n").encode(), "no rows"),
        (HEADER.replace("View Position,", "").encode(), "lacks the column View Position"),
        (HEADER.replace(",", ";").encode(), "separates its columns by semicolons"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not a comma-separated table in UTF-8: line 1: byte 0x89"),
        (f"{HEADER}\nM\xfcller".encode("latin-1"), "line 2: byte 0xfc"),
        ((HEADER + '\n"x').encode(), "line 2: a quote is opened and not closed"),
        ((HEADER + '\n"x"y,').encode(), "line 2: text follows a closing quote"),
        ((HEADER + "\n" + "x" * 200_000).encode(), "line 2: a value is longer than 131,072"),
        (HEADER.encode("utf-16"), "is text in UTF-16"),
        (HEADER.encode("utf-16-le"), "line 1: a zero byte"),
        (f"{HEADER}\n{line()}\n\0".encode(), "line 3: a zero byte"),
        (b"PK\x03\x04", "Excel"),
        (b"\x1f\x8b", "gzip"),
        (b"\xef\xbb\xbf \r\n", "is empty"),
        (b",,,\n,,\n", "is empty"),
        (HEADER.replace("Patient Age", "Image Index").encode(), "twice: 'Image Index' and 'Image"),
        (HEADER.replace("[x", ",Patient Sex,").encode(), "'Patient Gender' and 'Patient Sex'"),
        (f'{HEADER}\n"{line()}\n{line()}\nx",Mass'.encode(), "line 2: a value goes on to line 4"),
        (f'{HEADER}\n{line()},"\n{line()}\n"'.encode(), "line 2: a value goes on to line 4"),
    ],
)
def test_what_is_no_table_stops_with_one_line(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(CxrflowError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def _folder(path):
    path.mkdir()


def _dead_link(path):
    path.symlink_to("nowhere")


def _link_to_itself(path):
    path.symlink_to(path.name)


def _pipe(path):
    os.mkfifo(path)


def _device(path):
    path.symlink_to("/dev/zero")


def _huge(path):
    with path.open("w") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_folder, "is a folder"),
        (_dead_link, "a link to a file that isn't there"),
        (_link_to_itself, "can't be read: Too many levels"),
        (_pipe, "is a pipe or a device"),
        (_device, "is a pipe or a device"),
        (_huge, "has 1,099,511,627,776 bytes"),
    ],
)
@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt"])
def test_what_is_no_file(data_folder, settings, make, message, name):
    images = ["00000001_000.png", "00000002_000.png"]
    root = data_folder([(image, "Mass") for image in images], train_val=images[:1], test=images[1:])
    (root / name).unlink()
    make(root / name)
    with pytest.raises(CxrflowError, match=message) as caught:
        check_folder(str(root), settings)
    assert name in str(caught.value) and str(caught.value).isprintable()


def test_a_table_that_may_not_be_read(tmp_path, monkeypatch):
    path = write(tmp_path / "t.csv", line())

    def refuse(*_args, **_kwargs):  # the tests run as root, whom the kernel refuses nothing
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(CxrflowError, match=r"t.csv can't be read: Permission denied"):
        read_table(path)
