"""Each variant against the model that it was made from."""

import lzma

import numpy as np
import pytest

from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def source(made):
    from cxrflow.components.edge.export.source import Source

    return Source(made.model / "Format-Serving")


@pytest.fixture(scope="module")
def expected(source, images) -> np.ndarray:
    found = source.probabilities(images)
    assert found.std(axis=0).min() > 0.01  # the model sees something
    return found


@pytest.fixture(scope="module")
def fp32(source) -> bytes:
    from cxrflow.components.edge.export.litert import convert

    return convert(source)


@pytest.fixture(scope="module")
def graph(source):
    from cxrflow.components.edge.export.freeze import freeze

    return freeze(source)


def run_graph(graph, images: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    from cxrflow.components.edge.export.source import rgb

    graph = type(graph).FromString(graph.SerializeToString())  # importing adds default attributes
    function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    return function.prune("image:0", "probabilities:0")(tf.constant(rgb(images))).numpy()


def test_float32_is_the_same(fp32, images, expected):
    from cxrflow.components.edge.export.litert import run

    np.testing.assert_allclose(run(fp32, images), expected, atol=1e-4)


def test_float16_is_nearly_the_same_in_half_the_bytes(fp32, images, expected):
    from cxrflow.components.edge.export.litert import run, with_half_weights

    half = with_half_weights(fp32, images[::2])
    np.testing.assert_allclose(run(half, images), expected, atol=5e-3)
    assert len(half) < 0.65 * len(fp32)


def test_dynamic_range_is_close_in_a_third_of_the_bytes(source, fp32, images, expected):
    from cxrflow.components.edge.export.litert import convert, run, with_dynamic_range

    dynamic = with_dynamic_range(source, fp32, images[::2])
    corrected = np.abs(run(dynamic, images) - expected).mean()
    assert corrected < 0.05
    assert corrected < np.abs(run(convert(source, dynamic=True), images) - expected).mean()
    assert len(dynamic) < 0.4 * len(fp32)


def test_dynamic_range_keeps_what_is_too_unlike_or_small_for_steps(
    source, fp32, write_model, tmp_path, images
):
    from cxrflow.components.edge.export import litert
    from cxrflow.components.edge.export.flatbuffer import operations, read
    from cxrflow.components.edge.export.source import Source
    from cxrflow.components.private_api import TensorType

    def kernels(model: bytes) -> list[int]:
        parsed = read(model)
        layers = operations(parsed, "FULLY_CONNECTED")
        return [parsed.subgraphs[0].tensors[one.inputs[1]].type for one in layers]

    large_and_alike = kernels(litert.with_dynamic_range(source, fp32, images[::2]))
    assert large_and_alike[0] == TensorType.INT8
    probe = Source(write_model(tmp_path / "probe", "probe"))
    exact = litert.convert(probe)
    dynamic = litert.with_dynamic_range(probe, exact, images[::2])
    assert kernels(litert.convert(probe, dynamic=True)) == [TensorType.INT8]
    assert kernels(dynamic) == [TensorType.FLOAT32]
    difference = np.abs(litert.run(dynamic, images) - probe.probabilities(images)).mean()
    assert difference < 0.05


def test_a_probe_of_cells_and_middle_layers_converts(write_model, tmp_path, images):
    from cxrflow.components.edge.export.litert import convert, run
    from cxrflow.components.edge.export.source import Source

    source = Source(write_model(tmp_path / "probe", "probe"))
    answers = source.probabilities(images)
    assert answers.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(run(convert(source), images), answers, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["simple", "attention", "class_attention", "lse"])
def test_int8_ranks_as_the_source_does(write_model, tmp_path, images, head):
    from ai_edge_litert.interpreter import Interpreter

    from cxrflow.components.edge.export.litert import convert, run
    from cxrflow.components.edge.export.quantize import quantize
    from cxrflow.components.edge.export.source import Source

    source = Source(write_model(tmp_path / head, head))
    answers = source.probabilities(images)
    model = quantize(convert(source), images[::2])
    found = run(model, images)
    for column, right in zip(found.T, answers.T, strict=True):
        assert np.corrcoef(column, right)[0, 1] > 0.9
        assert len(np.unique(column)) == len(images)  # finer than 1/256
    interpreter = Interpreter(model_content=model)
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (image["dtype"], image["quantization"]) == (np.uint8, (1.0, 0))
    assert output["dtype"] == np.float32


def test_biases_make_up_for_weights_that_are_rounded_away(fp32, images, monkeypatch):
    from cxrflow.components.edge.export import quantize as module
    from cxrflow.components.edge.export.flatbuffer import convolutions, put, read, values, write
    from cxrflow.components.edge.export.litert import run

    parsed = read(fp32)
    kernel = parsed.subgraphs[0].tensors[convolutions(parsed)[2].inputs[1]]  # [32, 1, 1, 16]
    weights = np.full_like(values(parsed, kernel, np.float32), 0.45 / 127)  # int8 makes them 0
    weights[..., 0] = 1.0
    put(parsed, kernel, weights)
    model = write(parsed)
    right = run(model, images)
    corrected = np.abs(run(module.quantize(model, images), images) - right).mean()
    monkeypatch.setattr(module, "correct_biases", lambda *_: None)
    plain = np.abs(run(module.quantize(model, images), images) - right).mean()
    assert corrected < 0.7 * plain


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("size", "stride"), [((1, 1), (1, 1)), ((3, 3), (1, 1)), ((3, 2), (2, 3))])
def test_mean_patch_is_the_mean_of_all_that_a_convolution_sees(size, stride, same):
    import tensorflow as tf

    from cxrflow.components.edge.export.activations import Window, mean_patch

    activations = np.random.default_rng(0).normal(1, 1, (7, 8, 5)).astype(np.float32)
    patches = tf.image.extract_patches(
        activations[None], [1, *size, 1], [1, *stride, 1], [1, 1, 1, 1], "SAME" if same else "VALID"
    )
    right = np.mean(patches, axis=(0, 1, 2)).reshape(*size, 5)
    found = mean_patch(activations, Window(0, size, stride, same))
    np.testing.assert_allclose(found, right, atol=1e-5)


