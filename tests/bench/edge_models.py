"""The edge bundle's variants: speed against each other, size, and what int8 keeps of the AUC.

Speed and size: networks with random weights, which take as long as trained ones. AUC: a network
with ImageNet's weights and a head fitted to nih_mini's training images, on its test patients, whom
neither the fit nor int8's calibration has seen.
"""

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.figure import SHARED, figure, measure, skipped

TURNS = 9
CLASSES = 13
SIZES = {"MobileNet": 512, "MobileNetV2": 512, "InceptionV3": 512}
NOISE = 12  # calibration images where only speed counts
MINI_SIZE = 224


def main() -> Iterator[dict[str, Any]]:
    """Yields the ratios of latency, the bundle's size and the loss of AUC."""
    found = json.loads(_part("speed"))
    ratio = found["MobileNet"]["fp32"] / found["MobileNet"]["saved_model"]
    yield figure(
        "LiteRT float32's latency against the SavedModel's, MobileNet @512, 1 thread",
        ratio,
        "<= 1.0",
        ratio <= 1.0,
        cpu_ms=found["MobileNet"],
    )
    for name, kind, goal in (
        ("MobileNet", "int8", 1.8),
        ("MobileNetV2", "int8", 1.4),
        ("InceptionV3", "dynamic", 4.0),
    ):
        ratio = found[name]["fp32"] / found[name][kind]
        yield figure(
            f"LiteRT {kind} is so many times as fast as float32, {name} @512, 1 thread",
            ratio,
            f">= {goal}",
            ratio >= goal,
            cpu_ms=found[name],
        )
    if not SHARED.is_dir():
        yield skipped("size of a bundle, and int8's AUC", f"no real X-rays in {SHARED}")
        return
    found = json.loads(_part("size"))
    yield figure("MB of a bundle, MobileNet @512", found["mb"], "<= 45", found["mb"] <= 45, **found)
    found = json.loads(_part("auc"))
    loss = found["float32"] - found["int8"]
    yield figure(
        "mean AUC that int8 loses on nih_mini's held-out patients", loss, "<= 0.01", loss <= 0.01,
        **found,
    )  # fmt: skip


def _part(name: str) -> str:
    return measure("-m", "tests.bench.edge_models", name).output.splitlines()[-1]


def _speed() -> dict[str, dict[str, float]]:
    """Milliseconds of CPU time an image on one thread, the best of several turns."""
    import numpy as np
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from cxrflow.components.edge.export.litert import convert
    from cxrflow.components.edge.export.quantize import quantize
    from cxrflow.components.edge.export.source import Source, rgb

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def litert(model: bytes, image: np.ndarray) -> Callable[[], Any]:
        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        (pixels,) = interpreter.get_input_details()
        interpreter.set_tensor(pixels["index"], image.astype(pixels["dtype"]))
        return interpreter.invoke

    found = {}
    for name, side in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            source = Source(write_model(Path(folder) / "model", name, side, "none"))
        noise = np.random.default_rng(0).integers(0, 256, (NOISE, side, side), np.uint8)
        image = rgb(noise[:1])
        saved_model = partial(source.function(1), tf.constant(image))
        fp32 = convert(source)
        sides = {
            "saved_model": saved_model,
            "fp32": litert(fp32, image),
        }
        if name == "InceptionV3":
            sides["dynamic"] = litert(convert(source, dynamic=True), image)
        else:
            sides["int8"] = litert(quantize(fp32, noise), image)
        clocks: dict[str, list[float]] = {key: [] for key in sides}
        for turn in range(TURNS + 1):
            for key, run in sides.items():
                started = time.process_time()
                run()
                if turn:  # the first one warms up
                    clocks[key].append(time.process_time() - started)
        found[name] = {key: round(min(times) * 1000, 2) for key, times in clocks.items()}
    return found


def _size() -> dict[str, Any]:
    """A whole bundle of a MobileNet with ImageNet's weights and the study's head."""
    from cxrflow.components.edge.export.bundle import export_bundle
    from cxrflow.components.edge.export.settings import EdgeConfig

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        saved_model = write_model(root / "model", "MobileNet", 512, str(SHARED / "weights"))
        _write_splits(root, SHARED / "data" / "nih-raw", 512, 40)
        export_bundle(
            saved_model, root / "train", root / "eval", EdgeConfig(calibration_images=12),
            root / "bundle",
        )  # fmt: skip
        files = {p.name: p.stat().st_size for p in (root / "bundle").rglob("*") if p.is_file()}
    return {
        "mb": sum(files.values()) / 1e6,
        "files": {name: round(size / 1e6, 2) for name, size in files.items() if size > 1e5},
    }


