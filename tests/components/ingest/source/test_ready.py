"""The ready descriptions, each on a made folder of that set's published format."""

from dataclasses import asdict
from pathlib import Path

import pytest

from cxrflow.components.ingest.plan import make_plan
from cxrflow.components.ingest.settings import IngestConfig
from cxrflow.components.ingest.source.read import read_source
from cxrflow.components.ingest.table import read_table
from cxrflow.pipeline import config
from cxrflow.pipeline.descriptions import ready_names
from cxrflow.schema.classes import CLASSES_14

CHEXPERT = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
    "Support Devices"
)
# Sorted by name, as MIMIC-CXR-JPG has them.
MIMIC = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
VINDR = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,"
    "Edema,Emphysema,Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,"
    "Mediastinal shift,Nodule/Mass,Pleural effusion,Pleural thickening,Pneumothorax,"
    "Pulmonary fibrosis,Rib fracture,Other lesion,COPD,Lung tumor,Pneumonia,Tuberculosis,"
    "{other},No finding"
)


def data_of(name):
    return config.load(None, [f"data={name}"]).data


def rows_of(found):
    return found.rows.set_index("image_id").to_dict("index")


def reasons(found):
    return sorted(problem.reason for problem in found.problems)


def columns(names, **said):
    """A line's values of these columns; blank where nothing is said."""
    return ",".join(str(said.get(name.replace(" ", "_"), "")) for name in names.split(","))


@pytest.mark.parametrize("name", ready_names())
def test_each_names_its_classes_for_a_run(name):
    loaded = config.load(None, [f"data={name}"])
    assert loaded.ingest.classes == loaded.data.labels.names
    assert len(loaded.ingest.classes) >= 13


@pytest.mark.parametrize(
    "name, missing",
    [
        ("nih", set()),
        ("padchest", set()),
        ("vindr_cxr", {"Hernia", "Mass", "Nodule"}),
        *(
            (
                name,
                {
                    *("Emphysema", "Fibrosis", "Hernia", "Infiltration", "Mass", "Nodule"),
                    "Pleural_Thickening",
                },
            )
            for name in ("chexpert", "mimic_cxr")
        ),
    ],
)
def test_which_of_our_classes_they_have(name, missing):
    assert set(CLASSES_14) - set(data_of(name).labels.names) == missing


def test_nih_reads_as_without_a_description(table, images, tmp_path):
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    )
    lines = [
        "00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2682,2749,0.143,0.143,",
        "00000001_001.png,No Finding,1,1,058Y,M,AP,2894,2729,0.143,0.143,",
        "00000002_000.png,Pleural_Thickening,0,2,81,F,PA,2500,2048,0.171,0.171,",
        "00000003_000.png,No Finding,0,3,414,F,PA,2500,2048,0.171,0.171,",
    ]
    path = table("Data_Entry_2017_v2020.csv", header + "\n".join(lines) + "\n")
    images(*(f"images/{line.split(',')[0]}" for line in lines))
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n00000003_000.png\n")
    ours, described = read_table(path), read_source(tmp_path, data_of("nih"))
    names = [name for name in ours.rows.columns if name != "image_id"]
    assert described.rows[names].to_dict("records") == ours.rows[names].to_dict("records")
    assert list(described.rows["image_id"]) == [f"images/{i}" for i in ours.rows["image_id"]]
    assert reasons(described) == reasons(ours) == ["impossible_age"]
    plan = make_plan(str(tmp_path), asdict(IngestConfig()), data_of("nih"))
    assert set(plan.rows.loc[plan.rows["patient_id"] == "2", "split"]) == {"test"}


