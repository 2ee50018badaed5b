"""Loads the bundle's frozen graph in TensorFlow 2.7 or later."""

from typing import Any, Callable, Dict


def load_frozen(path: str, input_name: str, output_name: str) -> Callable[[Any], Any]:
    """Reads a frozen graph, as the bundle's model.json["frozen_graph"] names its ends.

    Args:
        path: frozen_graph.pb.
        input_name: tensor, "image:0"; pixels float32 [N, S, S, 3], 0-255.
        output_name: tensor, "probabilities:0"; float32 [N, C].

    Returns:
        A function of one tensor or array that gives one tensor, in a tf.function too: the
        probabilities, NaN where the logit isn't finite, whose sigmoid would look like an answer.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no graph, or has no such tensors.
    """
    import tensorflow as tf

    graph = float32_weights(read_graph(path))
    try:
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
        ends = [wrapped.graph.as_graph_element(name) for name in (input_name, output_name)]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    logits = _logits(ends[1])
    pruned = wrapped.prune(ends[0], [ends[1]] if logits is None else [ends[1], logits])

    def network(pixels: Any) -> Any:
        probabilities, *before = pruned(tf.convert_to_tensor(pixels))
        if not before:
            return probabilities
        nothing = tf.constant(float("nan"), probabilities.dtype)
        return tf.where(tf.math.is_finite(before[0]), probabilities, nothing)

    return network


def _logits(probabilities: Any) -> Any:
    """The tensor that the last sigmoid gets; None where the graph ends otherwise."""
    operation = probabilities.op
    while operation.type in ("Identity", "Reshape"):
        operation = operation.inputs[0].op
    return operation.inputs[0] if operation.type == "Sigmoid" else None


def read_graph(path: str) -> Any:
    """The GraphDef of a file. Raises OSError, or ValueError if it holds none."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    graph = tf.compat.v1.GraphDef()
    with open(path, "rb") as file:
        content = file.read()
    try:
        graph.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(f"{path} is no TensorFlow graph: {error}") from error
    if not graph.node:
        raise ValueError(f"{path} is an empty TensorFlow graph")
    return graph


def float32_weights(graph: Any) -> Any:
    """A GraphDef in which weights stored as int16 and a step are float32 constants.

    Every product of a Cast int16 constant and a float32 constant becomes one. TensorFlow would do
    the same while it optimizes, but TF-TRT takes a convolution's weights from constants only.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in graph.node}
    widened = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        values = _weights(node, nodes)
        new = widened.node.add()
        if values is None:
            new.CopyFrom(node)
            continue
        new.name, new.op, new.device = node.name, "Const", node.device
        new.attr["dtype"].type = tf.float32.as_datatype_enum
        new.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    return widened


def _weights(node: Any, nodes: Dict[str, Any]) -> Any:
    """The weights that a Mul puts together, float32; None where it is something else."""
    import tensorflow as tf

    if node.op != "Mul":
        return None
    cast, step = (nodes.get(name) for name in node.input[:2])
    if cast is None or step is None or (cast.op, step.op) != ("Cast", "Const"):
        return None
    whole = nodes.get(cast.input[0])
    if whole is None or whole.op != "Const":
        return None
    values, steps = (tf.make_ndarray(one.attr["value"].tensor) for one in (whole, step))
    if (values.dtype, steps.dtype) != ("int16", "float32"):
        return None
    return values.astype("float32") * steps
