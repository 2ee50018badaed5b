from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from components.train import weights
from components.train.backbones import build_backbone, find_backbone
from components.train.weights import backbone_with_weights
from schema.errors import CxrflowError

pytestmark = pytest.mark.tf


def save_legacy_h5(model: keras.Model, path: Path) -> None:
    """The format of keras.applications' files, which Keras 3 reads but no longer writes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight.numpy()


@pytest.fixture(scope="module")
def quarter(tmp_path_factory) -> tuple[keras.Model, Path]:
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


def test_a_file_that_ends_early_names_the_layer(quarter, tmp_path):
    model = quarter[0]
    cut = keras.Model(model.inputs, model.get_layer("conv_pw_12").output)
    save_legacy_h5(cut, tmp_path / "cut.h5")
    with pytest.raises(CxrflowError, match=r"layer conv_pw_12_bn .* \(nothing\)"):
        backbone_with_weights("MobileNet", 64, 0.25, "imagenet", str(tmp_path / "cut.h5"))


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


def test_real_imagenet_weights(shared_dir):
    model = backbone_with_weights("MobileNet", 224, 1.0, "imagenet", str(shared_dir / "weights"))
    assert model.count_params() == 3_228_864
    # ImageNet's first batch norm has seen data; a new one has variance 1 everywhere.
    assert np.ptp(model.get_layer("conv1_bn").moving_variance.numpy()) > 0.1


def test_unknown_backbone_is_named():
    with pytest.raises(CxrflowError, match=r"train\.backbone.*'ResNet1'.*MobileNet"):
        find_backbone("ResNet1")
