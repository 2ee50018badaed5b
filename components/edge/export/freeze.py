"""The graph as TensorFlow 2.7 loads it: constants for variables, and no attribute newer than it."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from cxrflow.components.edge.export.fixed import to_fixed
from cxrflow.components.edge.export.source import INPUT, OUTPUT, Source
from cxrflow.components.private_api import (
    convert_variables_to_constants_v2,
    strip_graph_default_valued_attrs,
)


def freeze(source: Source) -> GraphDef:
    """From `image:0`, float32 [N, S, S, 3], to `probabilities:0`, float32 [N, C], with any N.

    What a SavedModel of TensorFlow 2.21 has besides would stop 2.7: variables' DisableCopyOnRead,
    and attributes it doesn't know, which go where they have their default.
    """
    frozen = convert_variables_to_constants_v2(source.function(None)).graph.as_graph_def()
    for node in frozen.node:
        inputs = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(inputs)
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]
    graph_util = tf.compat.v1.graph_util
    frozen = graph_util.extract_sub_graph(frozen, [OUTPUT])
    frozen = graph_util.remove_training_nodes(frozen, [INPUT, OUTPUT])  # chains of Identity
    holder = MetaGraphDef(graph_def=frozen)
    strip_graph_default_valued_attrs(holder)
    return holder.graph_def


def with_int16_weights(graph: GraphDef) -> GraphDef:
    """Returns the graph with large weights X as int16, in half the bytes: see `fixed`.

    A constant `X/int16` is cast (`X/cast`) and multiplied with a constant `X/step` to X.
    """
    nodes = []
    for node in graph.node:
        values = _constant(node)
        fixed = None if values is None else to_fixed(values, axis=-1)
        if fixed is None:
            nodes.append(node)
            continue
        whole, step = (
            _const(f"{node.name}/int16", fixed.whole),
            _const(f"{node.name}/step", fixed.steps),
        )
        cast = NodeDef(name=f"{node.name}/cast", op="Cast", input=[whole.name])
        cast.attr["SrcT"].type = tf.int16.as_datatype_enum
        cast.attr["DstT"].type = tf.float32.as_datatype_enum
        product = NodeDef(name=node.name, op="Mul", input=[cast.name, step.name])
        product.attr["T"].type = tf.float32.as_datatype_enum
        nodes += [whole, step, cast, product]
    return GraphDef(node=nodes, versions=graph.versions)


def _const(name: str, values: np.ndarray) -> NodeDef:
    node = NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(values.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    return node


def _constant(node: NodeDef) -> np.ndarray | None:
    if node.op != "Const" or node.attr["dtype"].type != tf.float32.as_datatype_enum:
        return None
    return tf.make_ndarray(node.attr["value"].tensor)
