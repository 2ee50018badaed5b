"""Whether a MobileNet that trains learns from the ensemble of probes, on a GPU under JAX.

Train and eval patients of `nih_mini` in three folds. In each, the profile's probes are fitted on
two thirds, and their word on each of these images is that of folds within them. A MobileNet is
trained on the same two thirds, by labels alone and by labels mixed with that word, and scored on
the third that neither has seen. Nothing is chosen by a score: epochs are fixed, the last one
counts.

    python -m tests.bench.jax_distill pack DIR     # here: X-rays, labels, the teacher's word
    python -m tests.bench.jax_distill run DIR WEIGHTS ["last stage" | "whole network"]  # on a GPU
    python -m tests.bench.jax_distill score DIR    # here: a figure for each way of training
"""

import csv
import dataclasses
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDS = 3
WITHIN = 5  # folds in which the teacher's word is taken
SOFT_SHARES = (0.0, 0.5)  # of the teacher's word in the labels
SEEDS = 3
DRAWS = 1000  # of patients
_STRENGTH = 1.0  # C of the probes, which nih_mini's data chooses
_BATCH = 32
# A MobileNet for devices: its last stage, or all of it, with maps of earlier layers for its head.
_STUDENT = {
    "image_size": 320,
    "feature_layers": [f"conv_pw_{block}_relu" for block in (5, 8, 11, 12)],
    **{"head": "attention", "batch_norm": "frozen", "batch_size": _BATCH, "epochs": 15},
    **{"optimizer": "adam", "learning_rate": 5e-4, "backbone_lr_scale": 0.2, "warmup": 0.1},
    **{"schedule": "cosine", "ema": 0.98, "weight_decay": 0.01, "bn_momentum": 0.95},
}
_DEPTHS = {"last stage": "default", "whole network": ""}  # finetune_from


def pack(folder: Path) -> None:
    """Writes what `run` needs."""
    from PIL import Image

    from cxrflow.components.ingest.split import unit_hash
    from cxrflow.components.model.folds import patient_folds
    from cxrflow.pipeline import config
    from tests.bench.figure import SHARED

    loaded = config.load("nih_mini")
    salt, share = f"{loaded.ingest.split_salt}/test", loaded.ingest.test_share
    side, classes = loaded.train.image_size, list(loaded.ingest.classes)
    data = SHARED / "data" / "nih-mini"
    with (data / "Data_Entry_2017.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if unit_hash(row["Patient ID"], salt) >= share]
    images = []
    for row in rows:
        encoded = io.BytesIO()
        xray = Image.open(data / "images" / row["Image Index"]).convert("L")
        xray.resize((side, side), Image.Resampling.BILINEAR).save(encoded, "webp", lossless=True)
        images.append(encoded.getvalue())
    findings = [set(row["Finding Labels"].split("|")) for row in rows]
    labels = np.array([[name in found for name in classes] for found in findings], np.float32)
    patients, sizes = np.array([row["Patient ID"] for row in rows]), [len(one) for one in images]
    encoded = np.frombuffer(b"".join(images), np.uint8)
    pixels = _decoded(encoded, sizes)
    weights = {"weights_dir": str(SHARED / "weights")}
    features = {
        name: _features(dataclasses.replace(recipe, **weights), pixels)
        for name, recipe in loaded.members.items()
    }
    teacher, probe, words = np.empty_like(labels), np.empty_like(labels), {}
    for fold, (fitted, held_out) in enumerate(patient_folds(patients, labels, FOLDS)):
        words[f"word{fold}"], teacher[held_out], probe[held_out] = _taught(
            features, labels, patients, fitted, held_out
        )
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "xrays.npz", images=encoded, sizes=sizes)
    np.savez(
        folder / "known.npz",
        **{"labels": labels, "patients": patients, "teacher": teacher, "probe": probe, **words},
    )


