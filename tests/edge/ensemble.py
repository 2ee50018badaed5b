"""An edge bundle of a whole ensemble, by the pipeline's own code."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.edge.bundles import FROZEN, model_info, variant, write_bundle

SIDE = 64


def ensemble_bundle(root: Path, golden: Sequence[bytes]) -> Path:
    """A bundle of two members' mean, read from and written to disk as in a run; slow."""
    import tensorflow as tf

    from cxrflow.components.edge.export.freeze import freeze, with_int16_weights
    from cxrflow.components.edge.export.litert import convert
    from cxrflow.components.edge.export.source import Source
    from cxrflow.components.ensemble.combine import Combination
    from cxrflow.components.ensemble.graph import Members, export_ensemble
    from cxrflow.components.ensemble.members import read_members
    from cxrflow.components.images.decoding import compact_batch
    from cxrflow.components.images.pixels import model_images
    from cxrflow.components.model.assets import write_assets
    from cxrflow.components.model.calibration import Calibration
    from cxrflow.schema.model_json import CompactFormat, Member, ModelJson
    from tests.components.ensemble import conftest as tiny
    from tests.support.nodes import write_verdict_on

    for seed, (name, head) in enumerate(tiny.HEADS.items()):
        tiny.write_member(root / name, name, head, seed)
        write_verdict_on(root / "verdicts" / name, name)
    members, _ = read_members(
        [root / name for name in tiny.HEADS],
        [root / "verdicts" / name for name in tiny.HEADS],
        tiny.CLASSES,
    )
    export_ensemble(
        Members(members),
        Combination("mean", np.array([0.5, 0.5])),
        Calibration(np.array([0.9, 1.1, 1.0]), np.array([0.1, -0.1, 0.0])),
        CompactFormat(**tiny.COMPACT),
        root / "model",
    )
    compact = CompactFormat(**tiny.COMPACT)
    named = tuple(Member(one.name, one.backbone, one.head, 0.5) for one in members)
    info = ModelJson(
        tuple(tiny.CLASSES), "ensemble", image_size=SIDE, compact=compact, members=named
    )
    write_assets(root / "model", info)
    source = Source(root / "model")
    pixels = model_images(compact_batch(tf.constant(golden), SIDE, "jpeg", 95), "jpeg", SIDE, SIDE)
    pixels = pixels.numpy()[..., 0]
    variants = {
        "frozen_graph": variant("frozen_graph.pb", "tensorflow"),
        "litert_fp32": variant("model_fp32.tflite", "litert"),
    }
    described = model_info(variants, classes=tiny.CLASSES, side=SIDE, compact=SIDE)
    assert described["frozen_graph"] == FROZEN
    return write_bundle(
        root / "1795400000",
        described,
        {
            "frozen_graph.pb": with_int16_weights(freeze(source)).SerializeToString(),
            "model_fp32.tflite": convert(source),
        },
        golden,
        pixels,
        source.probabilities(pixels),
    )
