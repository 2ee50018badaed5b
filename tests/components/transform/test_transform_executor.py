"""The Transform executor on a handful of real files."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cxrflow.schema import features
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf

SCHEMA = Path(__file__).parents[3] / "schema" / "schema.pbtxt"
CLASSES = ["Effusion", "Mass"]
TRAIN = [["Mass"], [], ["Mass", "Effusion"], ["Hernia"], ["Mass"]]  # 3/5 Mass, 1/5 Effusion
EVAL = [["Effusion"]]  # must not count
SIZE = 32


def _pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)


def _example(seed: int, findings: list[str], with_image: bool) -> bytes:
    example = tf.train.Example()
    feature = example.features.feature
    values: dict[str, Any] = {
        features.IMAGE_ID: [f"{seed}.png"],
        features.PATIENT_ID: [str(seed)],
        features.SEX: ["F"],
        features.VIEW: ["PA"],
        features.FINDINGS: findings,
    }
    for name, texts in values.items():
        feature[name].bytes_list.value.extend(text.encode() for text in texts)
    for name, number in {
        features.AGE: 20 + seed,
        features.FOLLOW_UP: 0,
        features.HEIGHT: 64,
        features.WIDTH: 64,
    }.items():
        feature[name].int64_list.value.append(number)
    if with_image:
        buffer = io.BytesIO()
        Image.fromarray(_pixels(seed)).save(buffer, "PNG")
        feature[features.IMAGE].bytes_list.value.append(buffer.getvalue())
    return example.SerializeToString()


def _write(folder: Path, with_image: bool) -> None:
    shards = {
        "Split-train/a-00000-of-00002": list(enumerate(TRAIN))[:3],
        "Split-train/a-00001-of-00002": list(enumerate(TRAIN))[3:],
        "Split-eval/a-00000-of-00001": [(9, EVAL[0])],
    }
    for name, rows in shards.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for seed, findings in rows:
                writer.write(_example(seed, findings, with_image))


COMPACT = {"image_size": SIZE, "encoding": "raw", "jpeg_quality": 95}
SETTINGS = {"classes": CLASSES, "compact": COMPACT}
SPLITS = ["train", "eval"]


def _inputs(root: Path) -> None:
    _write(root / "raw", with_image=True)
    _write(root / "records", with_image=False)
    (root / "schema").mkdir()
    (root / "schema" / "schema.pbtxt").write_text(SCHEMA.read_text())


@pytest.fixture(scope="module")
def transformed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of one run: folders `graph/8` and `examples/8`."""
    from tests.support import data_steps

    root = tmp_path_factory.mktemp("transform")
    _inputs(root)
    examples = data_steps.transform(root, SETTINGS, SPLITS)
    assert examples.split_names == '["train", "eval"]'
    assert examples.get_int_custom_property("synthetic") == 1
    return root / "Transform"


