"""Runs a node's executor on folders that it can open. Imports TFX.

TFX is launched inside the root, with paths relative to it, so that the root can be moved, or with
artifacts in a bucket. Executors get local copies of these; a Beam worker in another process works
in another folder, and gets absolute paths.
"""

import copy
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attr
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.orchestration.portable.python_executor_operator import PythonExecutorOperator
from tfx.types import Artifact

from cxrflow.components import storage
from cxrflow.components.resume import until_safe
from cxrflow.pipeline import beam_engine
from cxrflow.pipeline.beam_failures import explained
from cxrflow.pipeline.settings import is_remote
from cxrflow.schema.files import sync_folder

Artifacts = Mapping[str, Sequence[Artifact]]
_FOLDERS = ("tmp_dir", "execution_output_uri", "stateful_working_dir")


class PythonOperator(PythonExecutorOperator):  # type: ignore[misc]  # Any to mypy, as all of TFX
    """TFX's own, on local copies."""

    def run_executor(self, execution_info: Any) -> Any:
        """See PythonExecutorOperator."""
        return on_copies(execution_info, super().run_executor)


class BeamOperator(BeamExecutorOperator):  # type: ignore[misc]
    """TFX's own, on local copies, and for runners whose workers are elsewhere."""

    def run_executor(self, execution_info: Any, make_beam_pipeline_fn: Any = None) -> Any:
        """See BeamExecutorOperator; what comes back has relative paths again."""

        def run(info: Any) -> Any:
            return super(BeamOperator, self).run_executor(info, make_beam_pipeline_fn)

        def elsewhere(info: Any) -> Any:
            try:
                return _on_absolute(info, run)
            except Exception as error:
                if (found := explained(error)) is error:
                    raise
                raise found from error

        args = [arg.value.string_value for arg in self.beam_pipeline_args]
        if not is_remote(args):
            return on_copies(execution_info, run)
        beam_engine.require_answer(args, "beam")
        return on_copies(execution_info, elsewhere)


def on_copies(info: Any, run: Callable[[Any], Any]) -> Any:
    """Runs an executor; what it needs of a bucket is fetched, and what it wrote is put there.

    Where that fails the outputs go, but what the step has to go on from stays for the next attempt.

    Args:
        info: TFX's ExecutionInfo.
        run: takes it, and gives the ExecutorOutput.
    """
    outputs = [one.uri for several in info.output_dict.values() for one in several]
    inputs = [one.uri for several in info.input_dict.values() for one in several]
    if not any(map(storage.is_remote, [*inputs, *outputs])):
        output = run(info)
        _sync(map(Path, outputs))
        return output
    for uri in inputs:
        storage.fetch(uri)
    copies = {uri: storage.local(uri) for uri in outputs if storage.is_remote(uri)}
    scratch = Path(storage.ARTIFACTS, info.pipeline_node.node_info.id, ".system")
    for folder in (*copies.values(), scratch):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with until_safe():
            moved = _moved(info, lambda uri: str(storage.local(uri)), partial(_below, scratch))
            output = run(moved)
            _sync(copies.values())
            for uri, folder in copies.items():
                storage.put(folder, uri)
    except BaseException:
        for folder in copies.values():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _rename(output, {str(folder): uri for uri, folder in copies.items()})
    return output


def _sync(outputs: Iterable[Path]) -> None:
    """Brings a node's outputs to the disk, before ML Metadata says that they are there."""
    for folder in filter(Path.is_dir, outputs):
        sync_folder(folder)


def _on_absolute(info: Any, run: Callable[[Any], Any]) -> Any:
    output = run(_moved(info, os.path.abspath, lambda path: _with_end(path, os.path.abspath)))
    for artifacts in output.output_artifacts.values():
        for artifact in artifacts.artifacts:
            artifact.uri = _relative(artifact.uri)
    return output


def _moved(info: Any, artifact: Callable[[str], str], folder: Callable[[str], str]) -> Any:
    """Returns the execution with its artifacts and its own folders elsewhere."""
    return attr.evolve(
        info,
        input_dict=_copied(info.input_dict, artifact),
        output_dict=_copied(info.output_dict, artifact),
        **{name: folder(getattr(info, name)) for name in _FOLDERS},
    )


def _copied(artifacts: Artifacts, place: Callable[[str], str]) -> dict[str, list[Artifact]]:
    """Copies of artifacts that say they lie elsewhere."""
    found: dict[str, list[Artifact]] = {}
    for name, several in artifacts.items():
        found[name] = []
        for one in several:
            found[name].append(copy.deepcopy(one))
            found[name][-1].uri = place(one.uri)
    return found


def _rename(output: Any, uris: Mapping[str, str]) -> None:
    """Gives an executor's output its artifacts' own URIs, or ones below these."""
    for artifacts in output.output_artifacts.values():
        for artifact in artifacts.artifacts:
            folder = next((f for f in uris if Path(artifact.uri).is_relative_to(f)), None)
            if folder is not None:
                artifact.uri = uris[folder] + artifact.uri.removeprefix(folder)


def _below(scratch: Path, uri: str) -> str:
    """Where in the root a node's `.system` folder lies, or what is in it; it is made."""
    if not storage.is_remote(uri):
        return uri
    place = scratch / uri.partition("/.system/")[2]
    (place if uri.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
    return _with_end(uri, lambda _: str(place))


def _with_end(path: str, place: Callable[[str], str]) -> str:
    """Elsewhere, with the slash at the end that it may have."""
    return place(path).rstrip("/") + ("/" if path.endswith("/") else "")


def _relative(path: str) -> str:
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(path).is_relative_to(here) else path
