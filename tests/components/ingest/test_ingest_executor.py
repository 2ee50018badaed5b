"""ImageExampleGen as TFX runs it, on a folder of a few small images."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from cxrflow.components.ingest.data_card import DataCard, parse_card
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf

ROWS = [(f"{i:08d}_000.png", "Mass|Hernia" if i % 2 else "No Finding") for i in range(1, 41)]


@pytest.fixture
def execute(tmp_path: Path):
    """Runs the executor; returns its three artifacts."""
    from tests.support import data_steps

    def run(data_dir: Path, settings: dict, root: str = "root", **more):
        return data_steps.ingest(data_dir, settings, tmp_path / root, **more)

    return run


def examples_of(artifact, split: str) -> list:
    import tensorflow as tf
    from tfx.components.util import examples_utils

    (pattern,) = examples_utils.get_split_file_patterns([artifact], split)
    dataset = tf.data.TFRecordDataset(tf.io.gfile.glob(pattern))
    return [tf.train.Example.FromString(record.numpy()) for record in dataset]


def test_writes_splits_records_and_quarantine(data_folder, settings, execute, picture, monkeypatch):
    from tfx.components.util import examples_utils

    from cxrflow.components.ingest import executor

    monkeypatch.setattr(executor, "_SHARD", 8)  # several files a split
    bad = {ROWS[4][0]: picture()[:-5], ROWS[5][0]: picture(20)}
    root = data_folder(ROWS, content=bad)
    card = DataCard.today("a test", "")
    card.write(root)
    examples, records, quarantine = execute(root, settings | {"max_bad_share": 0.05})
    assert parse_card(examples.get_string_custom_property("data_card")) == card

    seen, patients = {}, {}
    for split in ("train", "eval", "test"):
        full, light = examples_of(examples, split), examples_of(records, split)
        assert len(full) == len(light) > 0
        for example, record in zip(full, light, strict=True):
            values = {
                name: list(getattr(feature, feature.WhichOneof("kind")).value)
                for name, feature in example.features.feature.items()
            }
            name = values["image/id"][0].decode()
            seen[name] = values
            assert patients.setdefault(values["patient/id"][0], split) == split
            assert "image/encoded" not in record.features.feature
            del example.features.feature["image/encoded"]
            assert record == example
    assert seen.keys() == {name for name, _ in ROWS} - bad.keys()
    assert seen["00000001_000.png"] == {
        "image/encoded": [(root / "images" / "00000001_000.png").read_bytes()],
        "image/id": [b"00000001_000.png"],
        "image/height": [64],
        "image/width": [64],
        "patient/id": [b"1"],
        "patient/age": [50],
        "patient/sex": [b"M"],
        "view": [b"PA"],
        "follow_up": [0],
        "findings": [b"Hernia", b"Mass"],
    }
    assert seen["00000002_000.png"]["findings"] == []

    assert json.loads(examples.split_names) == ["train", "eval", "test"]
    assert examples_utils.get_payload_format_string(records) == "FORMAT_TF_EXAMPLE"
    assert examples_utils.get_file_format(examples) == "tfrecords_gzip"
    names = [p.name for p in sorted(Path(examples.uri, "Split-train").iterdir())]
    assert len(names) > 1 and names[0] == f"data_tfrecord-00000-of-{len(names):05d}"
    assert sorted(p.name for p in Path(examples.uri).iterdir()) == [
        "Split-eval",
        "Split-test",
        "Split-train",
    ]
    properties = {"truncated": 1, "too_small": 1, "set_aside": 2, "rows": 40}
    assert {k: quarantine.get_int_custom_property(k) for k in properties} == properties
    lines = Path(quarantine.uri, "quarantine.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["00000005_000.png", "6", "truncated"],
        ["00000006_000.png", "7", "too_small"],
    ]


def test_odd_names_of_images_and_folders(data_folder, settings, execute, picture):
    """What isn't UTF-8 can't be named by a table; every other name is a file like any other."""
    odd = ["M\u00fcller [1]*.png", "say \"x\", 'y'.png", "{a}?$(b);&.png", "\u65e5\u672c.png"]
    rows = [*ROWS, *((name, "Mass", str(100 + i)) for i, name in enumerate(odd))]
    made = data_folder(rows)
    root = made.rename(made.with_name("d\u00e4ta [1]* 'a' \"b\""))
    for name in (b"M\xfcller.png", b"line\nbreak.png", b"a\\b.png"):
        Path(os.fsdecode(os.path.join(os.fsencode(root), b"images", name))).write_bytes(picture())
    examples, _, _ = execute(root, settings, "r\u00f6\u00f6t 'a' \"b\" {c},@2;$d")
    seen = {
        example.features.feature["image/id"].bytes_list.value[0].decode()
        for split in ("train", "eval", "test")
        for example in examples_of(examples, split)
    }
    assert seen == {row[0] for row in rows}


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ({ROWS[0][0]: b"not an image"}, ROWS),  # found while reading
        ({}, [*ROWS, ("00000099_000.png", "Mas")]),  # known from the table
    ],
)
def test_too_many_bad_images_stop_and_the_report_survives(
    data_folder, settings, execute, content, rows, tmp_path
):
    root = data_folder(rows, content=content)
    with pytest.raises(CxrflowError, match=r"1 of 4. images are bad \(2\..%, at most 1.0%") as stop:
        execute(root, settings)
    report = Path(re.search(r"is in (\S+)$", str(stop.value))[1])
    assert report == tmp_path / "root" / "ImageExampleGen" / "stopped" / "7" / "quarantine.csv"
    assert len(report.read_text().splitlines()) == 2


def test_a_full_disk_is_noticed_before_anything_is_written(
    data_folder, settings, execute, monkeypatch
):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 9}))
    with pytest.raises(
        CxrflowError, match=r"raw examples need \d\.\d MB .* 0\.0 MB are free: make"
    ):
        execute(data_folder(ROWS), settings)


def test_a_killed_ingest_goes_on_from_its_last_whole_shard(
    data_folder, settings, execute, picture, monkeypatch, tmp_path
):
    from cxrflow.components.ingest import executor
    from tests.support import data_steps

    bad = {ROWS[4][0]: picture()[:-5], ROWS[5][0]: picture(20), ROWS[30][0]: b"no image"}
    data, settings = data_folder(ROWS, content=bad), settings | {"max_bad_share": 0.1}
    monkeypatch.setattr(executor, "_SHARD", 4)
    unbroken = execute(data, settings)

    root, shards = tmp_path / "killed", {}
    for images in (10, 19):  # in the third shard, then in a later one
        assert data_steps.killed_ingest(images, 4, data, settings, root, images) == -9
        (work,) = (root / "ImageExampleGen" / "examples" / "unfinished").iterdir()
        found = _inodes(work / "examples")
        assert shards.items() < found.items() and any((work / "attempts").iterdir())
        shards = found
        for leftover in (root / "ImageExampleGen").glob(f"*/{images}"):  # as leftovers.clear does
            shutil.rmtree(leftover)
    resumed = execute(data, settings, "killed")

    for before, after in zip(unbroken, resumed, strict=True):
        files = [
            {
                p.relative_to(one.uri): p.read_bytes()
                for p in Path(one.uri).rglob("*")
                if p.is_file()
            }
            for one in (before, after)
        ]
        assert files[0] == files[1] and files[0]
        assert before.get_int_custom_property("set_aside") == 3 * (before is unbroken[2])
    assert shards.items() < _inodes(Path(resumed[0].uri)).items()
    left = [p for p in (root / "ImageExampleGen").glob("*/*") if p.name != "7"]
    assert left == []


def test_a_folder_that_is_lost_on_the_way_stops_the_run_and_keeps_whole_shards(
    data_folder, settings, execute, monkeypatch, tmp_path
):
    """Its last images aren't set aside, however few they are; the same command goes on."""
    from cxrflow.components.ingest import executor
    from cxrflow.schema import progress

    data, elsewhere = data_folder(ROWS), tmp_path / "elsewhere"
    monkeypatch.setattr(executor, "_SHARD", 4)

    def lose(done: int, total: int | None, unit: str = "images") -> None:
        if done == len(ROWS) - 1:
            (data / "images").rename(elsewhere)

    with monkeypatch.context() as patch:
        patch.setattr(progress, "report", lose)
        with pytest.raises(Exception, match="was there as the run began, and isn't now"):
            execute(data, settings | {"max_bad_share": 0.5})
    (work,) = tmp_path.glob("root/ImageExampleGen/examples/unfinished/*")
    shards = _inodes(work / "examples")
    elsewhere.rename(data / "images")
    resumed = execute(data, settings | {"max_bad_share": 0.5})
    assert shards and shards.items() < _inodes(Path(resumed[0].uri)).items()
    assert resumed[2].get_int_custom_property("set_aside") == 0


