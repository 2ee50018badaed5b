"""`cxrflow predict`: asks, shows progress, prints, and says what was left out."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from cxrflow.pipeline.streams import drop, say
from cxrflow.pipeline.terminal import progress_bar
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.progress import report
from cxrflow.schema.text import visible, written
from cxrflow.serving.client import Client, ClientConfig, Failure, GaveUp, Result
from cxrflow.serving.client.files import Found, Skipped, find_images
from cxrflow.serving.client.output import (
    FORMATS,
    csv_lines,
    json_array,
    json_lines,
    table,
    with_same_classes,
)
from cxrflow.serving.client.resume import RESUMABLE, Before, form_of, opened, read_before

_NAMED = 3  # files named of those that were skipped for the same reason


def predict(
    images: Iterable[Path], config: ClientConfig, form: str = "", resume: Path | None = None
) -> int:
    """Prints a result for each image; returns how many failed.

    What may be an image and can't be read is a failed one. What else a folder holds is told on
    stderr, and isn't counted as failed.

    Args:
        images: files and folders.
        config: the client's.
        form: one of FORMATS; default: table, or what the name of `resume` says.
        resume: a file that the results go to; what an earlier run left there is gone on with.

    Raises:
        CxrflowError: no server or no such model, before anything is sent; an unknown format; a
            file that can't be gone on with; the output can't be written any more; the client gave
            up, with everything written that was answered.
    """
    form = form or (form_of(resume) if resume else "table")
    if form not in FORMATS:
        raise CxrflowError(f"--format {form}: name one of {', '.join(FORMATS)}")
    if form == "csv" and config.attention:
        raise CxrflowError("--attention: a map doesn't fit into CSV; use --format json or table")
    if resume and form not in RESUMABLE.values():
        raise CxrflowError(f"--resume goes on with csv or jsonl, not with --format {form}")
    with Client(config) as client, ExitStack() as stack:
        version = client.check()
        found = find_images(images)
        out = sys.stdout  # the bar takes sys.stdout
        before = Before()
        if resume:
            data, begin = stack.enter_context(opened(resume))
            before = read_before(data, form, resume)
            _require_same_model(before, config, version, resume)
            out = begin(before)
        asked = _Asked(client, found, before, same_classes=form == "csv")
        # A bar would be drawn between lines that go to the same terminal.
        quiet = form != "table" and out.isatty()
        bar = nullcontext() if quiet else progress_bar("predicting")
        if form == "table":
            _print_table(asked, out, bar)
        else:
            with bar:
                _print_lines(_lines(asked, form, before), asked, out)
        out.flush()
    _summarize(asked, [skipped for skipped in found.skipped if not skipped.bad])
    if asked.gave_up:
        left = asked.total - asked.done
        again = "the same command" if resume else "--resume FILE"
        rest = f"; {left:,} of {asked.total:,} weren't asked: {again} goes on" if left else ""
        raise CxrflowError(f"{asked.gave_up}{rest}")
    return asked.failed


def _require_same_model(before: Before, config: ClientConfig, version: int, path: Path) -> None:
    """So that a file doesn't silently mix what can't be compared.

    Raises:
        CxrflowError: other answers than those in the file would be appended.
    """
    if not before.answered:
        return
    if before.model != config.model:
        raise CxrflowError(
            f"--resume {path}: it has answers of the model {before.model}, not of {config.model}; "
            "name another file"
        )
    if before.version != version:
        raise CxrflowError(
            f"--resume {path}: it has answers of version {before.version}, and version {version} "
            f"would answer now: give --version {before.version}, or name another file"
        )
    if before.attention != config.attention:
        has, option = ("", "give") if before.attention else ("no ", "leave out")
        raise CxrflowError(f"--resume {path}: it has {has}attention maps: {option} --attention")


def _lines(asked: "_Asked", form: str, before: Before) -> Iterator[str]:
    if form == "csv":
        return csv_lines(asked, before.classes)
    return (json_array if form == "json" else json_lines)(asked)


class _Asked:
    """The results of all that was found and isn't answered yet, counted as they come."""

    def __init__(self, client: Client, found: Found, before: Before, same_classes: bool):
        self._client, self._classes, self._same_classes = client, before.classes, same_classes
        self._images = [p for p in found.images if written(str(p)) not in before.answered]
        self._bad = [skipped for skipped in found.skipped if skipped.bad]
        self.known = len(found.images) - len(self._images)
        self.total = len(self._images) + len(self._bad)
        self.done = self.failed = 0
        self.gave_up = ""  # why

    def __iter__(self) -> Iterator[Result]:
        results = self._results()
        if self._same_classes:
            results = with_same_classes(results, self._classes)
        for result in results:
            self.done += 1
            self.failed += isinstance(result, Failure)
            report(self.done, self.total)
            yield result

    def _results(self) -> Iterator[Result]:
        try:
            yield from self._client.predict_all(self._images)
        except GaveUp as error:  # what was answered is written to its end
            self.gave_up = str(error)
            return
        for skipped in self._bad:
            yield Failure(str(skipped.path), skipped.reason)


def _print_table(asked: _Asked, out: TextIO, bar: AbstractContextManager[object]) -> None:
    """Prints what there is, also where Ctrl-C ends it."""
    results: list[Result] = []
    try:
        with bar:
            for result in asked:
                results.append(result)
    finally:
        console = Console(file=out)
        for part in table(results):
            console.print(part, soft_wrap=isinstance(part, Text))


def _print_lines(lines: Iterable[str], asked: _Asked, out: TextIO) -> None:
    """Prints each line as it comes, whole or not at all where the output is a file."""
    written, size = 0, _file_size(out)
    for line in lines:
        if out.isatty():
            line = "\n".join(map(visible, line.split("\n")))
        try:
            out.write(line)
            out.flush()
        except BrokenPipeError:  # the reader has seen enough
            raise
        except OSError as error:
            if size is not None:
                with suppress(OSError):
                    os.ftruncate(out.fileno(), size)
            drop(out)
            raise CxrflowError(
                f"the output can't be written any more: {error.strerror}; "
                f"it has {written:,} of {asked.total:,} results, each whole"
            ) from None
        written, size = asked.done, _file_size(out)


def _file_size(out: TextIO) -> int | None:
    """Bytes of the file that the output goes to; None if it is none."""
    with suppress(OSError):  # a stream without a file descriptor
        status = os.fstat(out.fileno())
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    return None


def _summarize(asked: _Asked, skipped: Sequence[Skipped]) -> None:
    """Says what was left out, a line a reason."""
    if asked.known:
        say(f"{asked.known:,} were answered already")
    if skipped or (asked.failed and asked.total > 1):
        say(f"{asked.done - asked.failed:,} of {asked.total:,} answered, {asked.failed:,} failed")
    for reason in dict.fromkeys(one.reason for one in skipped):
        paths = [str(one.path) for one in skipped if one.reason == reason]
        more = [f"{len(paths) - _NAMED:,} more"] if len(paths) > _NAMED else []
        say(f"skipped {len(paths):,}: {reason} ({', '.join(paths[:_NAMED] + more)})")
