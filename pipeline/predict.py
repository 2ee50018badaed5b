"""`cxrflow predict`: asks, shows progress, prints, and says what was left out."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from components.progress import report
from pipeline.streams import drop, say
from pipeline.terminal import progress_bar
from schema.errors import CxrflowError
from schema.text import visible
from serving.client import Client, ClientConfig, Failure, Result
from serving.client.files import Found, Skipped, find_images
from serving.client.output import FORMATS, csv_lines, json_lines, table, with_same_classes

_NAMED = 3  # files named of those that were skipped for the same reason


def predict(images: Iterable[Path], config: ClientConfig, form: str) -> int:
    """Prints a result for each image; returns how many failed.

    What may be an image and can't be read is a failed one. What else a folder holds is told on
    stderr, and isn't counted as failed.

    Raises:
        CxrflowError: no server or no such model, before anything is sent; an unknown format; the
            output can't be written any more.
    """
    if form not in FORMATS:
        raise CxrflowError(f"--format {form}: name one of {', '.join(FORMATS)}")
    if form == "csv" and config.attention:
        raise CxrflowError("--attention: a map doesn't fit into CSV; use --format json or table")
    out = sys.stdout  # the bar takes sys.stdout
    with Client(config) as client:
        client.check()
        found = find_images(images)
        asked = _Asked(client, found, same_classes=form == "csv")
        # A bar would be drawn between lines that go to the same terminal.
        quiet = form != "table" and out.isatty()
        bar = nullcontext() if quiet else progress_bar("predicting")
        if form == "table":
            _print_table(asked, out, bar)
        else:
            lines = (json_lines if form == "json" else csv_lines)(asked)
            with bar:
                _print_lines(lines, asked, out)
    out.flush()
    _summarize(asked, [skipped for skipped in found.skipped if not skipped.bad])
    return asked.failed


class _Asked:
    """The results of all that was found, counted as they come."""

    def __init__(self, client: Client, found: Found, same_classes: bool):
        self._client, self._images, self._same_classes = client, found.images, same_classes
        self._bad = [skipped for skipped in found.skipped if skipped.bad]
        self.total = len(self._images) + len(self._bad)
        self.done = self.failed = 0

    def __iter__(self) -> Iterator[Result]:
        results = self._results()
        for result in with_same_classes(results) if self._same_classes else results:
            self.done += 1
            self.failed += isinstance(result, Failure)
            report(self.done, self.total)
            yield result

    def _results(self) -> Iterator[Result]:
        yield from self._client.predict_all(self._images)
        for skipped in self._bad:
            yield Failure(str(skipped.path), skipped.reason)


def _print_table(asked: _Asked, out: TextIO, bar: AbstractContextManager) -> None:
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
    if skipped or (asked.failed and asked.total > 1):
        say(f"{asked.done - asked.failed:,} of {asked.total:,} answered, {asked.failed:,} failed")
    for reason in dict.fromkeys(one.reason for one in skipped):
        paths = [str(one.path) for one in skipped if one.reason == reason]
        more = [f"{len(paths) - _NAMED:,} more"] if len(paths) > _NAMED else []
        say(f"skipped {len(paths):,}: {reason} ({', '.join(paths[:_NAMED] + more)})")
