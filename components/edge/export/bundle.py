"""The edge bundle of a model: every variant, golden answers, the device's scripts."""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from onnx import ModelProto

from cxrflow.components.edge.device import device_files
from cxrflow.components.edge.export import litert
from cxrflow.components.edge.export.freeze import freeze, with_int16_weights
from cxrflow.components.edge.export.golden import least_alike, not_told_apart, write_golden
from cxrflow.components.edge.export.metadata import with_metadata
from cxrflow.components.edge.export.quantize import quantize
from cxrflow.components.edge.export.read import calibration_pixels, golden_originals, golden_pixels
from cxrflow.components.edge.export.settings import EdgeConfig
from cxrflow.components.edge.export.source import INPUT, OUTPUT, Source
from cxrflow.components.edge.export.to_onnx import pack, rounded, to_onnx
from cxrflow.components.edge.export.variants import VARIANTS, tolerance
from cxrflow.components.edge.run import VariantError, run_variant
from cxrflow.components.model.out_of_distribution import OUTPUT as DETECTED
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.memory import give_back
from cxrflow.schema.portable.out_of_distribution import FILE as DETECTOR
from cxrflow.schema.portable.out_of_distribution import write_detector
from cxrflow.schema.progress import report

MODEL_JSON = "model.json"
FORMAT = 2  # of a bundle; 1 had no answers and no thresholds of a variant's own
_BROKEN = 0.2  # mean difference of a probability
_SCORE_TOLERANCE = 1e-3  # of a detector's score: NumPy against TensorFlow
_SPARSE = 4  # of the calibration images, what is enough for means


def export_bundle(
    saved_model: Path, train: Path, eval_originals: Path, config: EdgeConfig, bundle: Path
) -> None:
    """Writes all of a bundle but its manifest and the verdict on its variants.

    Args:
        saved_model: of a Trainer or the ensemble; its signature `pixels` is what leaves.
        train: folder of transformed training examples, for int8's ranges.
        eval_originals: folder of raw examples of eval, for the golden images.
        config: how many images, and how weights are stored.
        bundle: an empty folder, made if missing.

    Raises:
        CxrflowError: a split is empty, the model can't be converted, or a variant is broken.
    """
    source = Source(saved_model)
    bundle.mkdir(parents=True, exist_ok=True)
    _write_variants(source, train, config, bundle)
    give_back()  # graphs and files, before processes start that load a variant
    if source.detector is not None:
        write_detector(str(bundle / DETECTOR), source.detector)
    for path in device_files():
        shutil.copy(path, bundle / path.name)
    info = describe(source, config)
    _write_info(info, bundle)  # which those who run the variants read
    note, silent = _write_golden(source, eval_originals, config, bundle)
    if note:
        logging.warning("edge bundle: %s", note)
        info["golden_note"] = note
    for key, why in silent.items():
        info["variants"][key]["broken"] = why
    _write_info(info, bundle)


def _write_variants(source: Source, train: Path, config: EdgeConfig, bundle: Path) -> None:
    images = calibration_pixels(
        train, source.classes, source.compact, source.image_size, config.calibration_images
    )
    small = config.graph_weights == "int16"
    graph = freeze(source)
    fp32 = litert.convert(source)

    def small_onnx() -> ModelProto:
        some = images[::_SPARSE]
        # On eval's images, which are more, the largest difference is larger.
        most = 0.75 * config.max_difference
        return rounded(to_onnx(graph), some, source.probabilities(some), most)

    makers: dict[str, Callable[[], bytes]] = {
        "litert_fp32": lambda: fp32,
        "litert_fp16": lambda: litert.with_half_weights(fp32, images[::_SPARSE]),
        "litert_dynamic": lambda: litert.with_dynamic_range(source, fp32, images[::_SPARSE]),
        "litert_int8": lambda: quantize(fp32, images, config.int8_float_layers),
        "frozen_graph": lambda: _serialized(with_int16_weights(graph) if small else graph),
        "onnx": lambda: pack(small_onnx() if small else to_onnx(graph)),
    }
    for done, (key, make) in enumerate(makers.items()):
        report(done, len(makers), "variants")
        content = make()
        if VARIANTS[key]["runtime"] == "litert":
            content = with_metadata(content, source.info, key)
        (bundle / VARIANTS[key]["file"]).write_bytes(content)
        give_back(collect=False)
    report(len(makers), len(makers), "variants")


