"""Which engine runs, and how it keeps within memory."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundle as bundles
import engines
from tests.edge.bundles import CLASSES, SIDE, model_info, variant
from tests.edge.bundles import FROZEN as ENDS

LITERT = {
    "litert_int8": variant("model_int8.tflite", "litert"),
    "litert_fp16": variant("model_fp16.tflite", "litert"),
}
FROZEN = {"frozen_graph": variant("frozen_graph.pb", "tensorflow", golden_tolerance=0.002)}
ONNX = {"onnx": variant("model.onnx.xz", "onnx")}
OTHER = {"coreml": variant("model.mlmodel", "coreml")}


def make_bundle(folder: Path, variants: dict[str, Any]) -> "bundles.Bundle":
    return bundles.Bundle(str(folder / "bundle"), 1, model_info(variants), {})


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The engines that can be opened here."""
    there = {"trt", "tf", "litert", "onnx"}

    def opener(name: str) -> Any:
        def open_engine(bundle: Any, variant: str, wanted: Any) -> "engines.Engine":
            if name not in there:
                raise engines.Refused(f"no {name} here")
            answers = np.zeros((1, len(CLASSES)), np.float32)
            return engines.Engine(name, variant, 4, 0.1, lambda pixels: answers)

        return open_engine

    monkeypatch.setattr(engines, "_OPENERS", {name: opener(name) for name in engines.ENGINES})
    return there


@pytest.mark.parametrize(
    ("gpu", "trt", "there", "expected"),
    [
        (True, True, "trt tf litert", ("trt", "trt")),
        (True, True, "tf litert", ("tf", "frozen_graph")),
        (True, False, "trt tf litert", ("tf", "frozen_graph")),
        (True, False, "litert", ("litert", "litert_fp16")),
        (False, True, "trt tf litert", ("trt", "trt")),
        (False, False, "trt tf litert", ("litert", "litert_fp16")),
        (False, False, "tf", ("tf", "frozen_graph")),
    ],
)
def test_the_fastest_that_is_there_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: set[str],
    gpu: bool,
    trt: bool,
    there: str,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(engines, "_GPUS", ("/" if gpu else "/no such",))
    if trt:
        (tmp_path / "bundle.trt").mkdir()
    installed &= set(there.split())
    engine, _ = engines.choose(make_bundle(tmp_path, LITERT | FROZEN), engines.Wanted())
    assert (engine.name, engine.variant) == expected


def test_says_why_the_first_choice_is_not_there(tmp_path: Path, installed: set[str]) -> None:
    installed -= {"litert"}
    wanted = engines.Wanted()
    engine, skipped = engines.choose(make_bundle(tmp_path, LITERT | FROZEN), wanted)
    assert engine.name == "tf"
    assert skipped == ["litert: no litert here", "onnx: the bundle has no variant for it"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"variant": "litert_int8"}, ("litert", "litert_int8")),
        ({"variant": "frozen_graph"}, ("tf", "frozen_graph")),
        ({"variant": "trt"}, ("trt", "trt")),
        ({"engine": "litert"}, ("litert", "litert_fp16")),
        ({"engine": "litert", "variant": "litert_int8"}, ("litert", "litert_int8")),
        ({"engine": "trt"}, ("trt", "trt")),
        ({"engine": "onnx"}, ("onnx", "onnx")),
        ({"variant": "onnx"}, ("onnx", "onnx")),
    ],
)
def test_what_is_wanted_runs(
    tmp_path: Path, installed: set[str], wanted: dict[str, str], expected: tuple[str, str]
) -> None:
    bundle = make_bundle(tmp_path, LITERT | FROZEN | ONNX)
    engine, _ = engines.choose(bundle, engines.Wanted(**wanted))
    assert (engine.name, engine.variant) == expected


@pytest.mark.parametrize(
    ("variants", "wanted", "reason"),
    [
        (LITERT, {"engine": "tf"}, "tf: the bundle has no variant for it"),
        (FROZEN, {"variant": "litert_fp32"}, "no variant 'litert_fp32': it has frozen_graph"),
        (LITERT | FROZEN, {"engine": "tf", "variant": "litert_int8"}, "tf: it doesn't run litert"),
        (LITERT, {"engine": "trt", "variant": "litert_int8"}, "trt: it doesn't run litert_int8"),
        (OTHER, {"variant": "coreml"}, r"coreml runs with coreml, not with infer\.py"),
        (OTHER, {}, "no engine can run: litert: the bundle has no variant for it; onnx: "),
    ],
)
def test_what_cant_run_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: set[str],
    variants: dict[str, Any],
    wanted: dict[str, str],
    reason: str,
) -> None:
    monkeypatch.setattr(engines, "_GPUS", ())
    with pytest.raises(engines.Refused, match=reason):
        engines.choose(make_bundle(tmp_path, variants), engines.Wanted(**wanted))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"there is no engine in .*bundle\.trt; build_trt\.py makes one"),
        ("{", r"engine\.json: "),
        ("{}", r"engine\.json: lacks 'batch'"),
        ('{"batch": 4, "frozen_graph_sha256": "other"}', "was built from another bundle"),
    ],
)
def test_an_engine_of_another_bundle_is_refused(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "bundle.trt").mkdir()
        (tmp_path / "bundle.trt" / "engine.json").write_text(content)
    with pytest.raises(engines.Refused, match=reason):
        engines.choose(make_bundle(tmp_path, FROZEN), engines.Wanted(engine="trt"))


