"""A model whose map is known, scored on raw examples and a list of boxes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrflow.components.localise.settings import LocaliseConfig
from cxrflow.schema import features
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import ModelJson, write_model_json

pytestmark = pytest.mark.tf

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
LIST = (
    "a.png,Mass,0,0,256,256,,,\n"  # in the corner where the map is highest
    "a.png,Hernia,0,0,256,256,,,\n"  # no class of the model
    "b.png,Mass,768,768,256,256,,,\n"  # where it isn't
    "b.png,Mass,1000,1000,100,100,,,\n"  # out of the image
    "c.png,Mass,0,0,256,256,,,\n"  # of another split
)
CONFIG = LocaliseConfig(grid=64, random_boxes=10, draws=50)


def write_model(folder: Path, per_class: bool) -> Path:
    """Its map is highest in the first cell of four by four, for Mass; in the last for Nodule."""
    import tensorflow as tf

    class Known(tf.Module):
        def __init__(self):
            super().__init__()
            self.cells = tf.Variable(np.linspace(0.9, 0.1, 16, dtype=np.float32).reshape(4, 4))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def attention(self, image_bytes):
            n = tf.shape(image_bytes)[0]
            one = tf.tile(self.cells[None], [n, 1, 1])
            maps = tf.stack([one, one[:, ::-1, ::-1]], axis=-1) if per_class else one
            return {"attention": maps, "probabilities": tf.tile([[0.8, 0.3]], [n, 1])}

    model = Known()
    tf.saved_model.save(model, str(folder), signatures={"attention": model.attention})
    write_model_json(folder, ModelJson(("Mass", "Nodule"), name="known", synthetic=True))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "per_class", per_class=True)


@pytest.fixture
def records(tmp_path) -> Path:
    """Two X-rays, smaller than the originals that the list is of."""
    import tensorflow as tf

    from cxrflow.components.ingest.executor import raw_example
    from cxrflow.schema.portable.image_rules import Header

    folder = tmp_path / "Split-test"
    folder.mkdir()
    png = cv2.imencode(".png", np.full((96, 96), 90, np.uint8))[1].tobytes()
    with tf.io.TFRecordWriter(str(folder / "data")) as writer:
        for image, patient in (("a.png", "1"), ("b.png", "2"), ("plain.png", "3")):
            row = {
                "image_id": image,
                "patient_id": patient,
                "age": 50,
                "sex": "M",
                "view": "PA",
                "follow_up": 0,
                "findings": [],
            }
            example = raw_example(row, Header("png", 96, 96))
            example.features.feature[features.IMAGE].bytes_list.value.append(png)
            writer.write(example.SerializeToString())
    return folder


@pytest.fixture
def boxes(tmp_path) -> Path:
    path = tmp_path / "BBox_List_2017.csv"
    path.write_text(HEADER + LIST)
    return path


def test_what_is_scored_and_what_is_left_out(model, boxes, records):
    from cxrflow.components.localise.run import localise

    found = localise(model, boxes, records, CONFIG)
    assert (found.model, found.synthetic, found.map, found.cells) == (
        "known",
        True,
        "class",
        (4, 4),
    )
    (mass,) = found.classes
    assert (mass.name, mass.images, mass.patients, mass.boxes) == ("Mass", 2, 2, 2)
    assert mass.pointing.model.value == 0.5  # right on a.png, wrong on b.png
    assert mass.likeness is not None and abs(mass.likeness) < 0.9  # shuffled, another map
    assert [(one.boxes, one.reason, one.images) for one in found.left_out] == [
        (1, "the box lies outside its image", ("b.png",)),
        (1, "the model has no class Hernia", ("a.png",)),
        (1, "the image isn't in the split test", ("c.png",)),
    ]
    assert found == localise(model, boxes, records, CONFIG)  # nothing is left to chance


def test_one_map_for_all_classes(boxes, records, tmp_path):
    from cxrflow.components.localise.run import localise

    found = localise(write_model(tmp_path / "shared", per_class=False), boxes, records, CONFIG)
    assert found.map == "shared"
    assert found.of("Mass").pointing.model.value == 0.5


def test_no_boxed_image_in_the_split_is_said(model, boxes, records):
    from cxrflow.components.localise.run import localise

    boxes.write_text(HEADER + "c.png,Mass,0,0,256,256,,,\n")
    found = localise(model, boxes, records, CONFIG)
    assert found.classes == ()
    assert found.left_out[0].reason == "the image isn't in the split test"


def test_a_model_without_maps_is_named(boxes, records, tmp_path):
    import tensorflow as tf

    from cxrflow.components.localise.run import localise

    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    write_model_json(tmp_path / "none", ModelJson(("Mass",)))
    with pytest.raises(CxrflowError, match="no attention signature"):
        localise(tmp_path / "none", boxes, records, CONFIG)