@pytest.fixture
def analysed(transformed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The analysis gives what it gave for `transformed`: the same, and slow."""
    from cxrflow.components.transform.executor import Executor

    def copy(self: Any, records: str, schema: str, config: dict, graph_dir: str) -> None:
        shutil.copytree(transformed / "graph" / "8", graph_dir, dirs_exist_ok=True)

    monkeypatch.setattr(Executor, "_analyze", copy)


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    """The transformed examples of a split by image id, read as plain TFRecords."""
    spec = {
        features.T_IMAGE: tf.io.FixedLenFeature([], tf.string),
        features.T_LABELS: tf.io.FixedLenFeature([len(CLASSES)], tf.float32),
        features.AGE: tf.io.FixedLenFeature([], tf.int64),
    } | {
        name: tf.io.FixedLenFeature([], tf.string)
        for name in (
            features.AGE_BAND,
            features.SPLIT,
            features.IMAGE_ID,
            features.PATIENT_ID,
            features.SEX,
            features.VIEW,
        )
    }
    dataset = tf.data.TFRecordDataset([str(path) for path in sorted(folder.glob("*"))])
    parsed = dataset.map(lambda one: tf.io.parse_single_example(one, spec)).as_numpy_iterator()
    return {example[features.IMAGE_ID].decode(): example for example in parsed}


def test_every_example_is_transformed(transformed: Path) -> None:
    from cxrflow.components.images.decoding import decode_compact

    train = _read(transformed / "examples" / "8" / "Split-train")
    assert sorted(train) == [f"{seed}.png" for seed in range(5)]
    for seed in range(5):
        compact = train[f"{seed}.png"][features.T_IMAGE]
        image = decode_compact(tf.constant(compact), "raw", SIZE, channels=1).numpy()
        mean = _pixels(seed).reshape(SIZE, 2, SIZE, 2).mean((1, 3))
        np.testing.assert_array_equal(image[..., 0], np.floor(mean + 0.5))
    labels = [train[f"{seed}.png"][features.T_LABELS].tolist() for seed in range(5)]
    assert labels == [[0, 1], [0, 0], [1, 1], [0, 0], [0, 1]]


def test_slice_features_pass_through(transformed: Path) -> None:
    (example,) = _read(transformed / "examples" / "8" / "Split-eval").values()
    assert example[features.AGE] == 29
    assert example[features.AGE_BAND] == b"20-39"
    assert example[features.PATIENT_ID] == b"9"
    assert (example[features.SEX], example[features.VIEW]) == (b"F", b"PA")


def test_every_example_names_its_split(transformed: Path) -> None:
    for split, count in (("train", 5), ("eval", 1)):
        examples = _read(transformed / "examples" / "8" / f"Split-{split}").values()
        assert [example[features.SPLIT] for example in examples] == [split.encode()] * count


def test_prevalence_is_that_of_the_training_split(transformed: Path) -> None:
    import tensorflow_transform as tft

    from cxrflow.components.transform.preprocessing import label_counts, prevalence

    output = tft.TFTransformOutput(str(transformed / "graph" / "8"))
    assert label_counts(output) == {"EXAMPLES": 5, "Mass": 3, "Effusion": 1}
    np.testing.assert_allclose(prevalence(output, [*CLASSES, "Edema"]), [0.2, 0.6, 0.0])


def test_nothing_unfinished_is_left(transformed: Path) -> None:
    left = {path.name for path in (transformed / "examples" / "8").iterdir()}
    assert left == {"Split-train", "Split-eval"}
    shards = [
        path.name for path in sorted((transformed / "examples" / "8" / "Split-train").iterdir())
    ]
    assert shards == [f"transformed_examples-{i:05d}-of-00002" for i in range(2)]
    assert not (transformed / "graph" / "8" / ".temporary").exists()


@pytest.mark.usefixtures("analysed")
def test_a_transform_that_was_stopped_goes_on_from_its_last_whole_shard(
    transformed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrflow.components.transform import executor
    from tests.support import data_steps

    def stop_at_five(done: int, total: int) -> None:
        if done == 5:
            raise RuntimeError("stopped")

    _inputs(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(executor, "_BATCH", 1)
        patch.setattr(executor.progress, "report", stop_at_five)
        data_steps.transform(tmp_path, SETTINGS, SPLITS, execution=5)
    examples = tmp_path / "Transform" / "examples"
    (work,) = (examples / "unfinished").iterdir()
    (whole,) = work.glob("examples/*/*")  # of three, since the second one was begun
    inode, place = whole.stat().st_ino, whole.relative_to(work / "examples")
    (work / "attempts" / "killed").mkdir()  # what kill -9 leaves
    shutil.rmtree(examples / "5")  # as leftovers.clear does
    data_steps.transform(tmp_path, SETTINGS, SPLITS)

    assert [path.name for path in examples.iterdir()] == ["8"]
    for split in SPLITS:
        found = _read(examples / "8" / f"Split-{split}")
        expected = _read(transformed / "examples" / "8" / f"Split-{split}")
        assert list(found) == list(expected)
        for image, example in found.items():
            np.testing.assert_equal(example, expected[image])
    assert (examples / "8" / place).stat().st_ino == inode


def test_images_are_those_of_the_transform_graph(tmp_path: Path) -> None:
    """Transform makes them beside TFT's graph, with its own decoder."""
    import tensorflow_transform as tft

    from tests.support import data_steps

    _inputs(tmp_path)
    jpeg = {"image_size": SIZE, "encoding": "jpeg", "jpeg_quality": 80}
    data_steps.transform(tmp_path, SETTINGS | {"compact": jpeg}, SPLITS)
    output = tft.TFTransformOutput(str(tmp_path / "Transform" / "graph" / "8"))
    raw = tf.io.parse_example([_example(9, EVAL[0], True)], output.raw_feature_spec())
    expected = output.transform_raw_features(raw)[features.T_IMAGE].numpy()
    (found,) = _read(tmp_path / "Transform" / "examples" / "8" / "Split-eval").values()
    assert found[features.T_IMAGE] == expected[0]


@pytest.mark.usefixtures("analysed")
@pytest.mark.parametrize("cores", [2, 3])
def test_both_decoders_give_the_same(
    transformed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """Python's lock makes quick_png the slower one where a process has more than two cores."""
    from cxrflow.components.images import quick_png
    from cxrflow.components.transform import executor
    from tests.support import data_steps

    quick, asked = quick_png.decode, []

    def counted(encoded: tf.Tensor) -> tf.Tensor:
        asked.append(encoded)
        return quick(encoded)

    _inputs(tmp_path)
    monkeypatch.setattr(executor, "_cores", lambda: cores)
    monkeypatch.setattr(quick_png, "decode", counted)
    data_steps.transform(tmp_path, SETTINGS, SPLITS)
    assert bool(asked) == (cores == 2)
    for split in SPLITS:
        found = _read(tmp_path / "Transform" / "examples" / "8" / f"Split-{split}")
        expected = _read(transformed / "examples" / "8" / f"Split-{split}")
        np.testing.assert_equal(found, expected)


def test_a_disk_without_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrflow.schema import space
    from tests.support import data_steps

    _inputs(tmp_path)
    needed = 6 * SIZE**2  # a byte a pixel, as they are raw
    monkeypatch.setattr(space, "free_bytes", lambda folder: needed - 1)
    with pytest.raises(CxrflowError, match=rf"^the compact images need {space.readable(needed)} "):
        data_steps.transform(tmp_path, SETTINGS, SPLITS)
    assert not [path for path in (tmp_path / "Transform").rglob("*") if path.is_file()]


def test_analysis_reads_no_pixels() -> None:
    import functools

    import tensorflow_transform as tft

    from cxrflow.components.transform.preprocessing import preprocessing_fn

    strings = (
        features.IMAGE_ID,
        features.PATIENT_ID,
        features.SEX,
        features.VIEW,
        features.IMAGE,
    )
    specs = {name: tf.TensorSpec([None], tf.string) for name in strings}
    specs[features.AGE] = tf.TensorSpec([None], tf.int64)
    specs[features.FINDINGS] = tf.SparseTensorSpec([None, None], tf.string)
    config = {"classes": CLASSES, "image_size": SIZE, "encoding": "jpeg", "jpeg_quality": 95}
    function = functools.partial(preprocessing_fn, custom_config=config)
    assert tft.get_analyze_input_columns(function, specs) == [features.FINDINGS]
