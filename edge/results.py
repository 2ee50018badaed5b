"""results.jsonl and results.csv: a row an image, kept through a power cut.

results.jsonl is the journal: rows are added whole and synced, and a run begins with those that are
there. results.csv is made from it. A row belongs to a file's name and content.
"""

import csv
import errno
import hashlib
import io
import json
import os
import time
from contextlib import ExitStack
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

import journal
from bundle import Bundle, Refused, reason
from writing import lock, written_aside

JSON_LINES, CSV, SUMMARY = "results.jsonl", "results.csv", "summary.json"
AUC, ROC = "auc.csv", "roc.png"
SYNTHETIC = "the model was trained on synthetic X-rays: its answers say nothing about real ones"
NOT_FINITE = "the network's answer is not finite"
MARK = ("Software", "cxrflow infer.py")  # a text chunk in the plots, which are no X-rays
START = 512  # bytes that tell what a file is
_UNLIKE = ("out_of_distribution", "out_of_distribution_score")  # of a row
_LARGEST = 3.4e38  # about float32's; JSON has no infinity
_COMMIT_SECONDS = 1.0  # between two syncs; what a power cut may cost
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Model:
    """What all rows of a run have in common."""

    def __init__(self, bundle: Bundle, variant: str, point: str, engine: str = ""):
        """`point` names the operating point of model.json whose thresholds decide; `engine` what
        runs the variant.
        """
        info = bundle.info
        self.classes = list(info["classes"])  # type: List[str]
        points = bundle.thresholds(variant)
        chosen = [(points.get(name) or {}).get(point) or {} for name in self.classes]
        self.thresholds = [one.get("threshold") for one in chosen]  # type: List[Optional[float]]
        self.usual_score = bundle.usual_score
        self.synthetic = bool(info.get("synthetic"))
        self.common = {
            "model": info.get("name", ""),
            "version": bundle.version,
            "bundle": _digest(bundle),
            "variant": variant,
            "engine": engine,
            "operating_point": point,
            "synthetic": self.synthetic,
        }  # type: Dict[str, Any]

    def answer(
        self,
        path: str,
        probabilities: Union[Sequence[float], np.ndarray],
        sha256: str = "",
        score: Optional[float] = None,
    ) -> Dict[str, Any]:
        """The row of a file of this content with its probabilities, [C].

        `score` is how unlike the training X-rays it is; None where the bundle doesn't tell.
        """
        values = np.asarray(probabilities, float)
        if not np.isfinite(values).all():
            return self.failure(path, NOT_FINITE)
        if values.min() < 0 or values.max() > 1:
            return self.failure(path, "the network's output is no probability")
        findings = [
            {
                "class": name,
                "probability": round(float(p), 7),
                "threshold": threshold,
                "positive": None if threshold is None else bool(p >= threshold),
            }
            for name, p, threshold in zip(self.classes, probabilities, self.thresholds)
        ]
        row = dict(file=printable(path), sha256=sha256, **self.common, findings=findings)
        if score is not None and self.usual_score is not None:
            row["out_of_distribution"] = bool(score > self.usual_score)
            row["out_of_distribution_score"] = float(format(min(score, _LARGEST), ".7g"))
        return row

    def failure(self, path: str, why: str, sha256: str = "") -> Dict[str, Any]:
        """The row of a file without an answer; without `sha256` it is tried again next time."""
        return dict(file=printable(path), sha256=sha256, **self.common, error=why)

    def has_made(self, row: Dict[str, Any]) -> bool:
        """Whether a row is this model's."""
        return {key: row.get(key) for key in self.common} == self.common

    def csv_header(self) -> str:
        """The columns: a probability a class, the names of the positive ones, and 1 where the image
        may be no chest X-ray like those of the training.
        """
        last = ["positive", *_UNLIKE, "error"]
        return _csv_line(["file", "sha256", *list(self.common), *self.classes, *last])

    def csv_line(self, row: Dict[str, Any]) -> str:
        """A row of results.jsonl as one of results.csv."""
        findings = row.get("findings", [])
        values = [format(one["probability"], ".7f") for one in findings]
        positive = [one["class"] for one in findings if one["positive"]]
        common = [str(row[key]).lower() if key == "synthetic" else row[key] for key in self.common]
        return _csv_line(
            [_readable(row["file"]), row["sha256"]]
            + common
            + (values or [""] * len(self.classes))
            + ["|".join(positive), *(_number(row.get(name)) for name in _UNLIKE)]
            + [row.get("error", "")]
        )