def test_chexpert(table, images, tmp_path):
    head = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CHEXPERT}\n"
    at = "CheXpert-v1.0-small/train/patient0000{}/study1/view{}.jpg"

    def line(patient, view, sex, age, position, **labels):
        path = at.format(patient, view)
        return f"{path},{sex},{age},{position},{columns(CHEXPERT, **labels)}\n"

    table(
        "train.csv",
        head
        + line(1, "1_frontal", "Female", 68, "Frontal,AP", No_Finding="1.0", Support_Devices="1.0")
        + line(1, "2_lateral", "Female", 68, "Lateral,", No_Finding="1.0")
        + line(2, "1_frontal", "Male", 0, "Frontal,PA", Edema="-1.0", Pneumonia="-1.0")
        + line(3, "1_frontal", "Unknown", 55, "Frontal,LL", Edema="1.0")
        + line(4, "1_frontal", "Male", 55, "Frontal,PA", Pleural_Effusion="1.0", Fracture="0.0"),
    )
    table(
        "valid.csv",
        head
        + "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,"
        + columns(CHEXPERT, Cardiomegaly="1")
        + "\n",
    )
    images(
        *(f"train/patient0000{p}/study1/view1_frontal.jpg" for p in (1, 2, 3, 4)),
        "train/patient00001/study1/view2_lateral.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
    )
    found = read_source(tmp_path, data_of("chexpert"))
    rows = rows_of(found)
    one, two, four, valid = rows.values()
    assert one["findings"] == ("Support Devices",) and one["sex"] == "F" and one["view"] == "AP"
    assert two["findings"] == ("Edema",)  # uncertain: 1 for Edema, 0 for Pneumonia
    assert four["findings"] == ("Effusion",)
    assert [row["patient_id"] for row in rows.values()] == [
        *("patient00001", "patient00002", "patient00004", "patient64541"),
    ]
    assert [row["said_split"] for row in rows.values()] == ["train"] * 3 + ["test"]
    assert (two["age"], valid["findings"]) == (0, ("Cardiomegaly",))
    assert reasons(found) == ["not_frontal", "not_frontal"]


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_mimic_cxr(table, images, tmp_path, packed):
    start = "mimic-cxr-2.0.0-"
    table(
        f"{start}metadata.csv{packed}",
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,"
        "StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
        "PatientOrientationCodeSequence_CodeMeaning\n"
        "02aa-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.5,,,Erect\n"
        "02aa-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.5,,,Erect\n"
        "02bb-1,10000764,57375967,CHEST (PORTABLE AP),AP,3056,2544,21800506,213014.5,,,\n"
        "02cc-1,10000898,50771383,CHEST,PA,3056,2544,21800506,213014.5,,,\n",
    )
    table(
        f"{start}chexpert.csv{packed}",
        f"subject_id,study_id,{MIMIC}\n"
        f"10000032,50414267,{columns(MIMIC, No_Finding='1.0')}\n"
        f"10000764,57375967,{columns(MIMIC, Consolidation='1.0', Pneumonia='-1.0')}\n",
    )
    table(
        f"{start}split.csv{packed}",
        "dicom_id,study_id,subject_id,split\n"
        "02aa-1,50414267,10000032,train\n"
        "02aa-2,50414267,10000032,train\n"
        "02bb-1,57375967,10000764,validate\n"
        "02cc-1,50771383,10000898,test\n",
    )
    images(
        "files/p10/p10000032/s50414267/02aa-1.jpg",
        "files/p10/p10000032/s50414267/02aa-2.jpg",
        "files/p10/p10000764/s57375967/02bb-1.jpg",
        "files/p10/p10000898/s50771383/02cc-1.jpg",
    )
    found = read_source(tmp_path, data_of("mimic_cxr"))
    rows = rows_of(found)
    assert {i: (row["findings"], row["said_split"]) for i, row in rows.items()} == {
        "files/p10/p10000032/s50414267/02aa-1.jpg": ((), "train"),
        "files/p10/p10000764/s57375967/02bb-1.jpg": (("Consolidation",), "eval"),
    }
    assert {row["age"] for row in rows.values()} == {-1}
    # A study without labels isn't taken for a normal one.
    assert reasons(found) == ["no_partner", "not_frontal"]


