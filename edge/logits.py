"""Makes a network say what its last sigmoid gets, too: that of infinity looks like an answer.

The files are edited where they say what their outputs are; nothing else in them changes. A network
that ends otherwise stays as it is.
"""

import struct
from typing import Iterator, List, Optional, Tuple

# LiteRT's schema.fbs: numbers of tables' fields, of operators and of a type.
_MODEL_CODES, _MODEL_GRAPHS = 1, 2
_GRAPH_TENSORS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_CODE_OLD, _CODE = 0, 3  # the old one is a byte
_TENSOR_TYPE, _FLOAT32 = 1, 0
_LOGISTIC, _RESHAPE = 14, 22
# onnx.proto: numbers of messages' fields.
_ONNX_GRAPH, _ONNX_NODE, _ONNX_OUTPUT, _ONNX_NAME = 7, 1, 12, 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND = 1, 2, 4


def litert_with_logits(content: bytes) -> bytes:
    """A LiteRT model with float32 logits as its second output.

    Raises struct.error or IndexError if it is no such file.
    """
    root = struct.unpack_from("<I", content, 0)[0]
    graph = _vector(content, root, _MODEL_GRAPHS)[0]
    at = _field(content, graph, _GRAPH_OUTPUTS)
    outputs = _numbers(content, graph, _GRAPH_OUTPUTS)
    logits = _litert_logits(content, root, graph, outputs[0])
    if logits is None or at is None:
        return content
    # A new vector at the end, to which the graph's field points instead.
    padded = bytearray(content + b"\0" * (-len(content) % 4))
    struct.pack_into("<I", padded, at, len(padded) - at)
    outputs.append(logits)
    return bytes(padded) + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)


def onnx_with_logits(content: bytes) -> bytes:
    """An ONNX model with its logits as its second output. Raises ValueError if it is none."""
    nodes, outputs = [], []  # type: List[Tuple[List[str], List[str], str]], List[str]
    for start, end in _messages(content, 0, len(content), _ONNX_GRAPH):
        for at in _messages(content, start, end, _ONNX_NODE):
            inputs = _strings(content, at, _NODE_INPUT)
            kinds = _strings(content, at, _NODE_KIND)
            nodes.append((inputs, _strings(content, at, _NODE_OUTPUT), kinds[0] if kinds else ""))
        for at in _messages(content, start, end, _ONNX_OUTPUT):
            outputs += _strings(content, at, _ONNX_NAME)
    makers = {name: (kind, inputs) for inputs, made, kind in nodes for name in made}
    kind, inputs = makers.get(outputs[0] if outputs else "", ("", []))
    while kind in ("Identity", "Reshape"):
        kind, inputs = makers.get(inputs[0], ("", []))
    if kind != "Sigmoid" or inputs[0] in outputs:
        return content
    # Parts of one message that follow each other are one message (Protocol Buffers' encoding).
    value = _message(_ONNX_NAME, inputs[0].encode())
    return content + _message(_ONNX_GRAPH, _message(_ONNX_OUTPUT, value))


def _litert_logits(content: bytes, root: int, graph: int, output: int) -> Optional[int]:
    """The tensor that the last sigmoid gets."""
    codes = []  # type: List[int]
    for code in _vector(content, root, _MODEL_CODES):
        old, new = _field(content, code, _CODE_OLD), _field(content, code, _CODE)
        codes.append(
            max(
                struct.unpack_from("<b", content, old)[0] if old else 0,
                struct.unpack_from("<i", content, new)[0] if new else 0,
            )
        )
    makers = {}
    for operator in _vector(content, graph, _GRAPH_OPERATORS):
        at = _field(content, operator, _OPERATOR_CODE)
        code = codes[struct.unpack_from("<I", content, at)[0] if at else 0]
        for made in _numbers(content, operator, _OPERATOR_OUTPUTS):
            makers[made] = code, _numbers(content, operator, _OPERATOR_INPUTS)
    code, inputs = makers.get(output, (-1, []))
    while code == _RESHAPE:
        code, inputs = makers.get(inputs[0], (-1, []))
    if code != _LOGISTIC:
        return None
    tensor = _vector(content, graph, _GRAPH_TENSORS)[inputs[0]]
    at = _field(content, tensor, _TENSOR_TYPE)
    kind = struct.unpack_from("<b", content, at)[0] if at else _FLOAT32
    return inputs[0] if kind == _FLOAT32 else None  # whole numbers are always finite


def _field(content: bytes, table: int, number: int) -> Optional[int]:
    """Where a FlatBuffers table has a field; None if it hasn't."""
    names = table - struct.unpack_from("<i", content, table)[0]
    (size,) = struct.unpack_from("<H", content, names)
    at = 4 + 2 * number
    offset = struct.unpack_from("<H", content, names + at)[0] if at < size else 0
    return table + offset if offset else None


def _items(content: bytes, table: int, number: int) -> Tuple[int, int]:
    """Where the items of a vector begin, and how many there are."""
    at = _field(content, table, number)
    if at is None:
        return 0, 0
    start = at + struct.unpack_from("<I", content, at)[0]
    return start + 4, struct.unpack_from("<I", content, start)[0]


def _numbers(content: bytes, table: int, number: int) -> List[int]:
    start, count = _items(content, table, number)
    return list(struct.unpack_from(f"<{count}i", content, start))


def _vector(content: bytes, table: int, number: int) -> List[int]:
    """Where the tables of a vector are."""
    start, count = _items(content, table, number)
    places = range(start, start + 4 * count, 4)
    return [at + struct.unpack_from("<I", content, at)[0] for at in places]


def _messages(content: bytes, at: int, end: int, wanted: int) -> Iterator[Tuple[int, int]]:
    """Where the fields of a number and of some length begin and end. Raises ValueError."""
    while at < end:
        key, at = _varint(content, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(content, at)
        elif kind == 2:
            size, at = _varint(content, at)
            if key >> 3 == wanted:
                yield at, at + size
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("no ONNX model")


def _strings(content: bytes, place: Tuple[int, int], number: int) -> List[str]:
    return [content[a:b].decode("utf-8") for a, b in _messages(content, place[0], place[1], number)]


def _varint(content: bytes, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise ValueError("no ONNX model")
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _message(number: int, body: bytes) -> bytes:
    """A field of some length."""
    header = bytearray()
    for value in (number << 3 | 2, len(body)):
        while value > 127:
            header.append(value & 127 | 128)
            value >>= 7
        header.append(value)
    return bytes(header) + body
