"""A pipeline of plain nodes, which TFX launches as it does any; none needs TensorFlow.

    Source -> Part.a, Part.b, Part.c -> Join

A node `name` appends what it does to `trace` in the root, with its process, the time and the GPUs
that it sees, and fails where there is a file `fail-<name>`; it waits `seconds` while its output is
half-written. With a number in a file `meet` a Part waits until so many have begun.
"""

import hashlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.orchestration.pipeline import Pipeline
from tfx.types.artifact import Artifact
from tfx.types.channel import union

from cxrflow.components.node import Artifacts, Input, Node, Output, read_settings
from cxrflow.pipeline import dag, engines, gpus, ir, made_with, parallel
from cxrflow.pipeline.config import to_dict
from cxrflow.pipeline.history import Outputs
from cxrflow.pipeline.holding import only_run_in
from cxrflow.pipeline.metadata_server import root_id
from cxrflow.pipeline.output import console_on
from cxrflow.pipeline.record import Origin
from cxrflow.pipeline.run import inside
from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.pipeline.terminal import NodeDisplay
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.settings import settings
from tests.pipeline.test_dag import FACTS

TINY = PipelineConfig(name="tiny")
ORIGIN = Origin(to_dict(TINY), "data", True)
NODES = ["Source", "Part.a", "Part.b", "Part.c", "Join"]


@settings
class TinySettings:
    """Settings of every node."""

    name: str
    seconds: float = 0


class Text(Artifact):
    """A folder with one line of text."""

    TYPE_NAME = "TinyText"


class Executor(BaseExecutor):
    """Writes a hash of its name and of what comes in."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        wanted = read_settings(TinySettings, exec_properties)
        trace("begin", wanted.name)
        came = sorted((Path(a.uri) / "text").read_text() for a in input_dict.get("texts", []))
        text = hashlib.sha256("".join([wanted.name, *came]).encode()).hexdigest()
        (output,) = output_dict["text"]
        part = Path(output.uri, ".text.part")
        part.write_text(text[:10])
        time.sleep(wanted.seconds)
        meet(wanted.name)
        if Path(f"fail-{wanted.name}").exists():
            raise CxrflowError(f"{wanted.name} was told to fail")
        part.write_text(text)
        os.replace(part, Path(output.uri, "text"))
        trace("end", wanted.name)


class Tiny(Node):
    """A node of any number of inputs."""

    EXECUTOR = Executor
    SETTINGS = TinySettings

    texts: Input[Text] | None
    text: Output[Text]


def meet(name: str) -> None:
    """Waits for other Parts."""
    if not name.startswith("Part") or not Path("meet").exists():
        return
    wanted, until = int(Path("meet").read_text()), time.monotonic() + 120
    while Path("trace").read_text().count("begin Part") < wanted:
        if time.monotonic() > until:
            raise CxrflowError(f"{name} runs alone")
        time.sleep(0.05)


def trace(*words: object) -> None:
    """Appends a line to the root's trace, whole."""
    with open("trace", "a") as file:
        file.write(
            " ".join(
                map(
                    str,
                    (*words, os.getpid(), time.monotonic(), os.environ.get(gpus.VISIBLE, "all")),
                )
            )
            + "\n"
        )


def create(seconds: float = 0, config: PipelineConfig = TINY) -> Pipeline:
    """The pipeline, with paths relative to its root, which is the folder that is worked in."""

    def node(name: str, *before: Tiny) -> Tiny:
        came = union([one.outputs["text"] for one in before]) if before else None
        made = Tiny(TinySettings(name=name, seconds=seconds), "code-1", texts=came)
        return made.with_id(name)

    source = node("Source")
    parts = [node(f"Part.{letter}", source) for letter in "abc"]
    facts = replace(FACTS, root_id=root_id(config.metadata, Path()))
    return dag.assemble(config, [source, *parts, node("Join", *parts)], Path(), facts)


def compile_to(file: Path, config: PipelineConfig = TINY) -> None:
    """Writes it as `cxrflow compile` does; the root is the folder that is worked in."""
    made_of = replace(ORIGIN, config=to_dict(config), made_with=made_with.here())
    ir.write(engines.prepared(create(0, config), Path.cwd(), made_of), file)


def run(root: Path, seconds: float = 0, jobs: int = 1, config: PipelineConfig = TINY) -> Outputs:
    """Runs it as `cxrflow run --jobs` runs a profile's pipeline."""
    with only_run_in(root), inside(root):
        made_of = replace(ORIGIN, config=to_dict(config))
        begun = engines.begin(create(seconds, config), root, made_of)
        if jobs == 1:
            engines.run(begun, "local")
        else:
            upstream = engines.upstream(begun)
            work = parallel.Work(begun.SerializeToString(), upstream, root, root / "logs")
            display = NodeDisplay(console_on(sys.stderr), NODES)
            with display.attached():
                parallel.run(work, jobs, display)
        return engines.outputs(begun)
