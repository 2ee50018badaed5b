"""Makes a finished run's folder without running anything: two members, ensemble, probe."""

import io
import json
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from cxrflow.components.evaluate.evidence.judge import Evidence, judge
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.results import CANDIDATE, load_evaluation
from cxrflow.components.evaluate.verdict import write_verdict
from cxrflow.components.ingest.quarantine import Problem, write_report
from cxrflow.components.model.thresholds import class_thresholds
from cxrflow.components.score.files import Scores, Table, write_scores
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.schema.classes import DEFAULT_CLASSES
from cxrflow.schema.model_json import CompactFormat, Member, ModelJson, write_model_json
from tests.components.evaluate.evaluation_maker import make_rows, write_evaluation

FEW = 10  # positives and negatives that an AUC needs
IMAGES = 240  # of eval and test together
SIDE = 64  # pixels of the compact images
INGEST = {
    "classes": list(DEFAULT_CLASSES),
    "split": "auto",
    "eval_share": 0.15,
    "test_share": 0.2,
}
METHODS = ["mean", "weighted"]
MODELS = {"ensemble": 0.7, "wide": 1.0, "narrow": 1.6}  # noise added to each one's log-odds


def make_run(root: Path, synthetic: bool = True) -> RunFolder:
    """A run of `IMAGES` images, half of them eval, half test, four a patient."""
    artifacts: dict[str, dict[str, str]] = {"Trainer.wide": {}, "Trainer.narrow": {}}
    for number, (name, noise) in enumerate(MODELS.items(), 11):
        node = "Evaluator" if name == "ensemble" else f"Evaluator.{name}"
        folder = root / "artifacts" / node / "evaluation" / str(number)
        if name == "ensemble":
            write_evaluation(folder, root / "work", n=IMAGES, noise=noise)
        else:  # TFMA takes its time
            shutil.copytree(artifacts["Evaluator"]["evaluation"], folder)
        artifacts[node] = {"evaluation": str(folder)}
    evaluation = root / "artifacts" / "Evaluator" / "evaluation" / "11"
    scores = root / "artifacts" / "Ensemble" / "scores" / "9"
    for name, noise in {**MODELS, "probe": 1.3}.items():
        write_scores([_scores(name, split, noise) for split in ("eval", "test")], scores)
    model = root / "artifacts" / "Ensemble" / "model" / "9" / "Format-Serving"
    _write_model(model)
    report = root / "artifacts" / "Ensemble" / "report" / "9"
    report.mkdir(parents=True)
    (report / "ensemble.json").write_text(json.dumps(ensemble_report()))
    artifacts["Ensemble"] = {"scores": str(scores), "report": str(report), "model": str(model)}
    verdict = root / "artifacts" / "Gate" / "verdict" / "12"
    verdict.mkdir(parents=True)
    evidence = Evidence(
        load_evaluation(evaluation, DEFAULT_CLASSES)[CANDIDATE],
        _scores("ensemble", "test", MODELS["ensemble"]),
        _scores("ensemble", "eval", MODELS["ensemble"]),
        floor={"probe": _scores("probe", "eval", 1.3)},
    )
    limits = FinalLimits(min_positive_patients=FEW, must_beat=("probe",), draws=100)
    write_verdict(judge(evidence, limits, name="ensemble", synthetic=synthetic), verdict)
    artifacts["Gate"] = {"verdict": str(verdict)}
    artifacts |= _data(root)
    make_lineage(root / "metadata.sqlite")
    data_dir = root / "xrays"
    data_dir.mkdir()
    return RunFolder(
        root,
        artifacts,
        INGEST,
        data_dir,
        synthetic,
        FEW,
        model=model,
        seconds=90,
        config={"ingest": INGEST, "name": "made"},
    )


def rows(split: str) -> np.ndarray:
    """The indices of a split's images."""
    return np.arange(IMAGES)[0 if split == "eval" else 1 :: 2]