class Results:
    """The two files of a folder, open for one process."""

    def __init__(self, folder: str, model: Model):
        """Opens or makes them. Damaged rows go, and of an image's rows all but the last.

        Raises:
            Refused: another process writes to them, they hold another model's results, or the
                folder can't be written.
        """
        self.folder, self._model = folder, model
        self.done = {}  # type: Dict[str, str]  # of each row's file what it was: see `content_of`
        self.damaged = 0  # lines of the journal that weren't as they were written
        self._waiting = []  # type: List[Dict[str, Any]]
        self._committed_at = time.monotonic()
        self._path = os.path.join(folder, JSON_LINES)
        with ExitStack() as opened:
            try:
                os.makedirs(folder, exist_ok=True)
                opened.callback(os.close, _locked(folder))
                self._journal = self._opened(JSON_LINES)
                opened.callback(lambda: self._journal.close())
                self._table = self._opened(CSV)
                opened.callback(lambda: self._table.close())
            except OSError as error:
                raise Refused(f"{folder} can't be written: {reason(error)}") from error
            try:
                self._repair(frozenset())
            except OSError as error:
                raise self._refused(error) from error
            self.close = opened.pop_all().close  # without a commit

    def drop(self, files: Iterable[str]) -> None:
        """Takes rows out, those of files that have changed. Raises Refused if the disk is full."""
        try:
            self._repair(frozenset(files))
        except OSError as error:
            raise self._refused(error) from error

    def add(self, rows: List[Dict[str, Any]]) -> None:
        """Adds rows; they are on the disk after at most a second's further rows, or `commit`.

        Raises Refused if the disk is full or fails; the rows before are kept.
        """
        self._waiting += rows
        if time.monotonic() - self._committed_at >= _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Puts all added rows on the disk. Raises Refused as `add` does."""
        rows = self._waiting
        if not rows:
            return
        end = os.fstat(self._journal.fileno()).st_size
        try:
            _write(self._journal, b"".join(journal.to_line(row) for row in rows))
        except BaseException as error:
            os.ftruncate(self._journal.fileno(), end)
            if isinstance(error, OSError):
                self._waiting = []
                raise self._refused(error) from error
            raise
        self._waiting = []
        self.done.update((row["file"], content_of(row)) for row in rows)
        try:
            _write(self._table, _encode("".join(self._model.csv_line(row) for row in rows)))
        except OSError as error:
            raise self._refused(error) from error
        self._committed_at = time.monotonic()

    def rows(self) -> Iterator[Dict[str, Any]]:
        """All that are on the disk, in their order."""
        with open(os.path.join(self.folder, JSON_LINES), "rb") as file:
            for line in journal.read_lines(file):
                if line.row is not None:
                    yield line.row

    def _opened(self, name: str) -> Any:
        # Unbuffered, so that a failed write leaves nothing behind to be written later.
        return open(os.path.join(self.folder, name), "ab", buffering=0)

    def _repair(self, unwanted: FrozenSet[str]) -> None:
        """Leaves one whole row an image, none of those unwanted, and writes the table anew."""
        places, lines = self._last_lines()
        for file in unwanted:
            places.pop(file, None)
        if len(places) < lines:
            path = self._path
            with open(path, "rb") as old, written_aside(path) as aside, open(aside, "wb") as copy:
                for start, size in places.values():
                    old.seek(start)
                    copy.write(old.read(size) + b"\n")
            self._journal.close()
            self._journal = self._opened(JSON_LINES)
        self.done = {file: self.done[file] for file in places}
        with written_aside(os.path.join(self.folder, CSV)) as aside, open(aside, "wb") as table:
            table.write(_encode(self._model.csv_header()))
            for row in self.rows():
                table.write(_encode(self._model.csv_line(row)))
        self._table.close()
        self._table = self._opened(CSV)

    def _last_lines(self) -> Tuple[Dict[str, Tuple[int, int]], int]:
        """The place of each file's last row in the journal, and how much there is in it."""
        places = {}  # type: Dict[str, Tuple[int, int]]
        lines, damaged = 0, 0
        with open(self._path, "rb") as file:
            for line in journal.read_lines(file):
                lines += 1
                if line.row is None:
                    damaged += 1
                    continue
                if not self._model.has_made(line.row):
                    raise Refused(
                        f"{self._path} holds results of another model, variant, engine or operating"
                        " point: name another --out"
                    )
                places[line.row["file"]] = line.start, line.size
                self.done[line.row["file"]] = content_of(line.row)
        if damaged and not places and not self._is_ours():
            raise Refused(
                f"{self._path} isn't a file of infer.py, or nothing in it is whole: name another"
                " --out, or delete it"
            )
        if not places and os.path.getsize(os.path.join(self.folder, CSV)) and not self._is_ours():
            raise Refused(
                f"{os.path.join(self.folder, CSV)} isn't a file of infer.py: name another --out"
            )
        self.damaged += damaged
        return places, lines

    def _is_ours(self) -> bool:
        """Whether a journal without a whole row is: a table of such a model lies beside it."""
        header = _encode(self._model.csv_header())
        with open(os.path.join(self.folder, CSV), "rb") as table:
            return table.read(len(header)) == header

    def _refused(self, error: OSError) -> Refused:
        what = "the disk is full" if error.errno in _FULL else reason(error)
        return Refused(
            f"{self.folder}: {what}; the results of {len(self.done)} images are kept, and the same"
            " command goes on from there"
        )