def _inodes(tree: Path) -> dict[str, int]:
    return {str(p.relative_to(tree)): p.stat().st_ino for p in tree.glob("Split-*/*")}


def test_the_node(data_folder, settings):
    from cxrflow.components.ingest.component import ImageExampleGen
    from cxrflow.components.ingest.settings import IngestConfig, IngestSettings

    data_dir = str(data_folder(ROWS))
    given = IngestSettings(data_dir=data_dir, data_version="f", ingest=IngestConfig(**settings))
    node = ImageExampleGen(given, "c")
    assert node.id == "ImageExampleGen"
    assert [channel.type_name for channel in node.outputs.values()] == [
        "Examples",
        "Examples",
        "cxrflow.Quarantine",
    ]


def test_dicoms_become_pictures_and_name_nobody(execute, settings, tmp_path):
    import numpy as np

    from cxrflow.schema import features
    from tests.serving.dicoms import write_dicom

    data, names = tmp_path / "data", ("Mustermann", "HOSP", "Klinikum", "19500101", "1.2.826.0.1.9")
    data.mkdir()
    pixels = np.random.default_rng(0).integers(0, 4096, (80, 64)).astype(np.uint16)
    rows = ["uid;Water"]
    for i in range(40):
        said = {"SOPInstanceUID": f"1.2.826.0.1.9.{i}", "PatientName": f"Mustermann^{i}"}
        said |= {"PatientID": f"HOSP-{i}", "PatientBirthDate": "19500101", "StudyDate": "20240102"}
        said |= {"InstitutionName": "Klinikum", "ViewPosition": "LL" if i == 7 else "AP"}
        write_dicom(data / f"Mustermann{i}.dcm", pixels, Manufacturer="Acme", **said)
        rows.append(f"1.2.826.0.1.9.{i};{i % 2}")
    (data / "Mustermann5.dcm").write_bytes((data / "Mustermann5.dcm").read_bytes()[:-900])
    (data / "t.csv").write_text("\n".join(rows))
    (data / "key").write_text("0123456789abcdef")
    source = {
        "tables": [{"file": "t.csv"}],
        "columns": {"image": "uid"},
        "images": {"format": "dicom"},
        "labels": {"classes": {"Water": "Water"}},
        "slices": {"maker": "dicom:Manufacturer"},
        "pseudonym_key": "key",
    }
    settings = settings | {"classes": ["Water"], "max_bad_share": 0.1}
    examples, _, quarantine = execute(data, settings, source=source)
    found = [e.features.feature for s in features.SPLITS for e in examples_of(examples, s)]
    assert len(found) == 38
    assert all(f[features.IMAGE].bytes_list.value[0].startswith(b"\x89PNG") for f in found)
    assert {f["slice/maker"].bytes_list.value[0] for f in found} == {b"Acme"}
    assert {f[features.AGE].int64_list.value[0] for f in found} == {74}
    report = (Path(quarantine.uri) / "quarantine.csv").read_text()
    assert {line.split(",")[2] for line in report.splitlines()[1:]} == {"not_frontal", "bad_dicom"}
    written = [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert not [(n, p) for p in written for n in names if n.encode() in p.read_bytes()]
