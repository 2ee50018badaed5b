"""results.jsonl and results.csv: a row an image, kept through a power cut.

results.jsonl is the journal: rows are added whole and synced, and a run begins with those that are
there. results.csv is made from it.
"""

import csv
import errno
import fcntl
import io
import json
import os
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence

from bundle import Bundle, Refused, reason

JSON_LINES, CSV = "results.jsonl", "results.csv"
SYNTHETIC = "the model was trained on synthetic X-rays: its answers say nothing about real ones"
_COMMIT_SECONDS = 1.0  # between two syncs; what a power cut may cost
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Model:
    """What all rows of a run have in common."""

    def __init__(self, bundle: Bundle, variant: str, point: str):
        """`point` names the operating point of model.json whose thresholds decide."""
        info = bundle.info
        self.classes = list(info["classes"])  # type: List[str]
        points = bundle.thresholds(variant)
        chosen = [(points.get(name) or {}).get(point) or {} for name in self.classes]
        self.thresholds = [one.get("threshold") for one in chosen]  # type: List[Optional[float]]
        self.synthetic = bool(info.get("synthetic"))
        self.common = {
            "model": info.get("name", ""),
            "version": bundle.version,
            "variant": variant,
            "operating_point": point,
            "synthetic": self.synthetic,
        }  # type: Dict[str, Any]

    def answer(self, path: str, probabilities: Sequence[float]) -> Dict[str, Any]:
        """The row of an image with its probabilities, [C]."""
        if not all(0 <= p <= 1 for p in probabilities):
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
        return dict(file=printable(path), **self.common, findings=findings)

    def failure(self, path: str, why: str) -> Dict[str, Any]:
        """The row of an image without an answer."""
        return dict(file=printable(path), **self.common, error=why)

    def csv_header(self) -> str:
        """The columns: a probability a class, and the names of the positive ones."""
        return _csv_line(["file", *list(self.common), *self.classes, "positive", "error"])

    def csv_line(self, row: Dict[str, Any]) -> str:
        """A row of results.jsonl as one of results.csv."""
        findings = row.get("findings", [])
        values = [format(one["probability"], ".7f") for one in findings]
        positive = [one["class"] for one in findings if one["positive"]]
        common = [str(row[key]).lower() if key == "synthetic" else row[key] for key in self.common]
        return _csv_line(
            [row["file"]]
            + common
            + (values or [""] * len(self.classes))
            + ["|".join(positive), row.get("error", "")]
        )


class Results:
    """The two files of a folder, open for one process."""

    def __init__(self, folder: str, model: Model):
        """Opens or makes them; what a power cut left half-written goes.

        Raises:
            Refused: another process writes to them, they hold another model's results, or the
                folder can't be written.
        """
        self.folder, self._model = folder, model
        self.done = set()  # type: Set[str]  # the rows' files
        self.repaired = 0  # bytes that were dropped from the journal's end
        self._waiting = []  # type: List[Dict[str, Any]]
        self._committed_at = time.monotonic()
        try:
            os.makedirs(folder, exist_ok=True)
            # Unbuffered, so that a failed write leaves nothing behind to be written later.
            self._journal = open(os.path.join(folder, JSON_LINES), "ab+", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise Refused(f"{folder} can't be written: {reason(error)}") from error
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._journal.close()
            raise Refused(
                f"another infer.py writes to {folder}: wait for it, or name another --out"
            ) from None
        try:
            self._table = self._repaired_table()
        except OSError as error:
            self._journal.close()
            raise self._refused(error) from error
        except Refused:
            self._journal.close()
            raise

    def add(self, rows: List[Dict[str, Any]]) -> None:
        """Adds rows; they are on the disk after at most a second's further rows, or `commit`.

        Raises Refused if the disk is full or fails; the rows before are kept.
        """
        self._waiting += rows
        if time.monotonic() - self._committed_at >= _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Puts all added rows on the disk. Raises Refused as `add` does."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        end = os.fstat(self._journal.fileno()).st_size
        try:
            _write(self._journal, "".join(_json_line(row) for row in rows))
        except OSError as error:
            self._cut(end)
            raise self._refused(error) from error
        self.done.update(row["file"] for row in rows)
        try:
            _write(self._table, "".join(self._model.csv_line(row) for row in rows))
        except OSError as error:
            raise self._refused(error) from error
        self._committed_at = time.monotonic()

    def rows(self) -> Iterator[Dict[str, Any]]:
        """All that are on the disk, in their order."""
        with open(os.path.join(self.folder, JSON_LINES), "rb") as journal:
            for line in journal:
                yield json.loads(line.decode())

    def close(self) -> None:
        """Without a commit."""
        self._table.close()
        self._journal.close()  # ends the lock too

    def _repaired_table(self) -> Any:
        """Reads the journal, cuts a half-written end off and writes the table anew."""
        path = os.path.join(self.folder, CSV)
        whole = 0
        with written_aside(path) as aside, open(aside, "wb") as table:
            table.write(_encode(self._model.csv_header()))
            with open(self._journal.name, "rb") as journal:
                for line in journal:
                    row = _parse(line)
                    if row is None and (whole or not line.endswith(b"\n")):
                        break  # a row that was being written
                    if row is None or not self._is_ours(row):
                        raise Refused(
                            f"{self._journal.name} holds results of another model, variant or"
                            " operating point: name another --out"
                        )
                    table.write(_encode(self._model.csv_line(row)))
                    self.done.add(row["file"])
                    whole += len(line)
            table.flush()
            os.fsync(table.fileno())
        self.repaired = os.fstat(self._journal.fileno()).st_size - whole
        self._cut(whole)
        _sync_folder(self.folder)
        return open(path, "ab", buffering=0)

    def _is_ours(self, row: Dict[str, Any]) -> bool:
        return {key: row.get(key) for key in self._model.common} == self._model.common

    def _cut(self, size: int) -> None:
        os.ftruncate(self._journal.fileno(), size)

    def _refused(self, error: OSError) -> Refused:
        what = "the disk is full" if error.errno in _FULL else reason(error)
        return Refused(
            f"{self.folder}: {what}; the results of {len(self.done)} images are kept, and the same"
            " command goes on from there"
        )


@contextmanager
def written_aside(path: str) -> Iterator[str]:
    """Another path to write to, which takes this one's place at the end, or goes if that fails."""
    aside = path + ".part"
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        if os.path.exists(aside):
            os.unlink(aside)
        raise


def printable(path: str) -> str:
    """A path as UTF-8 text whatever the locale; what isn't UTF-8 stays as surrogates."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def _parse(line: bytes) -> Optional[Dict[str, Any]]:
    """A row of the journal; None if it isn't one or isn't whole."""
    try:
        row = json.loads(line.decode())
    except ValueError:
        return None
    return row if isinstance(row, dict) and line.endswith(b"\n") else None


def _json_line(row: Dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def _csv_line(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _write(file: Any, text: str) -> None:
    """Writes to an unbuffered file and syncs. Raises OSError."""
    rest = _encode(text)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