def _write_golden(
    source: Source, originals: Path, config: EdgeConfig, bundle: Path
) -> tuple[str, dict[str, str]]:
    """Golden images with the answers of all variants that give any.

    Returns what they can't prove, in words, and why the others give none.
    """
    count = max(config.golden_images, config.golden_candidates)
    files = list(golden_originals(originals, source.classes, count).values())
    pixels = golden_pixels(files, source.compact, source.image_size)
    expected = source.probabilities(pixels)
    answers, silent = {}, {}
    with tempfile.TemporaryDirectory() as work_dir:
        path = Path(work_dir, "pixels.npy")
        np.save(path, pixels)
        for done, key in enumerate(VARIANTS):
            report(done, len(VARIANTS), "variants that answer golden images")
            try:
                answers[key] = run_variant(bundle, key, path, wait=config.answer_seconds)
            except VariantError as error:
                silent[key] = str(error)
                continue
            check(answers[key], key, expected)
        report(len(VARIANTS), len(VARIANTS), "variants that answer golden images")
    if not answers:
        raise CxrflowError(f"no edge variant runs: {next(iter(silent.values()))}")
    # The widest that a device may be allowed: a runtime's age isn't known here.
    tolerances = {key: max(tolerance(key, config).values()) for key in answers}
    chosen = least_alike(answers, tolerances, config.golden_images)
    kept = {key: found[chosen] for key, found in answers.items()}
    golden = [files[i] for i in chosen]
    scores = unlike_training(source, golden, pixels[chosen])
    write_golden(golden, pixels[chosen], expected[chosen], kept, scores, bundle)
    return not_told_apart(kept, tolerances), silent


def check(found: np.ndarray, name: str, expected: np.ndarray) -> None:
    """Raises CxrflowError if a converted model is broken, which converters don't notice.

    Broken is what gives NaN, or answers that have nothing to do with the source's: how close it is
    will be judged on more images than these.

    Args:
        found: a variant's probabilities [N, C].
        name: the variant's.
        expected: the source's.
    """
    if not np.isfinite(found).all():
        raise CxrflowError(f"{name} is broken: it gives NaN; the converter and the model don't fit")
    difference = np.abs(found - expected).mean()
    if found.shape != expected.shape or difference > _BROKEN:
        raise CxrflowError(
            f"{name} is broken: its probabilities differ by {difference:.3f} on average from those "
            "of the model it was made from"
        )


def unlike_training(
    source: Source, originals: Sequence[bytes], pixels: np.ndarray
) -> np.ndarray | None:
    """Scores float32 [N] of golden images by the detector that the device gets; None without.

    Raises CxrflowError if the model's own graph says otherwise.
    """
    if source.detector is None:
        return None
    found = source.detector.scores(pixels)
    image_bytes = tf.constant(list(originals))
    served = source.model.signatures["serving_default"](image_bytes=image_bytes)[DETECTED].numpy()
    if not np.allclose(found, served, rtol=_SCORE_TOLERANCE, atol=_SCORE_TOLERANCE):
        raise CxrflowError(
            f"the detector of {source.info.name} gives {found[0]:.4g} for an image that its graph "
            f"gives {served[0]:.4g}: train the model anew"
        )
    return found


def _write_info(info: Mapping[str, Any], bundle: Path) -> None:
    text = json.dumps(info, indent=2, allow_nan=False) + "\n"
    (bundle / MODEL_JSON).write_text(text, encoding="utf-8")


def describe(source: Source, config: EdgeConfig) -> dict[str, Any]:
    """model.json of a bundle, from that of its source."""
    compact = source.compact
    return source.info.to_json() | {
        "bundle_format": FORMAT,
        "frozen_graph": {"input": f"{INPUT}:0", "output": f"{OUTPUT}:0"},
        "preprocessing": {
            "compact_size": compact.image_size,
            "encoding": compact.encoding,
            "jpeg_quality": compact.jpeg_quality,
            "image_size": source.image_size,
            **asdict(ImageLimits()),
        },
        "variants": {key: one | tolerance(key, config) for key, one in VARIANTS.items()},
    }


def _serialized(graph: Any) -> bytes:
    return graph.SerializeToString(deterministic=True)