def _auc() -> dict[str, Any]:
    """Mean AUC of the source and of int8 on nih_mini's test list."""
    import keras
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from cxrflow.components.edge.export.choose import choose
    from cxrflow.components.edge.export.litert import convert, run
    from cxrflow.components.edge.export.quantize import quantize
    from cxrflow.components.edge.export.source import Source, rgb
    from cxrflow.components.model.network import build_network
    from cxrflow.components.model.recipe import TrainConfig
    from cxrflow.schema.classes import DEFAULT_CLASSES

    data = SHARED / "data" / "nih-mini"
    held_out = set((data / "test_list.txt").read_text().split())
    with (data / "Data_Entry_2017.csv").open() as table:
        rows = [row for row in csv.DictReader(table)]
    splits = [[r for r in rows if (r["Image Index"] in held_out) == test] for test in (False, True)]
    train, test = (
        (
            _pixels([data / "images" / r["Image Index"] for r in split], MINI_SIZE),
            np.array(
                [[c in r["Finding Labels"].split("|") for c in DEFAULT_CLASSES] for r in split]
            ),
        )
        for split in splits
    )
    recipe = TrainConfig(
        head="simple", image_size=MINI_SIZE, weights_dir=str(SHARED / "weights"), weights="imagenet"
    )
    full = build_network(recipe, CLASSES).full
    pooled = keras.Model(full.inputs, full.get_layer("head_pool").output)
    features = pooled.predict(rgb(train[0]), batch_size=16, verbose=0)
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-6
    heads = [
        LogisticRegression(C=1e-3, max_iter=500).fit((features - mean) / std, y) for y in train[1].T
    ]
    weights = np.stack([h.coef_[0] / std for h in heads], axis=1)  # [features, C]
    intercepts = np.array([h.intercept_[0] for h in heads]) - mean @ weights
    # head_dense carries the classes' scores in its first units, logits picks them.
    dense, logits = full.get_layer("head_dense"), full.get_layer("logits")
    units = dense.units
    dense.set_weights([np.pad(weights, ((0, 0), (0, units - CLASSES))), np.zeros(units)])
    logits.set_weights([np.eye(units, CLASSES), intercepts])
    with tempfile.TemporaryDirectory() as folder:
        source = Source(_export(Path(folder) / "model", full, "MobileNet", MINI_SIZE))
    chosen = choose(
        [r["Image Index"] for r in splits[0]], [r["Patient ID"] for r in splits[0]], train[1], 300
    )
    int8 = quantize(convert(source), train[0][chosen])
    answers = {"float32": source.probabilities(test[0]), "int8": run(int8, test[0])}
    seen = [c for c in range(CLASSES) if 0 < test[1][:, c].sum() < len(test[1])]
    return {
        name: round(float(np.mean([roc_auc_score(test[1][:, c], p[:, c]) for c in seen])), 4)
        for name, p in answers.items()
    } | {"images": len(test[0])}


def write_model(folder: Path, backbone: str, side: int, weights: str) -> Path:
    """A SavedModel with the study's head; `weights` is "none" or the folder of ImageNet's."""
    from cxrflow.components.model.network import build_network
    from cxrflow.components.model.recipe import TrainConfig

    known = {"weights": "none"} if weights == "none" else {"weights_dir": weights}
    recipe = TrainConfig(backbone=backbone, head="attention", image_size=side, **known)
    return _export(folder, build_network(recipe, CLASSES).full, backbone, side)


def _export(folder: Path, network: Any, backbone: str, side: int) -> Path:
    from cxrflow.components.model.assets import write_assets
    from cxrflow.components.model.calibration import Calibration
    from cxrflow.components.model.signatures import export
    from cxrflow.schema.classes import DEFAULT_CLASSES
    from cxrflow.schema.model_json import CompactFormat, Member, ModelJson

    compact = {"image_size": side, "encoding": "jpeg", "jpeg_quality": 95}
    calibration = Calibration.identity(CLASSES)
    export(
        lambda pixels: network(pixels, training=False),
        calibration,
        CompactFormat(**compact),
        side,
        folder,
    )
    info = ModelJson(
        name="bench",
        classes=tuple(DEFAULT_CLASSES),
        image_size=side,
        compact=CompactFormat(**compact),
        members=(Member("bench", backbone, "", 1.0),),
        calibration=calibration.to_json(DEFAULT_CLASSES),
        data="",
        code="",
        synthetic=False,
    )
    write_assets(folder, info)
    return folder


def _pixels(paths: list[Path], side: int) -> Any:
    """uint8 [N, side, side] of PNGs or JPEGs."""
    import numpy as np
    import tensorflow as tf

    from cxrflow.components.images.decoding import decode, to_square

    return np.stack(
        [to_square(decode(tf.constant(p.read_bytes())), side).numpy()[..., 0] for p in paths]
    )


def _write_splits(root: Path, data: Path, side: int, count: int) -> None:
    """Raw examples in `eval` and transformed ones in `train`, of the same real X-rays."""
    import tensorflow as tf

    from cxrflow.components.images.decoding import compact_batch
    from cxrflow.schema.classes import DEFAULT_CLASSES
    from cxrflow.schema.features import FINDINGS, IMAGE, IMAGE_ID, PATIENT_ID, T_IMAGE, T_LABELS

    with (data / "Data_Entry_2017.csv").open() as table:
        rows = list(csv.DictReader(table))[:count]
    for split in ("train", "eval"):
        (root / split).mkdir()
        with tf.io.TFRecordWriter(str(root / split / "data")) as writer:
            for row in rows:
                original = (data / "images" / row["Image Index"]).read_bytes()
                findings = row["Finding Labels"].split("|")
                example = tf.train.Example()
                feature = example.features.feature
                feature[IMAGE_ID].bytes_list.value.append(row["Image Index"].encode())
                feature[PATIENT_ID].bytes_list.value.append(row["Patient ID"].encode())
                if split == "eval":
                    feature[IMAGE].bytes_list.value.append(original)
                    feature[FINDINGS].bytes_list.value.extend(f.encode() for f in findings)
                else:
                    (image,) = compact_batch(tf.constant([original]), side, "jpeg").numpy()
                    feature[T_IMAGE].bytes_list.value.append(image)
                    labels = [float(name in findings) for name in DEFAULT_CLASSES]
                    feature[T_LABELS].float_list.value.extend(labels)
                writer.write(example.SerializeToString())


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    json.dump({"speed": _speed, "size": _size, "auc": _auc}[sys.argv[1]](), sys.stdout)
