"""What the files for clusters have in common: one command a node, and names that clusters take."""

import hashlib
import re
import shlex
import sys
from pathlib import Path

SECRET = "cxrflow"  # Kubernetes' Secret of which the nodes' environment is taken
_LONGEST = 63  # characters of a Kubernetes name that is used as a label, too


def node_command(program: list[str], file: Path, run_id: str, node: str) -> list[str]:
    """The command that runs a node, with its log on the output."""
    return [*program, "node", "--pipeline", str(file), "--run-id", run_id, "--verbose", node]


def own_program() -> list[str]:
    """`cxrflow` of this environment, for machines that see it at the same place."""
    script = Path(sys.executable).with_name("cxrflow")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "cxrflow.pipeline.cli"]


def quoted(command: list[str], *variables: str) -> str:
    """A command as shell text, in which `$NAME` of these variables stays a variable."""
    text = shlex.join(command)
    for name in variables:
        text = text.replace(f"'${name}'", f'"${name}"')
    return text


def object_name(*parts: str) -> str:
    """A name for an object of Kubernetes, of lower-case letters, digits and hyphens.

    Where it would be longer than Kubernetes allows, its end is a hash of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    if len(name) <= _LONGEST:
        return name
    end = f"-{short_hash(*parts)}"
    return name[: _LONGEST - len(end)].rstrip("-") + end


def short_hash(*parts: str) -> str:
    """Eight hexadecimal digits that other parts don't have."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