def content_of(row: Dict[str, Any]) -> str:
    """What a row is about: the SHA-256 of the file, or why it couldn't be read."""
    return row.get("sha256") or row.get("error", "")


def printable(path: str) -> str:
    """A path as UTF-8 text whatever the locale; what isn't UTF-8 stays as surrogates."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def made_here(start: bytes) -> bool:
    """Whether a file that begins so is a plot that was made here."""
    return b"tEXt" + "\0".join(MARK).encode() in start


def _readable(path: str) -> str:
    """A path for a table, which must be UTF-8: other bytes as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _number(value: Any) -> str:
    """A number or a truth value in a table; empty for None."""
    return "" if value is None else format(float(value), ".7g")


def _digest(bundle: Bundle) -> str:
    """Tells a bundle from others of the same version."""
    files = json.dumps([bundle.version, bundle.sha256], sort_keys=True)
    return hashlib.sha256(files.encode()).hexdigest()[:16]


def _locked(folder: str) -> int:
    """A handle whose closing ends the lock. Raises Refused if another process has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle)
    except BlockingIOError:
        os.close(handle)
        raise Refused(
            f"another infer.py writes to {folder}: wait for it, or name another --out"
        ) from None
    except OSError:  # a file system without locks
        pass
    return handle


def _csv_line(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    # With both characters to end a line, values that have either are quoted.
    csv.writer(buffer, lineterminator="\r\n").writerow(values)
    return buffer.getvalue()[:-2] + "\n"


def _encode(text: str) -> bytes:
    return text.encode("utf-8")


def _write(file: Any, content: bytes) -> None:
    """Writes to an unbuffered file and syncs. Raises OSError."""
    rest = content
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())
