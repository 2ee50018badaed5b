"""The command line with a pipeline that does nothing but make noise as TFX does; quick to start.

python tests/pipeline/fake_tfx.py run --data DIR --root ROOT ...; FAKE_TFX says how it ends:
"" runs all nodes, "cached" none, "broken" raises in one, "ours" raises a CxrflowError, "full" says
that the disk is full, "vanished"
removes the run's folder, "waiting" waits in one.
"""

import os
import shutil
import subprocess
import sys
import time
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from cxrflow.components.evaluate.results import ClassResult
from cxrflow.components.evaluate.verdict import ClassVerdict, Verdict, write_verdict
from cxrflow.pipeline.cli.main import main
from cxrflow.schema import progress
from cxrflow.schema.classes import DEFAULT_CLASSES
from cxrflow.schema.errors import CxrflowError

NODES = (
    "RecipeCheck",
    "ImageExampleGen",
    "Trainer.a_member_with_quite_a_long_name",
    "Trainer.lse",
    "Gate",
    "Pusher",
)
NOISE = 200  # lines a node, a third each through absl, Python and file descriptors
MODE = os.environ.get("FAKE_TFX", "")


@dataclass
class Component:
    id: str


@dataclass
class Pipeline:
    components: list[Component] = field(default_factory=lambda: [Component(n) for n in NODES])


def create_pipeline(*_: object, **__: object) -> Pipeline:
    from absl import logging  # its handler keeps the sys.stderr of this moment, as in a real run

    logging.set_verbosity(logging.INFO)
    logging.info("noise while wiring")
    return Pipeline()


def run(pipeline: Pipeline, engine: str) -> None:
    from absl import logging

    for node in pipeline.components:
        logging.info("Component %s is running.", node.id)
        for i in range(NOISE // 4):
            logging.info("noise of absl %s %d", node.id, i)
            print(f"noise of Python {node.id} {i}")
            warnings.warn(f"noise of warnings {node.id} {i}", stacklevel=1)
            os.write(2, f"noise of C {node.id} {i}\n".encode())
            progress.report(i + 1, NOISE // 4)
        subprocess.run(["sh", "-c", f"echo noise of a child {node.id} >&2"], check=True)
        if node.id == NODES[2]:
            _end_badly()
        if MODE == "cached":
            logging.info("A cached execution 7 is used.")
        logging.info("Component %s is finished.", node.id)


def _end_badly() -> None:
    if MODE == "broken":
        raise RuntimeError("the step's own words\nand more of them")
    if MODE == "ours":
        raise CxrflowError("see artifacts/ImageExampleGen/stopped/3/quarantine.csv")
    if MODE == "full":
        try:
            raise OSError(28, "No space left on device", "epoch-0001.weights.h5")
        except OSError as error:
            raise RuntimeError("Execution 3 failed") from error
    if MODE == "vanished":
        shutil.rmtree(Path.cwd())
        Path("artifacts/x").write_text("")
    if MODE == "waiting":
        print("now waiting", flush=True)
        time.sleep(60)


def outputs(pipeline: Pipeline) -> object:
    folders = {
        "ImageExampleGen": {"quarantine": "artifacts/ImageExampleGen/quarantine/3"},
        "Gate": {"verdict": "artifacts/Gate/verdict/9"},
        NODES[2]: {"model": f"artifacts/{NODES[2]}/model/5", "model_run": "artifacts/x/5"},
        NODES[3]: {"model": f"artifacts/{NODES[3]}/model/6", "model_run": "artifacts/y/6"},
    }
    gate = Path(folders["Gate"]["verdict"])  # inside the root, as a real run
    gate.mkdir(parents=True, exist_ok=True)
    write_verdict(verdict(), gate)
    cached = [*NODES] if MODE == "cached" else []
    executed = [node for node in NODES if node not in cached]
    pushed = "serving/cxrflow/1700000000"
    return types.SimpleNamespace(
        executed=executed, cached=cached, artifacts=folders, pushed=pushed, edge=""
    )


def verdict() -> Verdict:
    classes = [
        ClassVerdict(
            ClassResult(name, 30, 90, 0.9, 0.7, 0.25, 0.25, 1.0, 0.1, 0.8, 0.02, 0.03, 0.11),
            "passed" if i else "not judged",
            "" if i else "2 positive patients in the test split, 20 needed",
            0.5,
            positive_patients=25 if i else 2,
        )
        for i, name in enumerate(DEFAULT_CLASSES)
    ]
    return Verdict(
        "m",
        "test",
        True,
        (),
        True,
        tuple(classes),
        0.9,
        "",
        {},
        summary="Blessed: 12 of 13 classes were judged.",
        judged_by=("12 classes alone",),
        not_judged=("Atelectasis: 2 positive patients", "sex F: too few"),
    )


if __name__ == "__main__":
    sys.modules["cxrflow.pipeline.dag"] = types.SimpleNamespace(create_pipeline=create_pipeline)
    sys.modules["cxrflow.pipeline.beam_workers"] = types.SimpleNamespace(prepare=lambda _: None)
    sys.modules["cxrflow.pipeline.engines"] = types.SimpleNamespace(
        begin=lambda pipeline, *_: pipeline, run=run, outputs=outputs
    )
    main()