def test_ranges_are_those_of_the_tensors_themselves(fp32, images):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from cxrflow.components.edge.export.activations import observe
    from cxrflow.components.edge.export.source import rgb

    seen = observe(fp32, [], images[:2])
    interpreter = Interpreter(
        model_content=fp32,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    found = []
    for image in images[:2]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], rgb(image[None]))
        interpreter.invoke()
        found.append({tensor: interpreter.get_tensor(tensor) for tensor in seen.lows})
    for tensor in seen.lows:
        low, high = min(f[tensor].min() for f in found), max(f[tensor].max() for f in found)
        assert seen.lows[tensor] == pytest.approx(low, rel=1e-3, abs=1e-4)
        assert seen.highs[tensor] == pytest.approx(high, rel=1e-3, abs=1e-4)


def test_frozen_graph_has_no_variables_and_no_attribute_that_is_a_default(graph, images, expected):
    from tensorflow.python.framework import op_def_registry

    np.testing.assert_allclose(run_graph(graph, images), expected, atol=1e-5)
    assert not {"VarHandleOp", "ReadVariableOp", "DisableCopyOnRead", "NoOp"} & {
        node.op for node in graph.node
    }
    assert not graph.library.function
    for node in graph.node:
        defaults = {
            attr.name: attr.default_value
            for attr in op_def_registry.get(node.op).attr
            if attr.HasField("default_value")
        }
        for name, value in node.attr.items():
            assert not name.startswith("_")
            assert name not in defaults or value != defaults[name]


def test_int16_weights_are_cast_and_scaled_and_nearly_the_same(graph, images, expected):
    from cxrflow.components.edge.export.freeze import with_int16_weights

    small = with_int16_weights(graph)
    products = {
        n.name: list(n.input) for n in small.node if n.op == "Mul" and "/cast" in n.input[0]
    }
    assert products
    assert all(inputs == [f"{name}/cast", f"{name}/step"] for name, inputs in products.items())
    np.testing.assert_allclose(run_graph(small, images), expected, atol=1e-3)
    assert small.ByteSize() < 0.8 * graph.ByteSize()


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (np.full((200, 200), 1.5), False),
        (np.full((200, 200), 1e5), True),  # above float16's 65,504
        (np.full(40_000, 1.5), True),  # a vector
        (np.full((4, 4), 1.5), True),  # small
    ],
)
def test_what_float16_leaves_as_it_is(values, kept):
    from cxrflow.components.edge.export.half import to_half

    assert (to_half(values.astype(np.float32)) is None) == kept


