"""One version of a model in memory, as TF Serving holds it: a graph and a session."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.example import example_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from cxrflow.schema.features import IMAGE
from cxrflow.serving.status import from_tensorflow
from cxrflow.serving.tensors import shape_of, to_array

_WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
_ROUNDS = 2  # a graph is optimized in its first run, memory is at rest from the second on
DEFAULT_SIGNATURE = "serving_default"
# Inputs, of encoded images and of tf.Examples with one each; EXAMPLES is also a signature.
IMAGE_BYTES, EXAMPLES = "image_bytes", "examples"
_RUNTIME_SIGNATURE = "__saved_model_init_op"  # initializes, computes nothing

v1 = tf.compat.v1


class Servable:
    """A loaded SavedModel. `run` may be called by several threads at once."""

    def __init__(self, folder: Path, intra_op_threads: int = 0, inter_op_threads: int = 0):
        """Loads the SavedModel in `folder`; raises what TensorFlow raises for a broken one."""
        graph = tf.Graph()
        self._session = v1.Session(
            graph=graph,
            config=v1.ConfigProto(
                intra_op_parallelism_threads=intra_op_threads,
                inter_op_parallelism_threads=inter_op_threads,
            ),
        )
        try:
            with graph.as_default():
                meta_graph = v1.saved_model.loader.load(self._session, ["serve"], str(folder))
        except BaseException:
            self._session.close()
            raise
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = {
            name: signature
            for name, signature in meta_graph.signature_def.items()
            if name != _RUNTIME_SIGNATURE
        }
        self._calls: dict[str, Callable[..., list[np.ndarray]]] = {}

    def run(
        self, signature: str, inputs: dict[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Computes a signature, and returns the named outputs.

        All are computed: each other choice would be another graph to optimize, for seconds.

        Raises StatusError with TensorFlow's code, INVALID_ARGUMENT for an image that the graph
        refuses.
        """
        definition = self.signatures[signature]
        names, computed = sorted(definition.inputs), sorted(definition.outputs)
        call = self._calls.get(signature)
        if call is None:
            call = self._calls[signature] = self._session.make_callable(
                [definition.outputs[name].name for name in computed],
                [definition.inputs[name].name for name in names],
            )
        try:
            values = call(*(inputs[name] for name in names))
        except tf.errors.OpError as error:
            raise from_tensorflow(error.error_code, error.message or str(error)) from None
        found = dict(zip(computed, values, strict=True))
        return {name: found[name] for name in outputs}

    def batches(self, signature: str) -> bool:
        """Whether requests to a signature can share a run: every tensor has rows."""
        definition = self.signatures[signature]
        tensors = [*definition.inputs.values(), *definition.outputs.values()]
        return all(shape_of(tensor)[:1] == [None] for tensor in tensors)

    def warm_up(self, folder: Path, batch_sizes: Sequence[int], max_bytes: int) -> int:
        """Runs the version's own warm-up records; returns how many runs that were.

        A record is also sent to the other signatures that take the same input, as a tf.Example to
        `examples`, and the first one of a signature in batches too, so that no request is the first
        of its kind. `max_bytes`: see `to_array`.
        """
        runs, batched = 0, set()
        for request in _records(folder / _WARMUP):
            recorded = request.model_spec.signature_name or DEFAULT_SIGNATURE
            definition = self.signatures[recorded]
            inputs = {
                name: to_array(name, proto, definition.inputs[name], max(batch_sizes), max_bytes)
                for name, proto in request.inputs.items()
            }
            alike = {
                n: inputs for n, d in self.signatures.items() if _kinds(d) == _kinds(definition)
            }
            if IMAGE_BYTES in inputs and EXAMPLES in self.signatures:
                alike[EXAMPLES] = {EXAMPLES: _as_examples(inputs[IMAGE_BYTES])}
            for name in list(alike) * _ROUNDS:
                self.run(name, alike[name], sorted(self.signatures[name].outputs))
                runs += 1
            if recorded in batched or not self.batches(recorded):
                continue
            batched.add(recorded)
            for size in batch_sizes:
                batch = {name: _rows(value, size) for name, value in inputs.items()}
                self.run(recorded, batch, sorted(definition.outputs))
                runs += 1
        return runs

    def close(self) -> None:
        """Frees the memory; no run may be under way."""
        self._calls.clear()
        self._session.close()


def _records(path: Path) -> Iterator[predict_pb2.PredictRequest]:
    if not path.is_file():
        return
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.HasField("predict_log"):
            yield log.predict_log.request


def _as_examples(images: np.ndarray) -> np.ndarray:
    """Serialized raw tf.Examples with the images, an object array of the same shape."""
    found = np.empty_like(images)
    for i, image in enumerate(images.flat):
        example = example_pb2.Example()
        example.features.feature[IMAGE].bytes_list.value.append(image)
        found.flat[i] = example.SerializeToString()
    return found


def _kinds(definition: meta_graph_pb2.SignatureDef) -> dict[str, int]:
    return {name: info.dtype for name, info in definition.inputs.items()}


def _rows(array: np.ndarray, count: int) -> np.ndarray:
    """The first `count` rows, repeated where there are fewer."""
    return np.resize(array, (count, *array.shape[1:]))