def run(folder: Path, weights: Path, depths: Sequence[str]) -> None:
    """Trains to these depths and writes scores.npz, anew after each seed and depth."""
    from tests.bench.jax_gpu import without_tensorflow

    started = time.monotonic()
    without_tensorflow()
    from cxrflow.components.model.folds import patient_folds
    from cxrflow.components.model.recipe import TrainConfig

    stored, known = np.load(folder / "xrays.npz"), np.load(folder / "known.npz")
    pixels, labels = _decoded(stored["images"], stored["sizes"]), known["labels"]
    folds = list(patient_folds(known["patients"], labels, FOLDS))
    words = [known[f"word{fold}"] for fold in range(FOLDS)]
    scores: dict[str, np.ndarray] = {}
    students = {
        depth: _Student(
            TrainConfig(**_STUDENT, finetune_from=_DEPTHS[depth], weights_dir=str(weights))
        )
        for depth in depths
    }
    for seed in range(SEEDS):
        for depth, student in students.items():
            found = {soft: np.empty_like(labels) for soft in SOFT_SHARES}
            for (fitted, held_out), word in zip(folds, words, strict=True):
                for soft, logits in found.items():
                    targets = (1 - soft) * labels[fitted] + soft * word
                    logits[held_out] = student.trained(
                        seed, pixels[fitted], targets, pixels[held_out]
                    )
                    _say(started, f"{depth}, seed {seed}, soft {soft}")
            scores |= {f"{depth}/{soft}/{seed}": logits for soft, logits in found.items()}
            np.savez(folder / "scores.npz", **scores)


def score(folder: Path) -> Iterator[dict[str, Any]]:
    """Mean AUC within folds of each way of training, and what the teacher's word changes."""
    from cxrflow.components.evaluate.statistics.auc import drawn_aucs
    from cxrflow.components.evaluate.statistics.draws import Draws, estimate, mean_of
    from cxrflow.components.model.folds import patient_folds
    from tests.bench.figure import figure

    known, stored = np.load(folder / "known.npz"), dict(np.load(folder / "scores.npz"))
    labels, patients = known["labels"], known["patients"]
    stored |= {name: known[name] for name in ("teacher", "probe")}
    draws = Draws.of(patients, DRAWS)
    folds = [(rows, draws.within(rows)) for _, rows in patient_folds(patients, labels, FOLDS)]
    aucs = {
        name: np.mean(
            [mean_of(drawn_aucs(labels[rows], logits[rows], drawn)) for rows, drawn in folds],
            axis=0,
        )
        for name, logits in stored.items()
    }
    for depth in dict.fromkeys(name.split("/")[0] for name in stored if "/" in name):
        plain, *taught = (
            np.array([aucs[name] for name in aucs if name.startswith(f"{depth}/{soft}/")])
            for soft in SOFT_SHARES
        )
        for soft, found in zip(SOFT_SHARES[1:], taught, strict=True):
            gain = estimate((found - plain).mean(axis=0))
            yield figure(
                f"MobileNet, {depth} trained: mean AUC, {soft:g} of the labels the ensemble's word",
                gain.value,
                ">= 0.01",
                gain.value >= 0.01,
                interval=[round(gain.low, 4), round(gain.high, 4)],
                by_seed=[round(float(g), 4) for g in (found - plain)[:, 0]],
                untaught=round(float(plain[:, 0].mean()), 4),
                taught=round(float(found[:, 0].mean()), 4),
                probe=round(float(aucs["probe"][0]), 4),
                teacher=round(float(aucs["teacher"][0]), 4),
                images=len(labels),
                patients=len(np.unique(patients)),
            )


class _Student:
    """A MobileNet that is compiled once and trained from the start again and again."""

    def __init__(self, recipe: Any) -> None:
        self.recipe = recipe
        self.model: Any = None

    def trained(self, seed: int, pixels: Any, targets: np.ndarray, others: Any) -> np.ndarray:
        """Logits of `others` after training on pixels [N, S, S, 1] uint8 and targets [N, C]."""
        import keras

        keras.utils.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        # Whole batches, of one shape in all folds: each shape is compiled anew.
        rows = np.concatenate(
            [np.arange(len(pixels)), rng.choice(len(pixels), -len(pixels) % _BATCH)]
        )
        fresh = self._build(targets, len(rows) // _BATCH * self.recipe.epochs)
        if self.model is None:
            self.model = fresh
        self.model.set_weights(fresh.get_weights())
        for variable in self.model.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        self.model.fit(
            pixels[rows], targets[rows], batch_size=_BATCH, epochs=self.recipe.epochs, verbose=0
        )
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)  # EMA
        asked = np.concatenate([others, others[: -len(others) % _BATCH]])
        found = self.model.predict(asked, batch_size=_BATCH, verbose=0)
        return np.asarray(found, np.float32)[: len(others)]

    def _build(self, targets: np.ndarray, steps: int) -> Any:
        import keras

        from cxrflow.components.model.network import build_network
        from cxrflow.components.model.precision import dtype_policy
        from cxrflow.components.train.optimizers import make_optimizer

        recipe, side = self.recipe, self.recipe.image_size
        with dtype_policy("mixed_bfloat16"):
            network = build_network(recipe, targets.shape[1])
        prevalence = targets.mean(axis=0)
        network.full.get_layer("logits").bias.assign(np.log(prevalence / (1 - prevalence)))
        with dtype_policy("float32"):
            gray = keras.Input((side, side, 1), dtype="uint8")
            x = keras.ops.cast(gray, "float32")
            x = _augmenting(recipe)(x)
            model = keras.Model(gray, network.classifier(keras.ops.repeat(x, 3, axis=3)))
        model.compile(
            optimizer=make_optimizer(recipe, steps, model, network.tuned),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            jit_compile=True,
        )
        model.optimizer.build(model.trainable_variables)
        return model