def test_padchest(table, images, tmp_path):
    table(
        "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
        "ViewPosition_DICOM,Projection,MethodLabel,Labels\n"
        "0,20_a.png,0,20140915,20536686,839860,1930.0,F,POSTEROANTERIOR,PA,Physician,"
        "\"['pulmonary fibrosis', 'chronic changes', 'pseudonodule']\"\n"
        "1,20_b.png,1,20140915,20536686,839860,1930.0,F,LATERAL,L,Physician,['normal']\n"
        "2,13_c.png,0,20130301,20536687,313572,1964.0,M,AP,AP_horizontal,RNN_model,"
        "\"['normal']\"\n"
        "3,13_d.png,0,20130301,20536688,313573,,M,AP,AP,RNN_model,"
        "\"['laminar atelectasis', ' pleural effusion']\"\n"
        "4,13_e.png,0,20130301,20536689,313574,1964.0,M,AP,AP,RNN_model,\n"
        "5,13_f.png,0,20130301,20536690,313575,1964.0,M,AP,AP,Physician,"
        "\"['unchanged', 'cardiomegaly']\"\n"
        "6,13_g.png,0,20130301,20536691,313576,1964.0,M,AP,COSTAL,Physician,['exclude']\n"
        "7,13_h.png,0,20130301,20536692,313577,1964.0,O,AP,PA,Physician,"
        "\"['', 'loculated pleural effusion', 'COPD signs', 'suture material ']\"\n",
    )
    images(*(f"{i}/20_{x}.png" for i, x in ((0, "a"), (1, "b"))))
    images(*(f"0/13_{x}.png" for x in "cdefgh"))
    found = read_source(tmp_path, data_of("padchest"))
    assert [
        (row["findings"], row["age"], row["view"], row["slice/labelled_by"])
        for row in rows_of(found).values()
    ] == [
        (("Fibrosis",), 84, "PA", "Physician"),
        ((), 49, "AP", "RNN_model"),
        (("Atelectasis", "Effusion"), -1, "AP", "RNN_model"),
        (("Effusion",), 49, "PA", "Physician"),
    ]
    assert reasons(found) == ["label_left_out"] * 2 + ["not_frontal", "unknown_finding"]


def test_padchest_words_are_in_its_list():
    """Each is a finding that the set's readers (bob.med.tb, for one) list; none is misspelt."""
    published = (Path(__file__).parent / "padchest_findings.txt").read_text().splitlines()
    labels = data_of("padchest").labels
    assert {*labels.classes, *labels.none, *labels.leave_out} <= set(published)


def test_vindr_cxr(table, dicoms, tmp_path):
    train, test = VINDR.format(other="Other diseases"), VINDR.format(other="Other disease")
    zeros = {name.replace(" ", "_"): 0 for name in f"{train},{test}".split(",")}

    def line(image, reader, names, *positive):
        labels = {**zeros, **dict.fromkeys(positive, 1)}
        return f"{image},{reader}{columns(names, **labels)}\n"

    table(
        "annotations/image_labels_train.csv",
        f"image_id,rad_id,{train}\n"
        + line("0005e8", "R10,", train, "Pleural_effusion", "Other_diseases")
        + line("0005e8", "R7,", train, "Pleural_effusion", "ILD")
        + line("0005e8", "R9,", train, "Other_diseases")
        + line("0007ff", "R1,", train, "No_finding")
        + line("0007ff", "R2,", train, "No_finding")
        + line("0007ff", "R3,", train, "Nodule/Mass"),
    )
    table(
        "annotations/image_labels_test.csv",
        f"image_id,{test}\n" + line("00a2b1", "", test, "Other_disease", "Tuberculosis"),
    )
    dicoms("train/0005e8.dicom", PatientAge="052Y", PatientSex="F", PatientID="")
    dicoms("train/0007ff.dicom", PatientID="", ViewPosition="")
    dicoms("test/00a2b1.dicom", PatientID="", PatientAge="")
    (tmp_path / "pseudonym.key").write_text("0123456789abcdef")
    found = read_source(tmp_path, data_of("vindr_cxr"))
    assert found.problems == []
    first, second, third = found.rows.to_dict("records")
    assert (first["findings"], first["age"], first["sex"]) == (
        ("Effusion", "Other disease"),
        52,
        "F",
    )
    assert (second["findings"], second["view"]) == ((), "PA")
    assert (third["findings"], third["said_split"]) == (("Other disease", "Tuberculosis"), "test")
    assert found.rows["patient_id"].nunique() == 3
