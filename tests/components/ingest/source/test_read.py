"""Own tables of PNGs, from the description to rows with splits."""

from dataclasses import asdict, replace

import pytest
from rich.console import Console

from cxrflow.components.ingest.check import check_folder, render
from cxrflow.components.ingest.plan import make_plan
from cxrflow.components.ingest.settings import IngestConfig
from cxrflow.components.ingest.source.read import read_source
from cxrflow.schema.errors import CxrflowError

LABELS = {"classes": {"Water": "Water"}}
COLUMNS = {"image": "file", "patient": "who"}


def settings(**changes):
    return {**asdict(IngestConfig()), "classes": ("Water",), "max_bad_share": 0.9, **changes}


def rows_of(found):
    return found.rows.set_index("image_id").to_dict("index")


def test_a_plain_table_becomes_rows(table, images, describe_as, tmp_path):
    images("x/a.png", "x/b.jpg", "x/c.png", "x/d.png")
    table(
        "t.csv",
        [
            {"file": "a.png", "who": "017", "y": "63", "s": "female", "Water": "1", "at": "Lab"},
            {"file": "x/b.jpg", "who": "17", "y": "011M", "s": "M", "Water": "0", "at": ""},
            {"file": "c", "who": "Ann", "y": "", "s": "", "Water": "0", "at": "Lab"},
        ],
    )
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns={**COLUMNS, "age": "y", "sex": "s"},
        labels=LABELS,
        slices={"place": "at"},
    )
    found = read_source(tmp_path, data)
    assert found.problems == []
    assert found.unlisted == ["x/d.png"]
    rows = rows_of(found)
    assert list(rows) == ["x/a.png", "x/b.jpg", "x/c.png"]
    a, b, c = rows.values()
    assert (a["row"], a["patient_id"], a["age"], a["sex"], a["view"]) == (
        2,
        "17",
        63,
        "F",
        "unknown",
    )
    assert (b["patient_id"], b["age"], b["sex"], b["slice/place"]) == ("17", 0, "M", "unknown")
    assert (c["patient_id"], c["age"], c["sex"], c["slice/place"]) == ("ann", -1, "unknown", "Lab")
    assert (a["findings"], b["findings"]) == (("Water",), ())
    assert a["path"] == str(tmp_path / "x/a.png")


def test_each_bad_row_is_set_aside_with_its_line_and_reason(table, images, describe_as, tmp_path):
    images("a.png", "b.png", "c.png", "e.png", "u/d.png", "v/d.png")
    good = {"who": "1", "Water": "0", "v": "PA", "y": "50", "s": "M"}
    table(
        "t.csv",
        [
            {"file": "a.png", **good},
            {"file": "gone.png", **good},
            {"file": "d.png", **good},
            {"file": "b.png", **good, "v": "LATERAL"},
            {"file": "c.png", **good, "s": "x"},
            {"file": "e.png", **good, "who": "n/a"},
            {"file": "", **good},
        ],
    )
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns={**COLUMNS, "age": "y", "sex": "s", "view": "v"},
        labels=LABELS,
    )
    found = read_source(tmp_path, data)
    assert list(found.rows["image_id"]) == ["a.png"]
    assert {(p.row, p.reason) for p in found.problems} == {
        (3, "missing"),
        (4, "several_files"),
        (5, "not_frontal"),
        (6, "bad_sex"),
        (7, "bad_patient"),
        (8, "bad_image_name"),
    }


def test_rows_that_contradict_each_other_are_set_aside(table, images, describe_as, tmp_path):
    images("a.png", "b.png")
    table(
        "t.csv",
        [
            {"file": "a.png", "who": "1", "Water": "1"},
            {"file": "a.png", "who": "1", "Water": "0"},
            {"file": "b.png", "who": "1", "Water": "1"},
            {"file": "b.png", "who": "1", "Water": "1"},
        ],
    )
    data = describe_as(tables=[{"file": "t.csv"}], columns=COLUMNS, labels=LABELS)
    found = read_source(tmp_path, data)
    assert list(found.rows["image_id"]) == ["b.png"]
    (problem,) = found.problems
    assert problem.reason == "duplicate_image"
    assert problem.detail == "t.csv line 2: 2 rows of this image contradict each other: Water"


@pytest.mark.parametrize(
    "columns, labels, says",
    [
        ({**COLUMNS, "patient": "wo"}, LABELS, "has no column 'wo', did you mean who?"),
        (COLUMNS, {"classes": {"Watr": "Water"}}, "has no column 'Watr', did you mean Water?"),
        (COLUMNS, {"column": "Labels", "classes": {"a": "A"}}, "has no column 'Labels'"),
    ],
)
def test_a_column_that_is_not_there_is_one_clear_line(
    table, images, describe_as, tmp_path, columns, labels, says
):
    images("a.png")
    table("t.csv", [{"file": "a.png", "who": "1", "Water": "1"}])
    data = describe_as(tables=[{"file": "t.csv"}], columns=columns, labels=labels)
    with pytest.raises(CxrflowError) as error:
        read_source(tmp_path, data)
    assert says in str(error.value) and "\n" not in str(error.value)