@pytest.mark.tf
def test_a_built_engine_runs_in_full_batches(bundle: Path, tmp_path: Path) -> None:
    """A SavedModel in the place of TF-TRT's, which is loaded and fed the same way."""
    from build_trt import write_saved_model
    from frozen import load_frozen

    frozen = load_frozen(str(bundle / "frozen_graph.pb"), ENDS["input"], ENDS["output"])
    write_saved_model(frozen, SIDE, str(tmp_path / "saved_model"))
    sha256 = hashlib.sha256((bundle / "frozen_graph.pb").read_bytes()).hexdigest()
    (tmp_path / "engine.json").write_text(
        json.dumps({"batch": 5, "frozen_graph_sha256": sha256}), encoding="utf-8"
    )
    opened = bundles.open_bundle(str(bundle))
    built, _ = engines.choose(opened, engines.Wanted(trt=str(tmp_path)))
    plain, _ = engines.choose(opened, engines.Wanted(engine="tf", batch=4))
    assert (built.variant, built.batch, built.tolerance) == ("trt", 5, 0.01)
    pixels = np.random.default_rng(0).integers(0, 256, (7, SIDE, SIDE), np.uint8)
    np.testing.assert_allclose(built.run(pixels), plain.run(pixels), atol=1e-6)


def test_batches_halve_when_memory_ends() -> None:
    sizes = []

    def predict(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        if len(pixels) > 3:
            raise MemoryError("OOM")
        return pixels[:, 0, :1].astype(np.float32)

    engine = engines.Engine("fake", "fp32", 8, 0.1, predict, (MemoryError,))
    pixels = np.arange(9, dtype=np.uint8)[:, None, None].repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(engine.run(pixels)[:, 0], range(9))
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    assert engine.batch == 2


def test_memory_that_ends_with_one_image_is_refused() -> None:
    def predict(pixels: np.ndarray) -> np.ndarray:
        raise MemoryError("OOM\nwhen allocating")

    engine = engines.Engine("fake", "fp32", 2, 0.1, predict, (MemoryError,))
    with pytest.raises(engines.Refused, match="out of memory with one image: OOM when allocating"):
        engine.run(np.zeros((2, SIDE, SIDE), np.uint8))


@pytest.mark.parametrize(("free_mb", "batch"), [(0, 1), (700, 1), (2000, 3), (64_000, 16)])
def test_a_batch_fits_half_of_the_free_memory(tmp_path: Path, free_mb: int, batch: int) -> None:
    # One image of 512 pixels: 512 * 512 * 1200 bytes = 300 MB.
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 1 kB\nMemAvailable:   {free_mb * 1024} kB\n")
    assert engines.fitting_batch(512, str(meminfo)) == batch


def test_tolerance_is_what_model_json_says_of_this_runtime() -> None:
    known = {
        **FROZEN,
        "litert_fp16": variant("model_fp16.tflite", "litert"),
        "litert_int8": variant(
            "model_int8.tflite", "litert", golden_tolerance=0.01, golden_tolerance_older=0.05
        ),
    }
    bundle = make_bundle(Path("/x"), known)
    assert engines._tolerance(bundle, "litert_fp16") == 1e-3
    assert engines._tolerance(bundle, "litert_fp16", older=True) == 1e-3
    assert engines._tolerance(bundle, "frozen_graph", older=True) == 0.002
    assert engines._tolerance(bundle, "litert_int8") == 0.01
    assert engines._tolerance(bundle, "litert_int8", older=True) == 0.05


def test_a_runtime_that_fails_is_one_line() -> None:
    def predict(pixels: np.ndarray) -> np.ndarray:
        raise RuntimeError("node 3\nfailed to invoke")

    engine = engines.Engine("fake", "fp32", 2, 0.1, predict)
    with pytest.raises(engines.Refused, match="fake failed: node 3 failed to invoke"):
        engine.run(np.zeros((2, SIDE, SIDE), np.uint8))


def test_infinity_before_the_sigmoid_is_no_probability() -> None:
    probabilities = np.array([[0.5, 1.0], [0.0, 0.25]], np.float32)
    logits = np.array([[0.0, np.inf], [-np.inf, -1.1]], np.float32)
    found = engines.finite(probabilities, logits)
    np.testing.assert_array_equal(found, [[0.5, np.nan], [np.nan, 0.25]])
    assert engines.finite(probabilities, np.zeros((2, 2))) is probabilities
