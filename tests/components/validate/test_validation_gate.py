"""The validation gate: plain words for each kind of anomaly, and distances between splits."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv

from cxrflow.components.node import to_json
from cxrflow.components.validate import gate
from cxrflow.components.validate.settings import ValidateConfig, ValidationGateSettings
from cxrflow.schema import features
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf

SCHEMA_FILE = Path(__file__).parents[3] / "schema" / "schema.pbtxt"
SCHEMA = tfdv.load_schema_text(str(SCHEMA_FILE))

GOOD = {
    features.IMAGE_ID: "a.png",
    features.PATIENT_ID: "1",
    features.AGE: 50,
    features.SEX: "F",
    features.VIEW: "PA",
    features.FOLLOW_UP: 0,
    features.FINDINGS: ("Mass",),
    features.HEIGHT: 1024,
    features.WIDTH: 1024,
}


def _statistics(rows: list[dict[str, Any]]) -> gate.Statistics:
    """What StatisticsGen computes of rows; a value is a number, a text or a tuple of texts."""
    from tensorflow_data_validation.statistics import stats_impl

    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        lists = [v if v is None or isinstance(v, tuple) else (v,) for v in values]
        number = any(isinstance(v, int) for v in values)
        kind = pa.int64() if number else pa.large_binary()
        lists = [v if v is None or number else [text.encode() for text in v] for v in lists]
        columns[name] = pa.array(lists, pa.large_list(kind))
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())


def _words(rows: list[dict[str, Any]]) -> list[str]:
    anomalies = tfdv.validate_statistics(_statistics(rows), SCHEMA)
    return gate.anomalies_in_words("eval", anomalies)


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize("findings", [(), ("Mass", "Hernia")])
def test_good_records_give_no_problem(findings: tuple[str, ...]) -> None:
    assert _words([GOOD, GOOD | {features.FINDINGS: findings}]) == []


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (GOOD | {features.AGE: 412}, "eval: patient/age has values above its range (.*412"),
        (GOOD | {features.AGE: -1}, "eval: patient/age has values below its range (.*-1"),
        (GOOD | {features.SEX: "X"}, "eval: patient/sex has values that are not in its list (.*X"),
        (GOOD | {features.VIEW: "LL"}, "eval: view has values that are not in its list (.*LL"),
        (
            GOOD | {features.FINDINGS: ("Pox",)},
            "eval: findings has values that are not in its list (.*Pox",
        ),
        (GOOD | {features.FOLLOW_UP: 2000}, "eval: follow_up has values above its range (.*2000"),
        (GOOD | {features.HEIGHT: 0}, "eval: image/height has values below its range (.*0"),
        (GOOD | {features.FOLLOW_UP: -2}, "eval: follow_up has values below its range (.*-2"),
        (_without(features.AGE), "eval: patient/age is missing in some images (.*actual = 0.5"),
        (
            GOOD | {features.FINDINGS: ("Mass",) * 15},
            "eval: findings has too many values in some images (",
        ),
        (
            GOOD | {features.SEX: ("F", "M")},
            "eval: patient/sex has not exactly one value in every image (",
        ),
        (GOOD | {"weight": 70}, "eval: weight is not in the schema ("),
    ],
)
def test_each_anomaly_in_plain_words(bad: dict[str, Any], line: str) -> None:
    (found,) = _words([GOOD, bad])
    start, _, inside = line.partition(".*")
    assert found.startswith(start)
    assert inside in found


def test_missing_column() -> None:
    (found,) = _words([_without(features.VIEW)] * 2)
    assert found.startswith("eval: view is missing (")


def test_another_type() -> None:
    (found,) = _words([GOOD | {features.AGE: "50"}] * 2)
    assert found.startswith("eval: patient/age has another type than the schema says (")


def _split(men: int, women: int) -> gate.Statistics:
    return _statistics([GOOD | {features.SEX: "M"}] * men + [GOOD] * women)


def test_distance_is_the_largest_difference_of_shares() -> None:
    statistics = {"train": _split(50, 50), "eval": _split(80, 20)}
    found = {d.feature: d for d in gate.distances(statistics, SCHEMA, {"eval": 0.1})}
    assert set(found) == set(gate.COMPARED)
    assert found[features.SEX].value == pytest.approx(0.3)
    assert found[features.SEX].limit == pytest.approx(0.4)  # 0.1 + 3 / sqrt(100)
    assert not found[features.SEX].too_far
    assert found[features.VIEW].value == found[features.AGE].value == 0


def test_too_far_in_plain_words() -> None:
    statistics = {"train": _split(500, 500), "test": _split(900, 0)}
    (sex,) = [d for d in gate.distances(statistics, SCHEMA, {"test": 0.3}) if d.too_far]
    assert sex == gate.Distance("test", features.SEX, 0.5, pytest.approx(0.4), 900, sex.furthest)
    assert sex.furthest in ("F", "M")
    words = gate.distance_in_words(sex, "validate.max_test_distance")
    assert "test: patient/sex" in words
    assert "distance 0.500; 0.400 is allowed for 900 images, of which 0.100 for chance" in words
    assert words.endswith("validate.max_test_distance")


def test_ages_are_compared() -> None:
    young, old = ([GOOD | {features.AGE: age + i % 10} for i in range(400)] for age in (20, 70))
    statistics = {"train": _statistics(young), "eval": _statistics(old)}
    (age,) = [d for d in gate.distances(statistics, SCHEMA, {"eval": 0.1}) if d.too_far]
    assert age.feature == features.AGE
    assert age.value == pytest.approx(1, abs=0.05)  # no age in common


def _run(
    root: Path,
    splits: dict[str, list[dict[str, Any]]],
    limits: dict[str, float],
    cross_fit: tuple[int | str, ...] = (0,),
) -> Path:
    """Runs the executor on statistics and anomalies that lie as TFX's nodes write them."""
    from tfx.types import standard_artifacts

    from cxrflow.components.artifacts import ValidationReport
    from cxrflow.components.validate.executor import Executor

    def artifact(kind: type, name: str) -> Any:
        made = kind()
        made.uri = str(root / name)
        return made

    statistics = artifact(standard_artifacts.ExampleStatistics, "statistics")
    anomalies = artifact(standard_artifacts.ExampleAnomalies, "anomalies")
    records = artifact(standard_artifacts.Examples, "records")
    for one in (statistics, anomalies, records):
        one.split_names = json.dumps(list(splits))
    for split, rows in splits.items():
        found = _statistics(rows)
        for name, file, proto in (
            ("statistics", "FeatureStats.pb", found),
            ("anomalies", "SchemaDiff.pb", tfdv.validate_statistics(found, SCHEMA)),
        ):
            folder = root / name / f"Split-{split}"
            folder.mkdir(parents=True)
            (folder / file).write_bytes(proto.SerializeToString())
        _write(root / "records" / f"Split-{split}", rows)
    schema = artifact(standard_artifacts.Schema, "schema")
    (root / "schema").mkdir()
    (root / "schema" / "schema.pbtxt").write_text(SCHEMA_FILE.read_text())
    settings = ValidationGateSettings(
        limits=ValidateConfig(**{"max_eval_distance": 0.0, "max_test_distance": 0.0} | limits),
        synthetic=True,
        classes=("Mass", "Nodule", "Hernia"),
        cross_fit=cross_fit,
    )
    Executor().Do(
        {
            "statistics": [statistics],
            "schema": [schema],
            "anomalies": [anomalies],
            "records": [records],
        },
        {"report": [artifact(ValidationReport, "report")]},
        {"settings": to_json(settings)},
    )
    return root / "report" / "report.json"


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as ImageExampleGen writes its records, as far as patients and findings go."""
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data")) as file:
        for row in rows:
            example = tf.train.Example()
            for name in (features.PATIENT_ID, features.FINDINGS):
                texts = row[name] if isinstance(row[name], tuple) else (row[name],)
                example.features.feature[name].bytes_list.value.extend(t.encode() for t in texts)
            file.write(example.SerializeToString())


def test_good_data_passes_with_a_report(tmp_path: Path) -> None:
    splits = {"train": [GOOD] * 9, "eval": [GOOD] * 4, "test": [GOOD] * 5}
    report = json.loads(_run(tmp_path, splits, {}).read_text())
    assert report["images"] == {"train": 9, "eval": 4, "test": 5}
    assert report["synthetic"] is True
    assert len(report["distances"]) == 2 * len(gate.COMPARED)


def test_anomalies_stop_the_run(tmp_path: Path) -> None:
    bad = [GOOD, GOOD | {features.AGE: 412, features.SEX: "X"}]
    with pytest.raises(CxrflowError) as stopped:
        _run(tmp_path, {"train": [GOOD] * 2, "eval": bad, "test": [GOOD] * 2}, {})
    text = str(stopped.value)
    assert "\n  eval: patient/age has values above its range" in text
    assert "\n  eval: patient/sex has values that are not in its list" in text
    assert "schema/schema.pbtxt" in text
    assert not (tmp_path / "report").exists()


def test_a_distant_split_stops_the_run_unless_allowed(tmp_path: Path) -> None:
    men = [GOOD | {features.SEX: "M"}] * 100
    splits = {"train": [GOOD] * 100, "eval": [GOOD] * 100, "test": men}
    with pytest.raises(CxrflowError, match=r"test: patient/sex.*max_test_distance"):
        _run(tmp_path / "strict", splits, {"max_test_distance": 0.6})
    assert _run(tmp_path / "lenient", splits, {"max_test_distance": 0.7}).is_file()


def _patients(start: int, *findings: tuple[str, ...]) -> list[dict[str, Any]]:
    """An image each of patients that are numbered from `start`."""
    return [
        GOOD | {features.PATIENT_ID: str(start + i), features.FINDINGS: names}
        for i, names in enumerate(findings)
    ]


# Patients with a Mass: 1, 2 and 3, one of them seen twice; with a Nodule: 2 and 4; no Hernia.
FEW = {
    "train": [*_patients(1, ("Mass",), ("Mass", "Nodule")), *_patients(1, ("Mass",))],
    "eval": _patients(3, ("Mass",), ("Nodule",)),
    "test": _patients(5, ("Nodule",), ("Nodule",), ("Hernia",)),
}


def test_more_folds_than_patients_with_a_class_stop_the_run(tmp_path: Path) -> None:
    anything = {"max_eval_distance": 1.0, "max_test_distance": 1.0}
    assert _run(tmp_path / "two", FEW, anything, cross_fit=(0, 2)).is_file()
    for cross_fit, said in (
        ((3, 0), "train.cross_fit 3: every class needs cases of at least 3 patients .*: Nodule 2;"),
        (("auto",), "train.cross_fit 5: .* there are: Mass 3, Nodule 2; lower cross_fit or leave"),
    ):
        with pytest.raises(CxrflowError, match=said) as stopped:
            _run(tmp_path / str(cross_fit[0]), FEW, anything, cross_fit)
        assert "\n" not in str(stopped.value)
