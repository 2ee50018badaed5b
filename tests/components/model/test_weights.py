from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from cxrflow.components.model import weights
from cxrflow.components.model.backbones import build_backbone
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.weights import (
    backbone_with_weights,
    weights_fingerprint,
    weights_path,
)
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def quarter(tmp_path_factory, save_legacy_h5) -> tuple[keras.Model, Path]:
    """A MobileNet of alpha .25 and the folder with its weights under Keras's file name."""
    folder = tmp_path_factory.mktemp("weights")
    model = build_backbone("MobileNet", 64, 0.25)
    save_legacy_h5(model, folder / "mobilenet_2_5_224_tf_no_top.h5")
    return model, folder


def test_weights_from_folder_and_file(quarter):
    model, folder = quarter
    for given in (folder, folder / "mobilenet_2_5_224_tf_no_top.h5"):
        # The image size has nothing to do with the weights.
        loaded = backbone_with_weights("MobileNet", 96, 0.25, "imagenet", str(given))
        for have, want in zip(loaded.weights, model.weights, strict=True):
            np.testing.assert_array_equal(have, want)


def test_misfit_names_the_layer(quarter):
    file = str(quarter[1] / "mobilenet_2_5_224_tf_no_top.h5")
    with pytest.raises(CxrflowError, match=r"layer conv1 has .*3, 3, 3, 16.*3, 3, 3, 8") as error:
        backbone_with_weights("MobileNet", 64, 0.5, "imagenet", file)
    assert "\n" not in str(error.value)


def test_a_file_that_ends_early_names_the_layer(quarter, tmp_path, save_legacy_h5):
    model = quarter[0]
    cut = keras.Model(model.inputs, model.get_layer("conv_pw_12").output)
    save_legacy_h5(cut, tmp_path / "cut.h5")
    with pytest.raises(CxrflowError, match=r"layer conv_pw_12_bn .* \(nothing\)"):
        backbone_with_weights("MobileNet", 64, 0.25, "imagenet", str(tmp_path / "cut.h5"))


def test_a_file_that_ends_early_is_enough_for_a_network_cut_before(
    quarter, tmp_path, save_legacy_h5, caplog
):
    model = quarter[0]
    part = keras.Model(model.inputs, model.get_layer("conv_pw_12").output)
    save_legacy_h5(part, tmp_path / "part.h5")
    file = str(tmp_path / "part.h5")

    def cut(layer: str) -> keras.Model:
        return backbone_with_weights("MobileNet", 64, 0.25, "imagenet", file, cut_at=layer)

    loaded = cut("conv_pw_11_relu")

    assert loaded.layers[-1].name == "conv_pw_11_relu"
    for have, want in zip(loaded.weights, model.weights, strict=False):
        np.testing.assert_array_equal(have, want)
    assert "cut at conv_pw_11_relu" in caplog.text
    with pytest.raises(CxrflowError, match=r"layer conv_pw_12_bn .*\(nothing\).*train\.cut_at"):
        cut("conv_pw_12_relu")


@pytest.mark.parametrize(
    ("cut_at", "said"),
    [
        ("conv_pw_99", r"train\.cut_at: MobileNet has no layer 'conv_pw_99'.*conv_pw_"),
        ("", r"up to layer conv_pw_6_relu only: set train\.cut_at"),
        ("conv_pw_7_relu", r"up to layer conv_pw_6_relu only: set train\.cut_at"),
    ],
)
def test_a_cut_beyond_the_file_is_refused(quarter, tmp_path, cut_at, said):
    model = quarter[0]
    file = tmp_path / "mobilenet_2_5_cut_conv_pw_6_relu.weights.h5"
    part = keras.Model(model.inputs, model.get_layer("conv_pw_6_relu").output)
    part.save_weights(file)
    # Of a folder, too: the name says whose it is.
    loaded = backbone_with_weights(
        "MobileNet", 96, 0.25, "imagenet", str(tmp_path), cut_at="conv_pw_3_relu"
    )
    for have, want in zip(loaded.weights, model.weights, strict=False):
        np.testing.assert_array_equal(have, want)
    with pytest.raises(CxrflowError, match=said) as error:
        backbone_with_weights("MobileNet", 64, 0.25, "imagenet", str(file), cut_at=cut_at)
    assert "\n" not in str(error.value)
    with pytest.raises(CxrflowError, match="does not fit the layers of MobileNet up to"):
        backbone_with_weights("MobileNet", 64, 0.5, "imagenet", str(file), cut_at="conv_pw_3_relu")


