"""First descriptions: what is guessed of a folder reads it."""

import stat
from dataclasses import asdict

import pytest

from cxrflow.components.ingest.plan import make_plan
from cxrflow.components.ingest.settings import IngestConfig
from cxrflow.components.ingest.source.describe import describe
from cxrflow.pipeline import config
from cxrflow.pipeline.descriptions import FILE, ready
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.yaml_file import read_yaml


def plan_of(folder):
    loaded = config.load(None, [], folder)
    settings = {**asdict(IngestConfig()), "classes": loaded.ingest.classes, "max_bad_share": 0.9}
    return loaded, make_plan(str(folder), settings, loaded.data)


def test_a_table_with_a_column_a_class(table, images, tmp_path):
    images(*(f"img/{i}.png" for i in range(12)))
    table(
        "liste.csv",
        [
            {
                "Datei": f"{i}.png",
                "Patient-ID": f"P{i}",
                "Alter": 40 + i,
                "Geschlecht": "mw"[i % 2],
                "Erguss": ["ja", "nein", ""][i % 3],
                "Stauung, beidseits": "ja",
                "Station": "AB"[i % 2],
            }
            for i in range(12)
        ],
        separator=";",
        encoding="cp1252",
    )
    said = describe(tmp_path, tmp_path / FILE).said
    assert any("what blank means" in line for line in said)
    loaded, plan = plan_of(tmp_path)
    assert loaded.ingest.classes == ("Erguss", "Stauung, beidseits")
    assert loaded.data.columns.patient == "Patient-ID" and loaded.data.columns.age == "Alter"
    assert not plan.problems
    assert sorted(plan.rows["unknown"]) == [()] * 8 + [("Erguss",)] * 4
    assert set(plan.rows["sex"]) == {"M", "F"} and set(plan.rows["age"]) <= set(range(40, 52))
    assert "station: Station" in (tmp_path / FILE).read_text()


