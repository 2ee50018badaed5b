"""The journal: what is on the disk stays, whatever happens."""

import csv
import errno
import os
from pathlib import Path
from typing import Any

import pytest

import bundle as bundles
import results
from tests.edge.bundles import VERSION, model_info, variant


def make_model(point: str = "youden", **info: Any) -> "results.Model":
    described = model_info({"litert_fp32": variant("model_fp32.tflite", "litert")}) | info
    return results.Model(bundles.Bundle("/bundle", VERSION, described, {}), "litert_fp32", point)


MODEL = make_model()
ROWS = [
    MODEL.answer("/x/0.png", [0.5, 0.1234567891, 0.9]),
    MODEL.failure("/x/1.png", "neither a PNG nor a JPEG"),
    MODEL.answer("/x/2, with comma.png", [0.0, 1.0, 0.25]),
]


def fill(folder: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    opened = results.Results(str(folder), MODEL)
    opened.add(rows)
    opened.commit()
    opened.close()


def test_a_row_says_what_the_model_decides() -> None:
    row = ROWS[0]
    assert [one["positive"] for one in row["findings"]] == [True, False, None]
    assert [one["probability"] for one in row["findings"]] == [0.5, 0.1234568, 0.9]
    assert (row["model"], row["version"], row["variant"]) == ("tiny", VERSION, "litert_fp32")
    assert row["synthetic"] is True
    sensitive = make_model("sensitivity").answer("/x/0.png", [0.2, 0.3, 0.9])
    assert [one["threshold"] for one in sensitive["findings"]] == [0.25, 0.25, None]
    specific = make_model("specificity").answer("/x/0.png", [0.2, 0.3, 0.9])
    assert [one["positive"] for one in specific["findings"]] == [None, None, None]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (1.5, "no probability"),
        (-0.1, "no probability"),
    ],
)
def test_what_is_no_probability_is_no_answer(value: float, why: str) -> None:
    row = MODEL.answer("/x/0.png", [0.5, value, 0.5], "0" * 64)
    assert why in row["error"]
    assert not row["sha256"]  # so that it is tried again


def test_the_table_has_a_row_an_image(tmp_path: Path) -> None:
    fill(tmp_path)
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [row["file"] for row in ROWS]
    assert [row["Effusion"] for row in rows] == ["0.1234568", "", "1.0000000"]
    assert [row["positive"] for row in rows] == ["Cardiomegaly", "", "Effusion"]
    assert [row["error"] for row in rows] == ["", "neither a PNG nor a JPEG", ""]
    assert {row["synthetic"] for row in rows} == {"true"}


def test_cut_anywhere_whole_rows_stay_and_the_table_follows(tmp_path: Path) -> None:
    fill(tmp_path)
    journal, table = tmp_path / "results.jsonl", tmp_path / "results.csv"
    whole, lines = journal.read_bytes(), table.read_bytes().splitlines(True)
    ends = [whole.index(b"\n", 0) + 1]
    ends += [whole.index(b"\n", ends[0]) + 1, len(whole)]
    for cut in range(0, len(whole) + 1, 7):
        journal.write_bytes(whole[:cut])
        table.write_bytes(lines[0])
        opened = results.Results(str(tmp_path), MODEL)
        kept = sum(end <= cut for end in ends)
        assert set(opened.done) == {row["file"] for row in ROWS[:kept]}
        assert opened.damaged == (cut not in (0, *ends))
        opened.add(ROWS[kept:])
        opened.commit()
        opened.close()
        assert journal.read_bytes() == whole
        assert table.read_bytes().splitlines(True) == lines


def test_zeros_at_the_end_are_repaired(tmp_path: Path) -> None:
    fill(tmp_path)
    journal = tmp_path / "results.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + bytes(4096))
    results.Results(str(tmp_path), MODEL).close()
    assert journal.read_bytes() == whole


@pytest.mark.parametrize(
    "other",
    [
        make_model("sensitivity"),
        make_model(name="another"),
        make_model(synthetic=False),
    ],
)
def test_results_of_another_model_are_not_mixed(tmp_path: Path, other: "results.Model") -> None:
    fill(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(bundles.Refused, match="holds results of another model"):
        results.Results(str(tmp_path), other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", ["my notes\n", '{"mine": 1}\n', "[]\n"])
def test_a_strangers_file_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.jsonl").write_text(content)
    with pytest.raises(bundles.Refused, match=r"results\.jsonl"):
        results.Results(str(tmp_path), MODEL)
    assert (tmp_path / "results.jsonl").read_text() == content


def test_one_process_writes(tmp_path: Path) -> None:
    first = results.Results(str(tmp_path), MODEL)
    with pytest.raises(bundles.Refused, match=r"another infer\.py writes to"):
        results.Results(str(tmp_path), MODEL)
    first.close()
    results.Results(str(tmp_path), MODEL).close()


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(bundles.Refused, match="can't be written: "):
        results.Results(str(tmp_path / "file"), MODEL)


@pytest.mark.parametrize("half", [0, 10, 400])
def test_a_full_disk_keeps_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: int
) -> None:
    class FullDisk:
        """A file that takes `half` more bytes."""

        def __init__(self, file: Any):
            self._file, self._left = file, half

        def write(self, data: bytes) -> int:
            if not self._left:
                raise OSError(errno.ENOSPC, "No space left on device")
            part = data[: self._left]
            self._left -= len(part)
            return self._file.write(part)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    opened = results.Results(str(tmp_path), MODEL)
    opened.add(ROWS[:1])
    opened.commit()
    monkeypatch.setattr(opened, "_journal", FullDisk(opened._journal))
    opened.add(ROWS[1:])
    with pytest.raises(bundles.Refused, match="the disk is full; the results of 1 images are kept"):
        opened.commit()
    opened.close()
    again = results.Results(str(tmp_path), MODEL)
    assert again.damaged == 0
    assert list(again.rows()) == ROWS[:1]
    assert set(again.done) == {"/x/0.png"}
    again.close()


def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    path = os.fsdecode(b"/x/r\xf6ntgen.png")
    row = MODEL.failure(path, "empty")
    fill(tmp_path, [row])
    again = results.Results(str(tmp_path), MODEL)
    assert results.printable(path) in again.done
    again.close()
    assert r"/x/r\xf6ntgen.png" in (tmp_path / "results.csv").read_text(encoding="utf-8")