def twenty(table, images, **further):
    names = [f"{i}.png" for i in range(20)]
    images(*names)
    rows = [
        {"file": name, "who": str(i), "Water": str(i % 2), "part": "ab"[i >= 15]}
        for i, name in enumerate(names)
    ]
    table("t.csv", [{**row, **further} for row in rows])


def splits_of(tmp_path, data, **changes):
    rows = make_plan(str(tmp_path), settings(**changes), data).rows
    return rows.set_index("image_id")["split"].to_dict()


def test_a_column_of_splits_counts_and_eval_is_cut_out_of_train(
    table, images, describe_as, tmp_path
):
    twenty(table, images)
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns=COLUMNS,
        labels=LABELS,
        splits={"column": "part", "values": {"a": "train", "b": "test"}},
    )
    splits = splits_of(tmp_path, data, eval_share=0.3)
    assert {name for name, split in splits.items() if split == "test"} == {
        f"{i}.png" for i in range(15, 20)
    }
    assert set(splits.values()) == {"train", "eval", "test"}
    assert data.has_own_test
    # A patient's place among train and eval depends on the patient alone.
    assert splits_of(tmp_path, data, eval_share=0.3) == splits
    assert set(splits_of(tmp_path, data, split="hash").values()) == {"train", "eval", "test"}


def test_lists_name_images_or_patients(table, images, describe_as, tmp_path):
    twenty(table, images)
    (tmp_path / "test.txt").write_text("3\n4.png\n")
    (tmp_path / "val.txt").write_text("5\n")
    (tmp_path / "train.txt").write_text("\n".join(str(i) for i in range(6, 19)))
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns=COLUMNS,
        labels=LABELS,
        splits={"lists": {"train": "train.txt", "eval": "val.txt", "test": "test.txt"}},
    )
    plan = make_plan(str(tmp_path), settings(), data)
    splits = plan.rows.set_index("image_id")["split"].to_dict()
    assert (splits["3.png"], splits["4.png"], splits["5.png"]) == ("test", "test", "eval")
    assert sum(split == "train" for split in splits.values()) == 13
    assert [(p.image, p.reason) for p in plan.problems] == [
        (f"{i}.png", "not_in_lists") for i in (0, 1, 2, 19)
    ]


def test_a_patient_in_two_own_splits_is_refused(table, images, describe_as, tmp_path):
    twenty(table, images, who="7")
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns=COLUMNS,
        labels=LABELS,
        splits={"column": "part", "values": {"a": "train", "b": "test"}},
    )
    with pytest.raises(CxrflowError, match="1 patients are in two of the source's splits: 7"):
        make_plan(str(tmp_path), settings(), data)


def test_check_judges_a_source_and_a_class_without_a_positive(table, images, describe_as, tmp_path):
    twenty(table, images)
    labels = {
        "classes": {"Water": "Water", "part": "Air"},
        "values": {"a": "negative", "b": "negative", "1": "positive", "0": "negative"},
    }
    data = describe_as(tables=[{"file": "t.csv"}], columns=COLUMNS, labels=labels)
    report = check_folder(str(tmp_path), settings(classes=("Water", "Air")), source=data)
    assert report.positives["Water"].keys() == {"train", "eval", "test"}
    assert sum(report.positives["Water"].values()) == 10
    assert report.shared_patients == 0
    assert "no image of train is positive for Air" in (report.stop or "")
    assert render(report)
    assert check_folder(str(tmp_path), settings(), source=data).stop is None


def test_check_counts_unknown_labels_and_a_class_without_a_known_negative(
    table, images, describe_as, tmp_path
):
    twenty(table, images)
    labels = {
        "classes": {"Water": "Water", "part": "Air"},
        "values": {"1": "positive", "0": "negative", "a": "positive", "b": "ignore"},
    }
    data = describe_as(tables=[{"file": "t.csv"}], columns=COLUMNS, labels=labels)
    report = check_folder(str(tmp_path), settings(classes=("Water", "Air")), source=data)
    assert report.unknown == {"Air": 5}
    assert "no image of train is negative for Air" in (report.stop or "")
    assert render(report)


def test_what_was_left_out_on_purpose_does_not_count_as_bad(table, images, describe_as, tmp_path):
    twenty(table, images, v="PA")
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns=COLUMNS,
        labels={"classes": {"Water": "Water"}, "values": {"1": "positive", "0": "leave_out"}},
    )
    report = check_folder(str(tmp_path), settings(max_bad_share=0.0, split_salt="s"), source=data)
    assert {p.reason for p in report.problems} == {"label_left_out"} and len(report.problems) == 10
    assert "bad" not in (report.stop or "")


def test_a_folder_without_images_is_one_line(table, describe_as, tmp_path):
    table("t.csv", [{"file": "a.png", "who": "1", "Water": "1"}])
    data = describe_as(tables=[{"file": "t.csv"}], columns=COLUMNS, labels=LABELS)
    with pytest.raises(CxrflowError, match="has no PNG or JPEG file"):
        read_source(tmp_path, data)