@pytest.mark.parametrize(
    ("name", "alpha", "file"),
    [
        ("MobileNet", 1.0, "mobilenet_1_0_224_tf_cut_conv_pw_6_relu.weights.h5"),
        ("MobileNet", 0.75, "mobilenet_7_5_cut_conv_pw_6_relu.weights.h5"),
        ("MobileNet", 0.5, None),
        ("MobileNetV2", 1.0, "mobilenet_v2_1.0_224_cut_block_3_add.weights.h5"),
        ("MobileNetV2", 0.5, None),
        ("ResNet50V2", 1.0, "resnet50v2_224_tf_cut_conv4_block1_out.weights.h5"),
        ("ResNet50", 1.0, None),
    ],
)
def test_a_cut_file_is_of_one_backbone_and_width(name, alpha, file, tmp_path):
    for there in (
        *("mobilenet_1_0_224_tf_cut_conv_pw_6_relu", "mobilenet_7_5_cut_conv_pw_6_relu"),
        *("mobilenet_v2_1.0_224_cut_block_3_add", "resnet50v2_224_tf_cut_conv4_block1_out"),
    ):
        (tmp_path / f"{there}.weights.h5").touch()
    if file is None:
        with pytest.raises(CxrflowError, match=r"h5 is missing; give the folder"):
            weights_path(name, alpha, str(tmp_path))
    else:
        assert weights_path(name, alpha, str(tmp_path)).name == file


@pytest.mark.parametrize(
    ("alpha", "weights_dir", "said"),
    [
        (1.0, "EMPTY", "mobilenet_1_0_224_tf_no_top.h5 is missing"),
        (0.3, "EMPTY", r"train\.alpha.*0\.3"),
        (0.25, "TEXT", "no h5 weights file"),
    ],
)
def test_unusable_weights(alpha, weights_dir, said, tmp_path):
    (tmp_path / "text.h5").write_text("no weights")
    given = tmp_path / "text.h5" if weights_dir == "TEXT" else tmp_path
    with pytest.raises(CxrflowError, match=said):
        backbone_with_weights("MobileNet", 64, alpha, "imagenet", str(given))


def test_failed_download_is_one_clear_line(monkeypatch):
    def no_network(*args, **kwargs):
        raise Exception("URL fetch failure on https://x: None -- [Errno -2]")

    monkeypatch.setattr(weights, "build_backbone", no_network)
    with pytest.raises(CxrflowError, match=r"--set train\.weights_dir=") as error:
        backbone_with_weights("MobileNet", 64, 1.0, "imagenet", "")
    assert "\n" not in str(error.value)


def test_names_in_numbered_parts_and_a_whole_models_file(quarter, tmp_path):
    """Keras splits attributes above 64 KB, and puts a whole model's weights into a group."""
    model, folder = quarter
    file = tmp_path / "parts.h5"
    with (
        h5py.File(folder / "mobilenet_2_5_224_tf_no_top.h5") as plain,
        h5py.File(file, "w") as parts,
    ):
        group = parts.create_group("model_weights")
        for layer in plain:
            plain.copy(layer, group)
        names = plain.attrs["layer_names"]
        group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:40], names[40:]
    loaded = backbone_with_weights("MobileNet", 64, 0.25, "imagenet", str(file))
    np.testing.assert_array_equal(loaded.weights[-1], model.weights[-1])


def test_fingerprint_follows_the_files(quarter, tmp_path):
    def fingerprint(**changes: object) -> str:
        return weights_fingerprint(TrainConfig(**{"alpha": 0.25, **changes}))

    file = tmp_path / "mobilenet_2_5_224_tf_no_top.h5"
    missing = fingerprint(weights_dir=str(tmp_path))
    file.write_bytes(b"one")
    first = fingerprint(weights_dir=str(tmp_path))
    assert first == fingerprint(weights_dir=str(file))
    file.write_bytes(b"three")
    nothing = fingerprint()
    assert len({missing, first, fingerprint(weights_dir=str(tmp_path)), nothing}) == 4
    assert nothing == fingerprint(weights="none", weights_dir=str(tmp_path))


@pytest.mark.parametrize(("alpha", "parameters"), [(1.0, 3_228_864), (0.75, 1_832_976)])
def test_real_imagenet_weights(shared_dir, alpha, parameters):
    model = backbone_with_weights("MobileNet", 224, alpha, "imagenet", str(shared_dir / "weights"))
    assert model.count_params() == parameters
    # ImageNet's first batch norm has seen data; a new one has variance 1 everywhere.
    assert np.ptp(model.get_layer("conv1_bn").moving_variance.numpy()) > 0.1


@pytest.mark.parametrize(
    ("name", "cut_at"),
    [("ResNet50V2", "conv4_block3_preact_relu"), ("EfficientNetLite0", ""), ("MobileNetV2", "")],
)
def test_the_other_families_weights_know_an_edge(shared_dir, name, cut_at):
    """A photograph-like image's features are varied, finite and not those of random weights."""
    model = backbone_with_weights(
        name, 96, 1.0, "imagenet", str(shared_dir / "weights"), cut_at=cut_at
    )
    pixels = np.zeros((1, 96, 96, 3), np.float32)
    pixels[:, :, 48:] = 255
    features = model(pixels).numpy()
    assert np.isfinite(features).all()
    assert features.std() > 0.05