def _table(split: str) -> Table:
    at = rows(split)
    labels, _ = make_rows(IMAGES)
    ages = (at * 7) % 90
    bands = np.minimum(ages // 20 * 20, 80)
    return Table(
        image_id=np.array([f"{i:08d}_000.png" for i in at]),
        patient_id=np.array([f"{split} {i // 8}" for i in at]),
        age=ages,
        sex=np.where(at // 2 % 2 == 0, "F", "M"),
        view=np.where(at // 4 % 2 == 0, "AP", "PA"),
        age_band=np.array(["80+" if b == 80 else f"{b}-{b + 19}" for b in bands]),
        labels=labels[at].astype(np.uint8),
    )


def _scores(name: str, split: str, noise: float) -> Scores:
    _, logits = make_rows(IMAGES, noise=noise)
    logits = logits[rows(split)]
    probabilities = 1 / (1 + np.exp(-logits))
    return Scores(name, DEFAULT_CLASSES, split, True, _table(split), probabilities, logits)


def _write_model(folder: Path) -> None:
    """A SavedModel that looks at the left half of each X-ray, whatever is on it."""
    import tensorflow as tf

    classes = len(DEFAULT_CLASSES)

    class Attention(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def attention(self, image_bytes):
            one = tf.constant([[1.0, 0.0], [1.0, 0.0]])[None, :, :, None]
            n = tf.shape(image_bytes)[0]
            return {
                "attention": tf.tile(one, [n, 1, 1, classes]),
                "probabilities": tf.zeros([n, classes]),
            }

    model = Attention()
    tf.saved_model.save(model, str(folder), signatures={"attention": model.attention})
    scores = _scores("ensemble", "eval", MODELS["ensemble"])
    write_model_json(
        folder,
        ModelJson(
            classes=DEFAULT_CLASSES,
            name="ensemble",
            image_size=SIDE,
            compact=CompactFormat(SIDE, "jpeg", 95),
            members=(Member("wide", "MobileNet", "attention", 1.0),),
            thresholds=class_thresholds(
                DEFAULT_CLASSES, scores.images.labels, scores.probabilities, 0.9, 0.9
            ),
            data="d" * 32,
            code="c" * 32,
            synthetic=True,
        ),
    )


def ensemble_report() -> dict:
    """As the ensemble node writes it."""
    scores = {
        name: dict.fromkeys(DEFAULT_CLASSES, 0.6 + i / 20)
        for i, name in enumerate(["wide", "narrow", *METHODS])
    }
    for aucs in scores.values():
        aucs[DEFAULT_CLASSES[-1]] = None
    member = {"backbone": "MobileNet", "head": "attention", "weight": 0.5}
    return {
        "chosen": "weighted",
        "members": [{"name": "wide", **member}, {"name": "narrow", **member}],
        "left_out": [{"name": "broken", "reason": "its eval gate failed"}],
        "synthetic": True,
        "classes": list(DEFAULT_CLASSES),
        "scores": {"eval": scores, "test": scores},
        "methods": METHODS,
        "eval_note": "cross-fitted",
    }


def _data(root: Path) -> dict[str, dict[str, str]]:
    """Records, compact images, quarantine and the validation's report."""
    import tensorflow as tf

    records = root / "artifacts" / "ImageExampleGen" / "records" / "3"
    compact = root / "artifacts" / "Transform" / "transformed_examples" / "7"
    for split in ("train", "eval", "test"):
        of = "eval" if split == "train" else split
        table = _table(of)
        for folder in (records, compact):
            (folder / f"Split-{split}").mkdir(parents=True)
        with (
            tf.io.TFRecordWriter(str(records / f"Split-{split}" / "data")) as raw,
            tf.io.TFRecordWriter(str(compact / f"Split-{split}" / "data")) as made,
        ):
            for i in range(len(table)):
                patient = str(table.patient_id[i]).replace(of, split)
                on = [n for n, y in zip(DEFAULT_CLASSES, table.labels[i], strict=True) if y]
                known = {
                    "image/id": [str(table.image_id[i])],
                    "patient/id": [patient],
                    "patient/sex": [str(table.sex[i])],
                    "view": [str(table.view[i])],
                    "findings": on,
                }
                feature = {name: _texts(values) for name, values in known.items()}
                feature["patient/age"] = tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[int(table.age[i])])
                )
                raw.write(_example(feature))
                feature = {"image/id": feature["image/id"], "image": _bytes(_jpeg(i))}
                made.write(_example(feature))
    quarantine = root / "artifacts" / "ImageExampleGen" / "quarantine" / "3"
    problems = [Problem("corrupt", "00000009_<b>.png", 12, "its pixels end early")]
    write_report(problems, IMAGES + 1, quarantine)
    validated = root / "artifacts" / "ValidationGate" / "report" / "6"
    validated.mkdir(parents=True)
    distance = {"split": "test", "feature": "view", "value": 0.1, "limit": 0.3}
    (validated / "report.json").write_text(json.dumps({"distances": [distance]}))
    return {
        "ImageExampleGen": {"records": str(records), "quarantine": str(quarantine)},
        "Transform": {"transformed_examples": str(compact)},
        "ValidationGate": {"report": str(validated)},
    }


def _jpeg(i: int) -> bytes:
    y, x = np.mgrid[:SIDE, :SIDE]
    lungs = np.exp(-(((x - SIDE * 0.3) / 9) ** 2 + ((y - SIDE / 2) / 18) ** 2))
    lungs += np.exp(-(((x - SIDE * 0.7) / 9) ** 2 + ((y - SIDE / 2) / 18) ** 2))
    data = io.BytesIO()
    Image.fromarray(np.uint8(190 - 120 * lungs + i % 20)).save(data, "JPEG")
    return data.getvalue()


def _texts(values: list[str]):
    import tensorflow as tf

    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))


