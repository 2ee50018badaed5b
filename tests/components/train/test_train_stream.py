"""Images that are streamed from Transform's records train as those that are stored."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.images.pixels import to_pixels
from cxrflow.components.train import splits, store
from cxrflow.components.train.index import read_index
from cxrflow.components.train.inputs import evaluation_batches, training_batches
from cxrflow.components.train.source import chosen
from cxrflow.components.train.splits import open_splits
from cxrflow.components.train.stream import stream
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import CompactFormat
from tests.support.tiny_training import CLASSES, recipe, run

pytestmark = [pytest.mark.tf, pytest.mark.usefixtures("tiny_backbone")]

COMPACT = CompactFormat(image_size=64, encoding="jpeg", jpeg_quality=95)


def arguments(tiny) -> SimpleNamespace:
    """Those of TFX's arguments that tell where the images are."""
    files = {f"{s}_files": [f"{tiny.folder}/Split-{s}/*"] for s in ("train", "eval")}
    return SimpleNamespace(**files, custom_config={"classes": CLASSES})


@pytest.fixture
def both(tiny, image_folder):
    """The train split, stored and streamed."""
    index = read_index([f"{tiny.folder}/Split-train/*"], 3)
    return store.read(image_folder / "train"), stream(index, COMPACT, 64)


def room(monkeypatch, free: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_each_record_is_found_at_its_place_in_its_file(tiny):
    index = read_index([f"{tiny.folder}/Split-eval/*"], 3)
    assert len(index) == 24
    assert index.file.tolist() == [0] * 20 + [1] * 4
    assert index.image_id[[0, 23]].tolist() == ["eval_000", "eval_023"]
    assert index.patient_id[[0, 23]].tolist() == ["eval_0", "eval_11"]
    order = np.array([23, 0, 20, 19])
    found = stream(index, COMPACT, 64).read(order)
    assert found.tolist() == [tiny.transformed[i] for i in order]


def test_no_records_are_refused(tmp_path):
    with pytest.raises(CxrflowError, match=r"no transformed examples under .*; run Transform"):
        read_index([f"{tmp_path}/*"], 3)


def test_the_same_batches_in_the_same_order(both):
    plan = recipe(epochs=2)
    stored, streamed = (
        [*training_batches(source, plan, 0, lambda images, seed: images).as_numpy_iterator()]
        for source in both
    )
    assert len(stored) == 8
    for one, other in zip(stored, streamed, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for one, other in zip(
        *(evaluation_batches(source, 24, to_pixels).as_numpy_iterator() for source in both),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_some_images_of_two_sources(both, image_folder):
    rows = np.array([70, 3, 64, 3, 63])
    eval_images = store.read(image_folder / "eval")
    for source in both:
        some = chosen((source, source), rows)
        expected = source.take(rows % 64)
        np.testing.assert_array_equal(some.take([4, 0, 1]), expected[[4, 0, 1]])
        np.testing.assert_array_equal(some.labels, source.labels[rows % 64])
    some = chosen((both[0], eval_images), rows)
    np.testing.assert_array_equal(some.take([0, 2]), eval_images.take([6, 0]))


def test_a_file_that_was_cut_meanwhile_is_named(tiny, tmp_path):
    shutil.copytree(tiny.folder / "Split-train", tmp_path / "data")
    streamed = stream(read_index([f"{tmp_path}/data/*"], 3), COMPACT, 64)
    last = sorted((tmp_path / "data").iterdir())[-1]
    with last.open("r+b") as file:
        file.truncate(last.stat().st_size - 10)
    with pytest.raises(CxrflowError, match=f"{last} has become shorter"):
        streamed.take([63])


def test_too_little_room_is_refused_before_anything_is_written(tiny, tmp_path, monkeypatch):
    room(monkeypatch, free=300_000)
    with pytest.raises(
        CxrflowError,
        match=r"need 0\.4 MB in .*, 0\.3 MB are free: free some, or set train\.input to streamed$",
    ):
        open_splits(arguments(tiny), COMPACT, 64, "stored", tmp_path / "images")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("free", "how"), [(700_000, "streamed"), (800_000, "stored")])
def test_auto_goes_by_what_is_free_and_says_so(tiny, tmp_path, monkeypatch, caplog, free, how):
    room(monkeypatch, free)
    with caplog.at_level("INFO", logger=splits.__name__):
        train, _ = open_splits(arguments(tiny), COMPACT, 64, "auto", tmp_path / "images")
    assert type(train.inputs).__name__.lower() == how
    (said,) = [record.message for record in caplog.records if record.name == splits.__name__]
    assert (
        f"the images are {how}; stored they take 0.4 MB, and {free / 1e6:.1f} MB are free" in said
    )


def test_what_is_stored_already_needs_no_room(tiny, tmp_path, monkeypatch):
    first, _ = open_splits(arguments(tiny), COMPACT, 64, "stored", tmp_path)
    room(monkeypatch, free=0)
    again, _ = open_splits(arguments(tiny), COMPACT, 64, "stored", tmp_path)
    np.testing.assert_array_equal(first.inputs.take([0, 9]), again.inputs.take([0, 9]))


def test_features_need_room_too(tiny, tmp_path, monkeypatch):
    room(monkeypatch, free=100_000)
    settings = {"finetune_from": "conv1", "cached_views": 2, "epochs": 1, "input": "streamed"}
    with pytest.raises(
        CxrflowError,
        match=r"features of the frozen part need .* MB in .*: free some, or lower",
    ):
        run(str(tiny.folder), str(tmp_path), **settings)


@pytest.mark.parametrize("changes", [{"head": "simple", "epochs": 2, "deterministic": True}])
def test_the_model_is_the_same(tiny, tmp_path, changes):
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype(np.float32)
    said = []
    for how in ("stored", "streamed"):
        out = tmp_path / how
        run(str(tiny.folder), str(out), input=how, **changes)
        model = tf.saved_model.load(str(out / "Format-Serving"))
        said.append(model.signatures["network"](image=pixels)["probabilities"].numpy())
    np.testing.assert_allclose(said[0], said[1], atol=1e-6)


def test_a_cross_fitted_model_is_streamed(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "write", lambda *_: pytest.fail("stored"))
    run(str(tiny.folder), str(tmp_path), input="streamed", cross_fit=2, head="simple", epochs=1)
    assert Path(tmp_path / "Format-Serving/saved_model.pb").is_file()
