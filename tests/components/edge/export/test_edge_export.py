"""The whole export as TFX runs it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.portable.out_of_distribution import FILE, read_detector, write_detector

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def candidate(run_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("candidate") / "1"
    return run_export(folder, [True, True], calibration_images=8, golden_images=3)


def test_bundle_holds_what_the_contract_names(candidate, made):
    from cxrflow.components.edge.device import device_files

    folder = Path(candidate.uri)
    info = json.loads((folder / "model.json").read_text())
    assert candidate.get_int_custom_property("exported") == 1
    assert candidate.get_int_custom_property("synthetic") == 1
    assert {path.name for path in folder.iterdir()} == {
        "model_fp32.tflite",
        "model_fp16.tflite",
        "model_dynamic.tflite",
        "model_int8.tflite",
        "frozen_graph.pb",
        "model.onnx.xz",
        "model.json",
        "golden",
        "out_of_distribution.npz",
        *(path.name for path in device_files()),
    }
    source = json.loads((made.model / "Format-Serving/assets.extra/model.json").read_text())
    assert source.pop("format") == 2 and "format" not in info  # it has bundle_format
    assert {key: info[key] for key in source} == source
    assert info["frozen_graph"] == {"input": "image:0", "output": "probabilities:0"}
    assert info["preprocessing"] == {
        "compact_size": 64,
        "encoding": "jpeg",
        "jpeg_quality": 95,
        "image_size": 64,
        **dataclasses.asdict(ImageLimits()),
    }
    assert {key: v["input_dtype"] for key, v in info["variants"].items()} == {
        "litert_fp32": "float32",
        "litert_fp16": "float32",
        "litert_dynamic": "float32",
        "litert_int8": "uint8",
        "frozen_graph": "float32",
        "onnx": "float32",
    }
    assert all((folder / variant["file"]).is_file() for variant in info["variants"].values())


def test_golden_files_are_originals_and_their_answers_the_models(candidate, made):
    import tensorflow as tf

    folder = Path(candidate.uri) / "golden"
    golden = np.load(folder / "golden.npz")
    stored = [(folder / str(name)).read_bytes() for name in golden["names"]]
    assert len(stored) == 3
    assert set(stored) <= set(made.originals.values())
    for name, content in zip(golden["names"], stored, strict=True):
        assert str(name).endswith(".png" if content.startswith(b"\x89PNG") else ".jpg")
    signatures = tf.saved_model.load(str(made.model / "Format-Serving")).signatures
    served = signatures["serving_default"](image_bytes=tf.constant(stored))["probabilities"]
    np.testing.assert_allclose(golden["probabilities"], served, atol=1e-5)
    pixels = np.repeat(golden["pixels"][..., None], 3, axis=-1).astype(np.float32)
    again = signatures["pixels"](image=tf.constant(pixels))["probabilities"]
    np.testing.assert_allclose(golden["probabilities"], again, atol=1e-5)
    detector = read_detector(str(Path(candidate.uri) / FILE))
    np.testing.assert_allclose(golden["out_of_distribution"], detector.scores(golden["pixels"]))
    told = signatures["serving_default"](image_bytes=tf.constant(stored))["out_of_distribution"]
    np.testing.assert_allclose(golden["out_of_distribution"], told, rtol=1e-3)


def test_a_detector_that_isnt_the_graphs_is_refused(made, tmp_path):
    import shutil

    from cxrflow.components.edge.export.bundle import unlike_training
    from cxrflow.components.edge.export.source import Source

    folder = tmp_path / "model"
    shutil.copytree(made.model / "Format-Serving", folder)
    path = str(folder / "assets.extra" / FILE)
    write_detector(path, read_detector(path)._replace(center=np.zeros(4, np.float32)))
    with pytest.raises(CxrflowError, match="train the model anew"):
        unlike_training(
            Source(folder), list(made.originals.values())[:1], np.zeros((1, 64, 64), np.uint8)
        )


@pytest.mark.parametrize("blessed", [[False], [True, False]])
def test_nothing_is_exported_that_a_gate_refused(run_export, tmp_path, blessed):
    candidate = run_export(tmp_path / "none", blessed)
    assert candidate.get_int_custom_property("exported") == 0
    assert list(Path(candidate.uri).iterdir()) == []


def test_an_empty_split_is_one_clear_line(made, tmp_path):
    from cxrflow.components.edge.export.bundle import export_bundle
    from cxrflow.components.edge.export.settings import EdgeConfig

    (tmp_path / "Split-eval").mkdir()
    with pytest.raises(CxrflowError, match="no examples in"):
        export_bundle(
            made.model / "Format-Serving",
            made.transformed / "Split-train",
            tmp_path / "Split-eval",
            EdgeConfig(),
            tmp_path / "bundle",
        )
