"""DICOM folders: found by UIDs, named by pseudonyms, others set aside."""

import os
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from cxrflow.components.ingest.check import check_folder
from cxrflow.components.ingest.image import BadImage, read_dicom_image
from cxrflow.components.ingest.plan import make_plan
from cxrflow.components.ingest.settings import IngestConfig
from cxrflow.components.ingest.source.read import read_source
from cxrflow.components.ingest.source.version import fingerprint_source
from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.image_rules import Limits
from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.serving.client.images import read_image
from cxrflow.serving.client.settings import ClientConfig

LABELS = {"classes": {"Water": "Water"}}
KEY = "0123456789abcdef0123456789abcdef"
LIMITS = Limits(32, 5120, 16 * 2**20)
# What may name somebody, and must be in no artifact.
NAMES = ("Mustermann", "HOSP-4711", "Klinikum", "19500101", "ACC-99", "1.2.826.0.1.55")


@pytest.fixture
def key(tmp_path):
    (tmp_path / "pseudonym.key").write_text(KEY)


def described(describe_as, **columns):
    return describe_as(
        tables=[{"file": "t.csv"}],
        columns=columns,
        images={"format": "dicom"},
        labels=LABELS,
        pseudonym_key="pseudonym.key",
    )


def test_a_row_is_found_by_sop_uid_path_or_name(table, dicoms, describe_as, tmp_path, key):
    uids = [generate_uid(), generate_uid(), generate_uid()]
    for place, uid in enumerate(uids):
        dicoms(f"x/IM{place}", SOPInstanceUID=uid, PatientID=f"P{place}", PatientAge="050Y")
    table(
        "t.csv", [{"i": uids[0], "Water": 1}, {"i": "x/IM1", "Water": 0}, {"i": "IM2", "Water": 0}]
    )
    found = read_source(tmp_path, described(describe_as, image="i"))
    assert found.problems == [] and found.unlisted == []
    assert [os.path.basename(path) for path in found.rows["path"]] == ["IM0", "IM1", "IM2"]
    assert set(found.rows["age"]) == {50} and set(found.rows["view"]) == {"PA"}


def test_a_row_of_a_study_is_about_all_its_frontal_images(
    table, dicoms, describe_as, tmp_path, key
):
    dicoms("1", StudyInstanceUID="1.1", PatientID="A")
    dicoms("2", StudyInstanceUID="1.1", PatientID="A", ViewPosition="LL")
    dicoms("3", StudyInstanceUID="1.1", PatientID="A", ViewPosition="AP")
    dicoms("4", StudyInstanceUID="1.2", PatientID="B")
    table(
        "t.csv",
        [{"s": "1.1", "Water": 1}, {"s": "1.2", "Water": 0}, {"s": "1.3", "Water": 0}],
    )
    found = read_source(tmp_path, described(describe_as, study="s"))
    rows = found.rows.to_dict("records")
    assert [(r["findings"], r["view"]) for r in rows] == [
        (("Water",), "PA"),
        (("Water",), "AP"),
        ((), "PA"),
    ]
    assert len(set(found.rows["row"])) == 3  # each image has a number of its own
    assert {(p.reason, p.detail) for p in found.problems} == {
        ("missing", "t.csv line 4: a study without images in the folder"),
        (
            "not_frontal",
            "t.csv line 2: is a view LL: the model knows only frontal ones (PA, AP)",
        ),
    }