def test_fixed_point_by_hand():
    from cxrflow.components.edge.export.fixed import to_fixed

    values = np.zeros((20_000, 3), np.float32)
    values[0] = [1.0, -0.75, 0]  # 1 is 2**15 steps of 2**-15, of which int16 has one fewer
    values[1] = [2.0**-16, 3 * 2.0**-15, 0]
    fixed = to_fixed(values, axis=-1)
    assert fixed.steps.tolist() == [[2.0**-15, 2.0**-15, fixed.steps[0, 2]]]
    assert fixed.whole[:2].tolist() == [[32767, -24576, 0], [0, 3, 0]]
    assert fixed.values[0, 1] == -0.75
    assert to_fixed(values[:100], axis=-1) is None  # small
    assert to_fixed(values[:, 0], axis=-1) is None  # a vector
    assert to_fixed(values * np.nan, axis=-1) is None


def test_a_kernel_for_features_of_very_different_size_stays_as_it_is():
    from cxrflow.components.edge.export.fixed import to_fixed

    weights = np.random.default_rng(0).normal(size=(2_000, 13)).astype(np.float32)
    assert to_fixed(weights, axis=-1) is not None
    of_features = np.logspace(-5, 0, len(weights), dtype=np.float32)[:, None]
    assert to_fixed(weights * of_features, axis=-1) is None  # a linear probe's


def test_onnx_is_the_same_and_packs_the_same_way(graph, images, expected):
    import onnxruntime

    from cxrflow.components.edge.export.source import rgb
    from cxrflow.components.edge.export.to_onnx import pack, rounded, to_onnx

    whole = to_onnx(graph)
    for model, tolerance in (
        (whole, 1e-4),
        (rounded(whole, images, expected, 1e-3), 1e-3),
    ):
        assert [opset.version for opset in model.opset_import if not opset.domain] == [13]
        packed = pack(model)
        assert packed == pack(model)
        session = onnxruntime.InferenceSession(lzma.decompress(packed))
        (found,) = session.run(["probabilities"], {"image": rgb(images)})
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_onnx_is_rounded_as_far_as_its_probabilities_stay(graph, images, expected, monkeypatch):
    """A distilled MobileNet's moved by .0012 of .001 allowed, and its bundle lacked the variant."""
    from cxrflow.components.edge.export import to_onnx as module
    from cxrflow.components.edge.export.to_onnx import pack, probabilities, rounded, to_onnx

    monkeypatch.setattr(module, "_LARGE", 20_000)  # weights: this network is a small one
    whole = to_onnx(graph)
    coarse = rounded(whole, images, expected, 1.0)
    moved = float(np.abs(probabilities(coarse, images) - expected).max())
    fine = rounded(whole, images, expected, moved * 0.99)
    assert np.abs(probabilities(fine, images) - expected).max() < moved
    assert rounded(whole, images, expected, 0.0) == whole
    assert len(pack(coarse)) < len(pack(fine)) < len(pack(whole))


def test_onnx_leaves_out_an_optimizer_that_fails(graph, images, expected, monkeypatch):
    from tf2onnx.optimizer import TransposeOptimizer

    from cxrflow.components.edge.export.to_onnx import probabilities, to_onnx

    nodes = len(to_onnx(graph).graph.node)
    monkeypatch.setattr(TransposeOptimizer, "_optimize", lambda self, graph: 1 / 0)
    without = to_onnx(graph)
    assert len(without.graph.node) > nodes
    np.testing.assert_allclose(probabilities(without, images), expected, atol=1e-4)


def test_a_broken_model_is_refused(fp32, images, expected):
    from cxrflow.components.edge.export.bundle import check
    from cxrflow.components.edge.export.flatbuffer import put, read, values, write
    from cxrflow.components.edge.export.litert import run

    check(run(fp32, images[:2]), "litert_fp32", expected[:2])
    for factor, message in ((np.nan, "gives NaN"), (-1.0, "differ by")):
        parsed = read(fp32)
        weights = [
            t for t in parsed.subgraphs[0].tensors if parsed.buffers[t.buffer].data is not None
        ]
        for tensor in weights:
            if tensor.type == 0:
                put(parsed, tensor, values(parsed, tensor, np.float32) * np.float32(factor))
        with pytest.raises(CxrflowError, match=message):
            check(run(write(parsed), images[:2]), "litert_fp32", expected[:2])
