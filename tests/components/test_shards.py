"""Shards of a step that may be killed at any moment."""

from pathlib import Path

import pytest

from cxrflow.components.shards import Shards, open_shards
from cxrflow.schema.errors import CxrflowError

NAMES = ("Split-eval/data-0", "Split-train/data-0", "Split-train/data-1")


@pytest.fixture
def opened(tmp_path: Path) -> Shards:
    return open_shards(str(tmp_path / "node" / "examples" / "7"), ("full", "light"), ["c", 1])


def write(shards: Shards, name: str) -> None:
    with shards.writing(name) as (files, note):
        for file in files:
            Path(file).write_text(f"{name} in {Path(file).name}")
        note["of"] = name


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_shards_are_handed_over_whole_and_nothing_else_is_left(opened, tmp_path):
    for name in NAMES:
        assert opened.note_if_whole(name) is None
        write(opened, name)
        assert opened.note_if_whole(name) == opened.note(name) == {"of": name}
    outputs = {
        tree: tmp_path / "node" / out / "7" for tree, out in zip(opened.trees, "ab", strict=True)
    }
    outputs["full"].mkdir(parents=True)  # as TFX does
    opened.hand_over({tree: str(path) for tree, path in outputs.items()})
    for tree, path in outputs.items():
        for name in NAMES:
            assert (path / name).read_text() == f"{name} in {tree}"
    kept = everything(tmp_path / "node")
    assert len(kept) == 2 + 2 + 2 * (2 + len(NAMES)) + 1  # outputs, "7", splits, files, examples
    assert (tmp_path / "node" / "examples").is_dir() and "examples/unfinished" not in kept


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "notes" / NAMES[1]).unlink(),
        lambda folder: (folder / "notes" / NAMES[1]).write_text('{"sums": ['),
        lambda folder: (folder / "notes" / NAMES[1]).write_text("[]"),
        lambda folder: (folder / "light" / NAMES[1]).unlink(),
        lambda folder: (folder / "full" / NAMES[1]).write_text("Split-train/data-0 in ful"),
        lambda folder: (folder / "full" / NAMES[1]).write_text("Split-train/data-0 in fulL"),
    ],
    ids=["no note", "half a note", "no note at all", "a file lacks", "cut short", "a bit flipped"],
)
def test_what_is_not_whole_is_written_again(opened, damage):
    for name in NAMES:
        write(opened, name)
    damage(Path(opened.folder))
    assert opened.note_if_whole(NAMES[1]) is None
    assert opened.note_if_whole(NAMES[0]) == {"of": NAMES[0]}
    write(opened, NAMES[1])
    assert opened.note_if_whole(NAMES[1]) == {"of": NAMES[1]}


def test_an_attempt_that_breaks_leaves_nothing_and_the_other_one_counts(opened):
    with opened.writing(NAMES[0]) as (first, _), opened.writing(NAMES[0]) as (second, note):
        assert not {*first} & {*second}
        note["of"] = "both write the same"
        for file in (*first, *second):
            Path(file).write_text("content")
    with pytest.raises(OSError, match="full"), opened.writing(NAMES[1]) as (files, _):
        Path(files[0]).write_text("half")
        raise OSError("the disk is full")
    assert opened.note_if_whole(NAMES[0]) == {}  # of the one that ended last
    assert opened.note_if_whole(NAMES[1]) is None
    assert everything(Path(opened.folder, "attempts")) == []
    assert opened.kept() == 2 * len("content")
    (opened._place("notes", "Split-eval/data-9")).write_text("")  # what a power cut may leave
    assert opened.kept() == 2 * len("content")


def test_the_next_attempt_takes_its_own_shards_and_clears_the_rest(opened, tmp_path):
    write(opened, NAMES[0])
    Path(opened.folder, "attempts", "killed").mkdir()
    output = str(tmp_path / "node" / "examples" / "8")
    again = open_shards(output, opened.trees, ["c", 1])
    assert again == opened and again.note_if_whole(NAMES[0]) == {"of": NAMES[0]}
    assert everything(Path(again.folder, "attempts")) == []
    other = open_shards(output, opened.trees, ["c", 2])  # other settings, code or inputs
    assert other.note_if_whole(NAMES[0]) is None and not Path(opened.folder).exists()


def test_a_shard_that_a_worker_wrote_elsewhere(opened):
    with pytest.raises(
        CxrflowError, match=r"isn't below .*: do Beam's workers see the same folder"
    ):
        opened.note(NAMES[0])
