"""What Beam is told, by all data steps and by single ones. Imports Beam and TFX."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.runner import create_runner
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from cxrflow.pipeline import beam_engine, beam_workers
from cxrflow.pipeline.settings import BeamConfig, is_remote, runner_of
from cxrflow.schema.errors import CxrflowError, did_you_mean

# Environments whose workers have all packages: TFX would build an archive of itself for each step.
_COMPLETE = ("EXTERNAL", "LOOPBACK", "PROCESS")
_NO_ARCHIVE = "--sdk_container_image=none"
_DATAFLOW = {
    "--project": "the Google Cloud project",
    "--region": "where it runs, such as europe-west4",
    "--temp_location": "a folder of a bucket, gs://BUCKET/FOLDER",
    "--sdk_container_image": "the image that the Dockerfile's target beam makes",
}


def of_pipeline(beam: BeamConfig) -> list[str]:
    """Returns Beam's options of every step with Beam.

    Raises:
        CxrflowError: Beam doesn't know one of `beam.args`, or the runner isn't to be had or lacks
            an option.
    """
    args = _all(beam)
    _require_runner(args, "beam.args")
    return args


def _all(beam: BeamConfig) -> list[str]:
    _require_known(beam.args, "beam.args")
    workers = [f"--direct_num_workers={beam.workers}"]
    if any(arg.startswith("--runner=") for arg in beam.args):
        complete = beam_engine.last(beam.args, "--environment_type") in _COMPLETE
        return [*workers, *([_NO_ARCHIVE] if complete else []), *beam.args]
    # DirectRunner would first try to download a Go binary, and wait where packets are dropped.
    runner = beam_workers.RUNNER if beam.workers > 1 else "FnApiRunner"
    # TFX would build an archive of itself for each step, for workers that need none here.
    return [f"--runner={runner}", *workers, _NO_ARCHIVE, *beam.args]


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
        _require_runner([*_all(beam), *args], f"beam.nodes.{name}")
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


def _require_runner(args: Sequence[str], setting: str) -> None:
    """Raises CxrflowError for a runner that isn't there, that loses data, or lacks an option."""
    name, kind = beam_engine.last(args, "--runner"), runner_of(args)
    if kind == "daskrunner":
        raise CxrflowError(
            f"{setting}: Beam's DaskRunner reads no files, and computes only the last branch of a "
            "step without saying so: take PortableRunner or FlinkRunner"
        )
    if kind == "dataflowrunner":
        for option, meaning in _DATAFLOW.items():
            if not beam_engine.last(args, option):
                raise CxrflowError(f"{setting}: Dataflow needs {option}=…: {meaning}")
    try:
        runner = create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise CxrflowError(f"{setting}: there is no --runner={name} here: {reason}") from None
    options = PipelineOptions(list(args))
    check = PipelineOptionsValidator(options, runner)
    # All that `validate` looks at for Dataflow, but for the bucket, which it asks over the network.
    wrong = (
        check.validate_cloud_options(options.view_as(GoogleCloudOptions))
        + check.validate_gcs_path(options.view_as(GoogleCloudOptions), "temp_location")
        + check.validate_num_workers(options.view_as(WorkerOptions))
        if kind == "dataflowrunner"
        else check.validate()
    )
    if wrong:
        raise CxrflowError(f"{setting}: {wrong[0]}")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong instead of ending the process."""

    def __init__(self, setting: str) -> None:
        super().__init__(allow_abbrev=False, add_help=False, prog=setting)
        self._setting = setting

    def error(self, message: str) -> NoReturn:
        raise CxrflowError(f"{self._setting}: {message}")