def test_a_table_with_one_column_of_words(table, images, tmp_path):
    images(*(f"{i}.png" for i in range(6)))
    words = ["Normal", "Mass, Edema", "Edema", "", "Normal", "Mass"]
    rows = [
        {"id": i, "subject": i // 2, "diagnosis": word, "set": ["val", "train", "test"][i // 2]}
        for i, word in enumerate(words)
    ]
    table("t.csv", rows)
    describe(tmp_path, tmp_path / FILE)
    loaded, plan = plan_of(tmp_path)
    assert set(loaded.ingest.classes) == {"Mass", "Edema"}
    assert loaded.data.labels.none == ("Normal",) and loaded.data.labels.separator == ","
    found = plan.rows.set_index("image_id")
    assert found["findings"].to_dict() == {
        "0.png": (),
        "1.png": ("Edema", "Mass"),
        "2.png": ("Edema",),
        "4.png": (),
        "5.png": ("Mass",),
    }
    assert list(found["split"]) == ["eval", "eval", "train", "test", "test"]


def test_dicom_by_study_gets_a_key_that_others_cannot_read(table, dicoms, tmp_path):
    for i in range(3):
        dicoms(f"d/{i}", StudyInstanceUID=f"1.2.{i}", PatientID=f"P{i}")
    table("t.csv", [{"uid": f"1.2.{i}", "Edema": i % 2} for i in range(3)])
    describe(tmp_path, tmp_path / FILE)
    loaded, plan = plan_of(tmp_path)
    assert loaded.data.columns.study == "uid" and loaded.data.images.format == "dicom"
    assert len(plan.rows) == 3
    key = tmp_path / "pseudonym.key"
    assert len(key.read_text().strip()) == 64
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_folder_is_left_alone_where_the_description_goes_elsewhere(table, dicoms, tmp_path):
    dicoms("data/1", StudyInstanceUID="1.2.1", PatientID="P")
    table("data/t.csv", [{"uid": "1.2.1", "Edema": 1}])
    before = sorted(path.name for path in (tmp_path / "data").iterdir())
    describe(tmp_path / "data", tmp_path / "mine.yaml")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == before
    given = read_yaml(tmp_path / "mine.yaml", "")
    assert given["pseudonym_key"] == str(tmp_path / "pseudonym.key")
    assert (tmp_path / "pseudonym.key").is_file()


def test_a_public_set_is_recognised(table, images, tmp_path):
    images("a.png")
    table("train.csv", "Path,Enlarged Cardiomediastinum\na,1\n")
    table("valid.csv", "Path,Enlarged Cardiomediastinum\na,1\n")
    assert "data=chexpert" in "".join(describe(tmp_path, tmp_path / FILE).said)
    assert not (tmp_path / FILE).exists()
    describe(tmp_path, tmp_path / FILE, ready("chexpert"))
    assert read_yaml(tmp_path / FILE, "")["name"] == "CheXpert"


@pytest.mark.parametrize(
    "tables, paths, says",
    [
        ({}, ["a.png"], "has no table"),
        ({"t.csv": "a,b\n1,2\n"}, [], "has no PNG, JPEG or DICOM file"),
        ({"t.csv": "a,b\n1,2\n"}, ["x.png"], "names the images"),
    ],
)
def test_what_cannot_be_described_is_one_line(table, images, tmp_path, tables, paths, says):
    images(*paths)
    for name, text in tables.items():
        table(name, text)
    with pytest.raises(CxrflowError, match=says) as error:
        describe(tmp_path, tmp_path / FILE)
    assert "\n" not in str(error.value)


def test_a_description_that_is_there_is_kept(tmp_path):
    (tmp_path / FILE).write_text("mine")
    with pytest.raises(CxrflowError, match="is there already"):
        describe(tmp_path, tmp_path / FILE)
    assert (tmp_path / FILE).read_text() == "mine"


def test_what_else_lies_there_does_not_stop_it(table, images, dicoms, tmp_path):
    images(*(f"{i}.png" for i in range(3)))
    dicoms("one.dcm")
    table("README.txt", 'Scans of "ward" 3\nsee "x"y\n')
    table("empty.csv", "")
    table("old.csv", "a,a\n1,2\n")
    table("t.csv", [{"id": i, "who": i, "Mass": i % 2, "Hernia": 0} for i in range(3)])
    said = "\n".join(describe(tmp_path, tmp_path / FILE).said)
    assert "t.csv" in said.splitlines()[0]
    assert "old.csv has the column 'a' twice" in said and "empty.csv is empty" in said
    assert "1 DICOM files are left out" in said and "no row is positive for Hernia" in said


def test_excel_files_alone_are_named(images, tmp_path):
    images("a.png")
    (tmp_path / "Befunde.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(CxrflowError, match=r"has no table .*; save Befunde\.xlsx as CSV"):
        describe(tmp_path, tmp_path / FILE)


def test_only_what_is_there_may_be_marked(table, images, tmp_path):
    images(*(f"{i}.png" for i in range(4)))
    rows = [{"id": i, "pid": i, "Mass": "x" * (i % 2), "Gr\u00f6\u00dfe": "X"} for i in range(4)]
    table("t.csv", rows)
    describe(tmp_path, tmp_path / FILE)
    _, plan = plan_of(tmp_path)
    assert [len(names) for names in plan.rows["findings"]] == [1, 2, 1, 2]


def test_excel_writes_booleans_in_its_users_language(table, images, tmp_path):
    images(*(f"{i}.png" for i in range(4)))
    table("t.csv", [{"id": i, "pid": i, "Mass": ["WAHR", "FALSCH"][i % 2]} for i in range(4)])
    describe(tmp_path, tmp_path / FILE)
    _, plan = plan_of(tmp_path)
    assert [len(names) for names in plan.rows["findings"]] == [1, 0, 1, 0]


def test_classes_that_look_alike_are_told(table, images, tmp_path):
    images("a.PNG", "b.PNG")
    rows = [{"id": name, "pid": name, "Mass": 1, "MASS": 0} for name in ("a.png", "b.png")]
    table("t.csv", rows)
    said = "\n".join(describe(tmp_path, tmp_path / FILE).said)
    assert "look at: Mass, MASS differ only in case or spaces" in said
    with pytest.raises(CxrflowError, match="'Mass' and 'MASS' differ in nothing"):
        plan_of(tmp_path)


ODD_COLUMNS = (
    "Befund:\nErguss",
    "a: b",
    "# c",
    "'d'",
    '"e"',
    "- f",
    "{g}",
    "h\ti",
    "Größe #",
    "j & k",
)


def test_columns_of_any_name_are_read_back(table, images, tmp_path):
    images(*(f"{i}.png" for i in range(4)))
    wards = {name.upper() + "!": "AB" for name in ODD_COLUMNS}
    rows = [
        {"id": i, "pid": i, **dict.fromkeys(ODD_COLUMNS, i % 2)}
        | {name: of[i % 2] for name, of in wards.items()}
        for i in range(4)
    ]
    table("t.csv", rows)
    describe(tmp_path, tmp_path / FILE)
    loaded, plan = plan_of(tmp_path)
    assert [*loaded.data.labels.classes] == [name.strip() for name in ODD_COLUMNS]
    assert all(len(names) in (0, len(ODD_COLUMNS)) for names in plan.rows["findings"])
    text = (tmp_path / FILE).read_text()
    assert "#   grosse: " in text