def _bytes(value: bytes):
    import tensorflow as tf

    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _example(feature: dict) -> bytes:
    import tensorflow as tf

    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def make_lineage(database: Path) -> None:
    """Three runs in ML Metadata: one judged, one from cache, one that broke before the gate."""
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as proto

    config = proto.ConnectionConfig()
    config.sqlite.filename_uri = str(database)
    config.sqlite.connection_mode = 3  # make it
    store = MetadataStore(config)
    run_type = store.put_context_type(proto.ContextType(name="pipeline_run"))
    node_type = store.put_context_type(proto.ContextType(name="node"))
    kind = proto.ArtifactType(name="cxrflow.Verdict")
    artifact_type = store.put_artifact_type(kind)
    execution_type = store.put_execution_type(
        proto.ExecutionType(name="any", properties={"settings": proto.STRING})
    )
    nodes = {
        name: proto.Context(type_id=node_type, name=f"made.{name}")
        for name in ("ImageExampleGen", "Gate")
    }
    for name, number in zip(nodes, store.put_contexts(list(nodes.values())), strict=True):
        nodes[name].id = number
    verdict = proto.Artifact(type_id=artifact_type, uri="artifacts/Gate/verdict/12")
    verdict.custom_properties["synthetic"].int_value = 1
    (verdict.id,) = store.put_artifacts([verdict])
    states = proto.Execution
    for day, (ingest, gate) in enumerate(
        [(states.COMPLETE, states.COMPLETE), (states.CACHED, states.CACHED), (states.FAILED, None)],
        1,
    ):
        started = datetime(2026, 11, day, 12).isoformat()
        (run,) = store.put_contexts([proto.Context(type_id=run_type, name=started)])
        for name, state in (("ImageExampleGen", ingest), ("Gate", gate)):
            if state is None:
                continue
            one = proto.Execution(type_id=execution_type, last_known_state=state)
            one.properties["settings"].string_value = json.dumps({"data_version": "a1b2" * 8})
            one.custom_properties["code_version"].string_value = "0123456789abcdef"
            (one.id,) = store.put_executions([one])
            store.put_attributions_and_associations(
                [],
                [
                    proto.Association(execution_id=one.id, context_id=context)
                    for context in (run, nodes[name].id)
                ],
            )
            if name == "Gate":
                event = proto.Event(
                    execution_id=one.id, artifact_id=verdict.id, type=proto.Event.OUTPUT
                )
                event.path.steps.add().key = "verdict"
                store.put_events([event])