def _augmenting(recipe: Any) -> Any:
    """`components.train.augment` without TensorFlow, as a layer that XLA can compile.

    Keras's own random layers can't be compiled together with the step.
    """
    import keras
    from keras import ops

    class Augment(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.seeds = keras.random.SeedGenerator(recipe.seed)

        def call(self, images: Any, training: bool = False) -> Any:
            if not training:
                return images
            count, side = images.shape[0], images.shape[1]
            draws = keras.random.uniform((6, count), -1, 1, seed=self.seeds)
            angle, scale = draws[0] * np.deg2rad(recipe.rotation), 1 + draws[1] * recipe.zoom
            cos, sin = ops.cos(angle) * scale, ops.sin(angle) * scale
            right, down = (ops.round(draw * recipe.shift * side) for draw in draws[2:4])
            centre, zeros = (side - 1) / 2, ops.zeros_like(cos)
            across = centre - cos * centre + sin * centre + right
            along = centre - sin * centre - cos * centre + down
            moved = ops.image.affine_transform(
                images,
                ops.stack([cos, -sin, across, sin, cos, along, zeros, zeros], axis=1),
                fill_mode="reflect",
            )
            mean = ops.mean(moved, axis=(1, 2, 3), keepdims=True)
            gain, offset = (recipe.contrast * draw[:, None, None, None] for draw in draws[4:6])
            return ops.clip((moved - mean) * (1 + gain) + mean + 255 * offset, 0, 255)

    return Augment()


def _features(recipe: Any, pixels: np.ndarray) -> np.ndarray:
    """What a probe sees, float32 [N, D]."""
    from cxrflow.components.model.network import build_network

    frozen = build_network(recipe, 1).frozen
    assert frozen is not None, "a probe's backbone is frozen"
    batches = (pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH))
    found = [frozen.predict_on_batch(_rgb(batch)) for batch in batches]
    return np.concatenate(found)[: len(pixels)].astype(np.float32)


def _rgb(gray: np.ndarray) -> np.ndarray:
    """float32 [_BATCH, S, S, 3], a short batch filled up: a further shape is compiled anew."""
    filled = np.concatenate([gray, np.zeros((_BATCH - len(gray), *gray.shape[1:]), gray.dtype)])
    return np.repeat(filled.astype(np.float32), 3, axis=3)


def _taught(
    features: dict[str, np.ndarray],
    labels: np.ndarray,
    patients: np.ndarray,
    fitted: np.ndarray,
    held_out: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ensemble's probabilities of the fitted images, each by probes of other patients; its
    logits of the held-out ones; and those of the MobileNet probe alone."""
    from cxrflow.components.model.calibration import fit
    from cxrflow.components.model.probe import fit_probe

    words, others = [], {}
    for name, of_all in features.items():
        probe = fit_probe(
            of_all[fitted],
            labels[fitted],
            patients[fitted],
            folds=WITHIN,
            strengths=(_STRENGTH,),
            second_level=True,
        )
        calibration = fit(probe.out_of_fold, labels[fitted])
        words.append(calibration.log_odds(probe.out_of_fold))
        others[name] = calibration.log_odds(probe.logits(of_all[held_out]))
    word, ensemble = np.mean(words, axis=0), np.mean(list(others.values()), axis=0)
    return fit(word, labels[fitted]).apply(word), ensemble, others["mobilenet"]


def _decoded(images: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S, 1]."""
    from PIL import Image

    ends = np.cumsum(sizes)
    files = (images[end - size : end].tobytes() for end, size in zip(ends, sizes, strict=True))
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in files])[
        ..., None
    ]


def _say(started: float, what: str) -> None:
    print(f"{time.monotonic() - started:6.1f} s  {what}", flush=True)


if __name__ == "__main__":
    verb, where, *more = sys.argv[1:]
    if verb == "pack":
        pack(Path(where))
    elif verb == "run":
        run(Path(where), Path(more[0]), more[1:] or list(_DEPTHS))
    else:
        for each in score(Path(where)):
            print(json.dumps(each), flush=True)