@pytest.mark.parametrize(
    "elements, reason",
    [
        ({"ViewPosition": "LATERAL"}, "not_frontal"),
        ({"BodyPartExamined": "HAND"}, "other_body_part"),
        ({"Modality": "CT"}, "other_modality"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        ({"BurnedInAnnotation": "YES"}, "burned_in"),
        ({"PatientID": ""}, "bad_patient"),
        ({"PatientID": "n/a"}, "bad_patient"),
    ],
)
def test_what_cannot_be_learned_from_is_set_aside(
    table, dicoms, describe_as, tmp_path, key, elements, reason
):
    dicoms("1", **elements)
    dicoms("2", PatientID="B")
    table("t.csv", [{"i": "1", "Water": 1}, {"i": "2", "Water": 0}])
    found = read_source(tmp_path, described(describe_as, image="i"))
    assert [(p.row, p.reason) for p in found.problems] == [(2, reason)]
    assert len(found.rows) == 1


def test_broken_files_are_one_line_each(table, dicoms, describe_as, tmp_path, key):
    dicoms("1", PatientID="A")
    whole = dicoms("2", PatientID="B").read_bytes()
    # Sequences within sequences, each of undefined length.
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 1
    (tmp_path / "2").write_bytes(whole[:400] + nested * 20_000)
    huge = tmp_path / "3"
    huge.write_bytes(whole)
    os.truncate(huge, DicomLimits().max_bytes + 1)
    table("t.csv", [{"i": "1", "Water": 1}, {"i": "2", "Water": 0}, {"i": "3", "Water": 0}])
    found = read_source(tmp_path, described(describe_as, image="i"))
    assert [(p.row, p.reason) for p in found.problems] == [(3, "bad_dicom"), (4, "bad_dicom")]
    assert all("\n" not in p.detail for p in found.problems)


def test_broken_files_of_studies_are_not_forgotten(table, dicoms, describe_as, tmp_path, key):
    dicoms("1", StudyInstanceUID="1.1", PatientID="A")
    (tmp_path / "2").write_bytes(bytes(128) + b"DICM" + b"\xff" * 300)
    table("t.csv", [{"s": "1.1", "Water": 1}])
    found = read_source(tmp_path, described(describe_as, study="s"))
    assert [p.reason for p in found.problems] == ["bad_dicom"]


def test_two_files_of_one_image_are_not_both_learned_from(
    table, dicoms, describe_as, tmp_path, key
):
    for path in ("1", "copy/1"):
        dicoms(path, SOPInstanceUID="1.5", StudyInstanceUID="1.1", PatientID="A")
    table("t.csv", [{"s": "1.1", "Water": 1}])
    found = read_source(tmp_path, described(describe_as, study="s"))
    assert len(found.rows) == 1
    assert [p.reason for p in found.problems] == ["duplicate_image"]


def test_ids_are_pseudonyms_that_only_the_key_tells(table, dicoms, describe_as, tmp_path, key):
    dicoms("1", PatientID=" hosp-4711", SOPInstanceUID="1.5")
    dicoms("2", PatientID="HOSP-4711", SOPInstanceUID="1.6")
    table("t.csv", [{"i": "1", "Water": 1}, {"i": "2", "Water": 0}])
    data = described(describe_as, image="i")
    found = read_source(tmp_path, data)
    names = Pseudonyms(KEY.encode())
    assert set(found.rows["patient_id"]) == {names.of("patient", "hosp-4711")}
    assert list(found.rows["image_id"]) == [names.of("image", "1.5"), names.of("image", "1.6")]
    before = fingerprint_source(tmp_path, data)
    (tmp_path / "pseudonym.key").write_text(KEY[::-1])
    other = read_source(tmp_path, data)
    assert set(other.rows["patient_id"]).isdisjoint(found.rows["patient_id"])
    assert fingerprint_source(tmp_path, data) != before


@pytest.mark.parametrize(
    "content, says", [(None, "can't be read: No such file"), ("short", "has 5 bytes")]
)
def test_without_a_good_key_nothing_is_read(table, dicoms, describe_as, tmp_path, content, says):
    dicoms("1")
    table("t.csv", [{"i": "1", "Water": 1}])
    if content:
        (tmp_path / "pseudonym.key").write_text(content)
    with pytest.raises(CxrflowError, match=says):
        read_source(tmp_path, described(describe_as, image="i"))


def test_dicom_without_a_key_is_refused_in_the_description(describe_as):
    with pytest.raises(CxrflowError, match="pseudonym_key names no file, and DICOM names patients"):
        describe_as(
            tables=[{"file": "t.csv"}],
            columns={"image": "i"},
            images={"format": "dicom"},
            labels=LABELS,
        )


def test_slices_may_not_name_places_or_people(describe_as):
    for keyword in ("InstitutionName", "StationName", "PatientName"):
        with pytest.raises(CxrflowError, match=f"{keyword} may name a patient or place"):
            describe_as(
                tables=[{"file": "t.csv"}],
                columns={"image": "i"},
                images={"format": "dicom"},
                labels=LABELS,
                pseudonym_key="k",
                slices={"where": f"dicom:{keyword}"},
            )


def test_nothing_that_names_a_patient_is_in_rows_problems_or_pixels(
    table, dicoms, describe_as, tmp_path, key
):
    who = {
        "PatientName": "Mustermann^Erika",
        "PatientID": "HOSP-4711",
        "InstitutionName": "Klinikum Musterstadt",
        "PatientBirthDate": "19500101",
        "AccessionNumber": "ACC-99",
    }
    rows = []
    for place, (uid, changes) in enumerate(
        (
            ("1", {}),
            ("2", {"ViewPosition": "LL"}),
            ("3", {"PatientID": "HOSP-4711 #"}),
            ("4", {"PatientID": "HOSP-4711'Mustermann"}),
            ("5", {"PhotometricInterpretation": "RGB"}),
        )
    ):
        name = f"Mustermann_HOSP-4711_{place}.dcm"
        dicoms(name, **{**who, **changes, "SOPInstanceUID": f"1.2.826.0.1.55.{uid}"})
        rows.append({"i": f"1.2.826.0.1.55.{uid}", "Water": place % 2})
    rows.append({"i": "1.2.826.0.1.55.99", "Water": 1})
    table("t.csv", rows)
    data = described(describe_as, image="i")
    settings = {**asdict(IngestConfig()), "classes": ("Water",)}
    plan = make_plan(str(tmp_path), settings, data)
    shown = plan.rows.drop(columns="path").to_csv() + str(plan.problems) + str(plan.unlisted)
    for row in plan.rows.to_dict("records"):
        try:
            shown += read_dicom_image(row["path"], LIMITS)[0].decode("latin-1")
        except BadImage as bad:
            shown += f"{bad} {bad.detail}"
    assert len(plan.problems) == 3
    assert not [name for name in NAMES if name in shown]
    report = check_folder(str(tmp_path), settings, source=data)
    assert not [name for name in NAMES if name in str(report.problems)]


def test_a_date_of_birth_that_is_taken_for_an_age_is_not_shown(
    table, dicoms, describe_as, tmp_path, key
):
    dicoms("1", PatientID="A")
    table("t.csv", [{"i": "1", "a": "24.12.1960", "b": "24.12.1960", "Water": 1}])
    for field, column in (("age", "a"), ("born", "b")):
        (problem,) = read_source(
            tmp_path, described(describe_as, image="i", **{field: column})
        ).problems
        assert problem.reason == "impossible_age" and "1960" not in problem.detail.replace(
            "1960-12-24",
            "",  # the example of how to write one
        )


def test_ingest_renders_as_the_client_does(dicoms):
    path = dicoms("1", WindowCenter=2000, WindowWidth=1500, PhotometricInterpretation="MONOCHROME1")
    data, header = read_dicom_image(path, LIMITS)
    assert data == read_image(path, ClientConfig()).data
    assert (header.format, header.width, header.height) == ("png", 64, 64)


@pytest.mark.slow
def test_nemas_images_are_the_same_in_all_lossless_syntaxes(shared_dir, tmp_path):
    """RG1, the chest, is there in two lossy syntaxes only; RG2 and RG3 in all."""
    import zstandard

    for name in ("RG2", "RG3"):
        plain = tmp_path / name
        packed = (shared_dir / "data" / "dicom" / f"{name}_UNC.zst").read_bytes()
        plain.write_bytes(zstandard.ZstdDecompressor().decompress(packed, 2**26))
        pixels = _pixels(plain)
        for syntax in ("J2KR", "JLSL", "JPLL", "RLE"):
            path = shared_dir / "data" / "dicom" / f"{name}_{syntax}"
            if path.exists():
                assert np.array_equal(_pixels(path), pixels), path.name
        for syntax in ("J2KI", "JLSN", "JPLY"):
            path = shared_dir / "data" / "dicom" / f"{name}_{syntax}"
            if path.exists():
                differences = np.abs(_pixels(path).astype(int) - pixels)
                assert differences.mean() < 2, path.name  # gray levels of 256


def _pixels(path):
    from io import BytesIO

    return np.asarray(Image.open(BytesIO(read_dicom_image(path, LIMITS)[0])))
