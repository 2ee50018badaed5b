"""What Beam is told, by all data steps and by single ones. Imports Beam and TFX."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from cxrflow.pipeline.settings import BeamConfig, is_remote
from cxrflow.schema.errors import CxrflowError, did_you_mean


def of_pipeline(beam: BeamConfig) -> list[str]:
    """Of every step with Beam.

    Raises:
        CxrflowError: Beam doesn't know one of `beam.args`.
    """
    _require_known(beam.args, "beam.args")
    workers = [f"--direct_num_workers={beam.workers}"]
    if any(arg.startswith("--runner=") for arg in beam.args):
        return [*workers, *beam.args]
    # DirectRunner would first try to download a Go binary, and wait where packets are dropped.
    own = ["--runner=FnApiRunner", *workers]
    # TFX would build an archive of itself for each step, for workers that need none here.
    own.append(
        "--direct_running_mode=multi_processing"
        if beam.workers > 1
        else "--sdk_container_image=none"
    )
    return [*own, *beam.args]


def to_nodes(beam: BeamConfig, nodes: Sequence[Any]) -> None:
    """Adds `beam.nodes` to the nodes that they name; what is said there last wins.

    Raises:
        CxrflowError: there is no such node, it runs without Beam, or Beam doesn't know an option.
    """
    by_id = {node.id: node for node in nodes}
    on_beam = [
        name
        for name, node in by_id.items()
        if isinstance(getattr(node, "executor_spec", None), BeamExecutorSpec)
    ]
    for name, args in beam.nodes.items():
        if name not in by_id:
            raise CxrflowError(f"beam.nodes.{name}: no such node{did_you_mean(name, on_beam)}")
        if name not in on_beam:
            raise CxrflowError(
                f"beam.nodes.{name}: this node runs without Beam; {', '.join(on_beam)} have it"
            )
        _require_known(args, f"beam.nodes.{name}")
        by_id[name].executor_spec.add_beam_pipeline_args(list(args))


def _require_known(args: Sequence[str], setting: str) -> None:
    parser = _Parser(setting)
    # As PipelineOptions.get_all_options does it: the classes register as they are imported.
    for kind in {str(kind): kind for kind in PipelineOptions.__subclasses__()}.values():
        kind._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(args))
    known = [option for action in parser._actions for option in action.option_strings]
    for arg in unknown:
        name = arg.partition("=")[0]
        similar = get_close_matches(name, known, n=1, cutoff=0.85)
        if not similar and is_remote(args):
            continue  # a job server may know it
        meant = f", did you mean {similar[0]}?" if similar else ""
        raise CxrflowError(f"{setting}: Beam has no option {name}{meant}")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong instead of ending the process."""

    def __init__(self, setting: str) -> None:
        super().__init__(allow_abbrev=False, add_help=False, prog=setting)
        self._setting = setting

    def error(self, message: str) -> NoReturn:
        raise CxrflowError(f"{self._setting}: {message}")
