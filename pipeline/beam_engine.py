"""An engine that Beam's options name: what of it can be checked before TensorFlow is loaded."""

import os
import shutil
import socket
from collections.abc import Sequence

from cxrflow.pipeline.settings import BeamConfig, runner_of
from cxrflow.schema.errors import CxrflowError

_SECONDS = 10  # to wait for a job server
_NO_ADDRESS = ("", "embed")  # of a job server: one that Beam starts itself
_JAVA = {"flinkrunner", "sparkrunner"}  # runners that start their job server, which is Java's


def last(args: Sequence[str], option: str) -> str:
    """The value that an option has, the last one given; empty where it isn't given."""
    values = [arg.partition("=")[2] for arg in args if arg.partition("=")[0] == option]
    return values[-1] if values else ""


def require(beam: BeamConfig) -> None:
    """Checks the engines of all steps; see `require_answer`."""
    every = {f"beam.nodes.{name}": (*beam.args, *args) for name, args in beam.nodes.items()}
    for setting, args in {"beam.args": beam.args, **every}.items():
        require_answer(args, setting)


def require_answer(args: Sequence[str], setting: str) -> None:
    """Checks that a job server answers where the options name one, or that it can be started.

    Raises:
        CxrflowError: it doesn't answer, none is named where one has to be, there is no Java to
            start it with, or the workers are Google's, which see no root.
    """
    if runner_of(args) == "dataflowrunner":
        raise CxrflowError(
            f"{setting}: Dataflow's workers mount no folder, and the steps read and write files in "
            "root and data: take an engine whose machines mount them"
        )
    address = last(args, "--job_endpoint")
    if address not in _NO_ADDRESS:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
        except (OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CxrflowError(
                f"{setting}: no job server answers at --job_endpoint={address} ({reason}): start "
                "it, or correct the address (HOST:PORT)"
            ) from None
        return
    if runner_of(args) == "portablerunner" and not address:
        raise CxrflowError(
            f"{setting}: --runner={last(args, '--runner')} has no job server of its own: name one "
            "with --job_endpoint=HOST:PORT"
        )
    java = last(args, "--job_server_java_launcher") or "java"
    if (
        runner_of(args) in _JAVA
        and "--flink_submit_uber_jar" not in args
        and not shutil.which(java)
    ):
        raise CxrflowError(
            f"{setting}: --runner={last(args, '--runner')} starts Beam's job server with Java, "
            f"and there is no {java} on this machine: install a JRE (Debian: "
            "default-jre-headless), or name a job server that runs with --job_endpoint"
        )
    for option in ("--flink_job_server_jar", "--spark_job_server_jar"):
        jar = last(args, option)
        if jar and "://" not in jar and not os.path.isfile(jar):
            raise CxrflowError(f"{setting}: {option}={jar}: there is no such file")
