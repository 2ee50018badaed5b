"""What two runs with the same settings have in common, however and wherever they were run.

Files are equal: statistics, records, transformed examples, variables, scores, maps, LiteRT models.
So are all AUCs, and other metrics to the fifth digit: TFMA adds batches up in float32, in the order
in which its threads come. An engine decides how many files TFMA writes, and statistics' order.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxrflow.components.evaluate.verdict import FILE_NAME

# Files that tell of their own making: when, how quickly, by which process; those of TFMA, for which
# verdicts are compared; and what holds the figures and hashes of these. A graph names its parts by
# what was built before in the process; what they compute stands in the variables and the scores.
_ALIKE = re.compile(
    r"serving_check\.json|parity_report\.json|model_card\.(md|html)"
    r"|fingerprint\.pb|saved_model\.pb|variables\.index|frozen_graph\.pb|model\.onnx\.xz"
    r"|(attributions|metrics|plots)-\d+-of-|eval_config\.json"
    r"|verdict\.json|metadata\.json|manifest\.json"
)
_PART = re.compile(r"-\d+-of-\d+(?=\.tfrecord$)")
_NEAR = 1e-5  # of metrics


def differences(expected: Path, root: Path) -> list[str]:
    """Files that one of two runs has, or that differ, and numbers of their verdicts that do."""
    one, other = content(expected), content(root)
    names = sorted(one.keys() | other.keys())
    found = [f"{name} differs" for name in names if one.get(name) != other.get(name)]
    verdicts, others = _verdicts(expected), _verdicts(root)
    for node in sorted(verdicts.keys() | others.keys()):
        found += [f"{node} {line}" for line in _far(verdicts.get(node, {}), others.get(node, {}))]
    return found


def content(root: Path) -> dict[str, str]:
    """Hashes of what the last run's files say, by names without numbers; "" where they
    needn't be equal."""
    record = json.loads((root / "run.json").read_text())
    folders = {
        f"{node}/{key}": root / folder
        for node, outputs in record["artifacts"].items()
        for key, folder in outputs.items()
    }
    folders |= {name: root / record[name] for name in ("pushed", "edge") if record[name]}
    found = {
        f"{name}/{path.relative_to(folder)}": "" if _ALIKE.match(path.name) else _hash(path)
        for name, folder in folders.items()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "tfevents" not in path.name
    }
    return {name if said else _PART.sub("", name): said for name, said in found.items()}


def _hash(path: Path) -> str:
    """Hash of examples and variables, whatever order each process chooses anew for them."""
    import tensorflow as tf
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

    if path.name.startswith("transformed_examples-"):
        records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        parts = [
            tf.train.Example.FromString(r).SerializeToString(deterministic=True) for r in records
        ]
    elif path.name.startswith("variables.data-"):
        found = tf.train.load_checkpoint(str(path.parent / "variables"))
        tensors = [found.get_tensor(name) for name in found.get_variable_to_shape_map()]
        parts = sorted(one.tobytes() for one in tensors if hasattr(one, "tobytes"))
    elif path.name == "FeatureStats.pb":
        (found,) = DatasetFeatureStatisticsList.FromString(path.read_bytes()).datasets
        parts = sorted(one.SerializeToString(deterministic=True) for one in found.features)
        found.ClearField("features")
        parts.append(found.SerializeToString(deterministic=True))
    else:
        parts = [path.read_bytes()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _verdicts(root: Path) -> dict[str, dict[str, float]]:
    """The numbers of each gate's verdict, by where they stand in it."""
    artifacts = json.loads((root / "run.json").read_text())["artifacts"]
    found: dict[str, dict[str, float]] = {}
    for node, outputs in artifacts.items():
        if "verdict" in outputs:
            content = json.loads((root / outputs["verdict"] / FILE_NAME).read_text())
            found[node] = dict(_numbers(content))
    return found


def _numbers(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, f"{where}/{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{where}/{number}")
    elif isinstance(value, int | float):
        yield where, value


def _far(one: dict[str, float], other: dict[str, float]) -> Iterator[str]:
    """Numbers that differ: AUCs at all, others beyond _NEAR."""
    for where in sorted(one.keys() | other.keys()):
        a, b = one.get(where, math.inf), other.get(where, math.inf)
        same = a == b or (math.isnan(a) and math.isnan(b))
        if not same and ("auc" in where or not math.isclose(a, b, rel_tol=_NEAR, abs_tol=_NEAR)):
            yield f"{where}: {a}, {b}"