@pytest.mark.parametrize(
    "born, examined, age",
    [
        ("1960", "2020", 60),
        ("1960.0", "20200615", 60),
        ("1960-06-16", "2020-06-15", 59),
        ("19600615", "2020/06/15 10:15:00", 60),
        ("NA", "2020", -1),
        ("", "2020", -1),
    ],
)
def test_ages_are_full_years(table, images, describe_as, tmp_path, born, examined, age):
    images("a.png")
    table("t.csv", [{"file": "a.png", "who": 1, "b": born, "e": examined, "Water": 1}])
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns={**COLUMNS, "born": "b", "examined": "e"},
        labels={"classes": {"Water": "Water"}},
    )
    assert list(read_source(tmp_path, data).rows["age"]) == [age]


@pytest.mark.parametrize(
    "field, text, age, says",
    [
        ("age", "67,5", 67, None),
        ("age", "67.99", 67, None),
        ("age", "n/a", -1, None),
        ("age", "24.12.1960", None, "age '24.12.1960' is not a number of years"),
        ("born", "24.12.1960", None, "x is neither a year nor a date that begins with one"),
        ("born", "12/24/60", None, "columns.patterns.born can pick its year out"),
    ],
)
def test_dates_and_fractions_as_ages(table, images, describe_as, tmp_path, field, text, age, says):
    images("a.png")
    table("t.csv", [{"file": "a.png", "who": 1, "x": text, "e": "2020", "Water": 1}])
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns={**COLUMNS, field: "x", "examined": "e"},
        labels={"classes": {"Water": "Water"}},
    )
    found = read_source(tmp_path, data)
    assert list(found.rows["age"]) == ([] if says else [age])
    assert [p.reason for p in found.problems] == (["impossible_age"] if says else [])
    assert not says or says in found.problems[0].detail


def test_a_year_can_be_picked_out_of_a_date(table, images, describe_as, tmp_path):
    images("a.png")
    table("t.csv", [{"file": "a.png", "who": 1, "b": "24.12.1960", "e": "2020", "Water": 1}])
    patterns = {"born": "([0-9]{4})$"}
    data = describe_as(
        tables=[{"file": "t.csv"}],
        columns={**COLUMNS, "born": "b", "examined": "e", "patterns": patterns},
        labels={"classes": {"Water": "Water"}},
    )
    assert list(read_source(tmp_path, data).rows["age"]) == [60]


@pytest.mark.parametrize("secret", [False, True])
def test_lists_and_joins_that_contradict_themselves(table, images, describe_as, tmp_path, secret):
    images("a.png")
    table("t.csv", [{"file": "a.png", "who": "Mustermann", "Water": 1}])
    (tmp_path / "train.txt").write_text("Mustermann\n")
    (tmp_path / "test.txt").write_text("Mustermann\n")
    (tmp_path / "key").write_text("0123456789abcdef")
    table("more.csv", [{"who": "Mustermann", "ward": ward} for ward in "AB"])
    described = {
        "tables": [{"file": "t.csv"}],
        "columns": COLUMNS,
        "labels": {"classes": {"Water": "Water"}},
        "pseudonym_key": "key" if secret else "",
    }
    lists = {"lists": {"train": "train.txt", "test": "test.txt"}}
    joins = [{"file": "more.csv", "by": ["who"]}]
    for more, says in (
        ({"splits": lists}, "that the list of train has too"),
        ({"joins": joins, "slices": {"ward": "ward"}}, "more.csv line 3: another row of its who"),
    ):
        with pytest.raises(CxrflowError, match=says) as error:
            make_plan(str(tmp_path), settings(), describe_as(**described, **more))
        assert ("ustermann" in str(error.value)) is not secret


@pytest.mark.parametrize(
    "given, found",
    [
        ("x/A.PNG", ["x/a.png"]),
        ("a", ["x/a.png"]),
        ("X\\A.png", ["x/a.png"]),
        ("B.png", ["B.png"]),  # as it is written, where there is one so
        ("b.PNG", []),  # two of them
    ],
)
def test_names_from_windows_have_no_case(table, images, describe_as, tmp_path, given, found):
    images("x/a.png", "B.png", "b.png")
    table("t.csv", [{"file": given, "who": 1, "Water": 1}])
    data = describe_as(
        tables=[{"file": "t.csv"}], columns=COLUMNS, labels={"classes": {"Water": "Water"}}
    )
    read = read_source(tmp_path, data)
    assert list(read.rows["image_id"]) == found
    assert [p.reason for p in read.problems] == ([] if found else ["several_files"])


def test_class_names_are_no_markup_of_the_terminal(table, images, describe_as, tmp_path):
    twenty(table, images)
    names = ("Mass [left]", "Air [/b]", "\\[red]")
    labels = {"classes": {"Water": names[0]}, "values": {"1": "positive", "0": "negative"}}
    data = describe_as(tables=[{"file": "t.csv"}], columns=COLUMNS, labels=labels)
    report = check_folder(str(tmp_path), settings(classes=names[:1]), source=data)
    report = replace(report, positives=dict.fromkeys(names, report.positives[names[0]]))
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render(report))
    assert all(name in captured.get() for name in names)
