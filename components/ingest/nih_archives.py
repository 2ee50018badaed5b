"""Takes NIH's own archives, as they were fetched from the Clinical Center, out of a folder."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from cxrflow.components.ingest.check import CheckReport, check_folder
from cxrflow.components.ingest.data_card import Archive, DataCard, read_card
from cxrflow.components.ingest.fetch.bounds import ADVICE, Damaged, Unsafe
from cxrflow.components.ingest.fetch.place import Step, counted, require_new, silent, workplace
from cxrflow.components.ingest.fetch.untar import untar
from cxrflow.components.ingest.folder import TABLES, find_folder
from cxrflow.components.ingest.plan import Settings
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import whole_file
from cxrflow.schema.paths import require_mounted, require_replaceable
from cxrflow.schema.progress import report as report_progress
from cxrflow.schema.space import require_space


class Published(NamedTuple):
    """An archive as NIH has it."""

    size: int  # bytes
    md5: str


# The MD5s stand in NIH's FAQ_CHESTXRAY.pdf, question 7; the sizes are those that NIH's server says.
PUBLISHED = {
    f"images_{number:03d}.tar.gz": Published(size, md5)
    for number, size, md5 in (
        (1, 2_008_470_987, "fe8ed0a6961412fddcbb3603c11b3698"),
        (2, 3_952_623_504, "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
        (3, 3_929_234_850, "2301d03bde4c246388bad3876965d574"),
        (4, 3_838_903_983, "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
        (5, 3_935_496_531, "1861f3cd0ef7734df8104f2b0309023b"),
        (6, 3_986_301_172, "456b53a8b351afd92a35bc41444c58c8"),
        (7, 4_016_328_426, "1075121ea20a137b87f290d6a4a5965e"),
        (8, 4_018_347_353, "b61f34cec3aa69f295fbb593cbd9d443"),
        (9, 4_111_327_929, "442a3caa61ae9b64e61c561294d1e183"),
        (10, 4_181_556_296, "09ec81c4c31e32858ad8cf965c494b74"),
        (11, 4_187_084_020, "499aefc67207a5a97692424cf5dbeed5"),
        (12, 2_914_187_733, "dc9fda1757c2de0032b63347a7d2895c"),
    )
}
LISTS = ("train_val_list.txt", "test_list.txt", "BBox_List_2017.csv")
SOURCE = "NIH Clinical Center's archives"
PAGE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"

_BY_MD5 = "NIH's MD5"
_UNPACKED = 1.05  # to packed bytes: PNGs hardly shrink, and the file system takes its share


@dataclass(frozen=True)
class Taken:
    """What came out of a folder of archives."""

    report: CheckReport
    said: tuple[str, ...]  # what is missing, and what isn't as published; a line each


def take(source: Path, to: Path, settings: Settings, step: Step = silent) -> Taken:
    """Verifies and unpacks NIH's archives in `source`, and copies the table and lists to `to`.

    An archive becomes `to/images_001` when all of it is verified. Run again, what is there stays
    and what is missing is added: `to` may be what an earlier call has made, or `source` itself.

    Args:
        source: with images_001.tar.gz to images_012.tar.gz, Data_Entry_2017*.csv and the lists, or
            some of them.
        to: the data folder.
        settings: as for `check_folder`.
        step: is entered around each step, with words for it.

    Raises:
        CxrflowError: there is no archive, one is damaged (the others are unpacked all the same),
            `to` holds something else, is a mounted volume or can't be written, another process
            works there, or the disk is too full.
    """
    require_mounted(source, "--from")
    require_mounted(to, "--to")
    found = _archives(source)
    to = _require_ours(source, to)
    try:
        with workplace(to) as aside:
            _require_ours(source, to)
            return _take(source, found, to, aside, settings, step)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise CxrflowError(
            f"cannot unpack {source} to {to}: {error.strerror or error}{place}; run the command "
            "again to go on from there"
        ) from None


def _archives(source: Path) -> list[Path]:
    if not source.is_dir():
        raise CxrflowError(f"--from {source} is not a folder; it takes one with NIH's archives")
    found = [source / name for name in PUBLISHED if (source / name).is_file()]
    if not found:
        raise CxrflowError(
            f"--from {source} has none of images_001.tar.gz to images_012.tar.gz; NIH has them at "
            f"{PAGE}"
        )
    return found


def _require_ours(source: Path, to: Path) -> Path:
    """`to`, absolute, if it is new, the archives' folder, or what an earlier call has made."""
    require_replaceable(to, "--to")
    absolute = Path(os.path.realpath(to))
    card = read_card(absolute)
    if (card and card.source == SOURCE) or absolute == Path(os.path.realpath(source)):
        return absolute
    return require_new(to)


def _take(
    source: Path, found: list[Path], to: Path, aside: Path, settings: Settings, step: Step
) -> Taken:
    card = read_card(to) or DataCard.today(SOURCE, PAGE)
    left = [path for path in found if not _is_there(path, to, card)]
    for path in left:  # what a killed call left takes no room from what is to come
        shutil.rmtree(aside / _folder(path.name), ignore_errors=True)
    needed = int(_UNPACKED * sum(path.stat().st_size for path in left))
    require_space(aside, needed, f"the files of {len(left)} archives", ADVICE)
    to.mkdir(parents=True, exist_ok=True)
    card = replace(card, table=None)  # until all is there again
    card.write(to)
    faults: list[str] = []
    with step("unpacking"):
        for result in _unpacked(left, to, aside):
            if isinstance(result, Archive):
                card = card.with_archive(result)
                card.write(to)
            else:
                faults.append(str(result))
    if faults:
        raise CxrflowError(f"{'; '.join(faults)}. Fetch it again and repeat the command")
    lacking = _copied(source, to)
    with step("checking"):
        report = check_folder(str(to), settings, whole=False)
    missing = [name for name in PUBLISHED if not (to / _folder(name)).is_dir()] + lacking
    card.with_table(counted(find_folder(to).table, report), missing).write(to)
    return Taken(report, tuple(_said(card, missing)))


def _said(card: DataCard, missing: list[str]) -> Iterator[str]:
    if missing:
        yield f"missing: {', '.join(missing)}"
    others = [one.name for one in card.archives if one.verified != _BY_MD5]
    if others:
        yield (
            f"not of the size that NIH published: {', '.join(others)}; verified by their own "
            "checksums only"
        )


def _folder(archive: str) -> str:
    return archive.partition(".")[0]


def _is_there(path: Path, to: Path, card: DataCard) -> bool:
    """Whether an archive was unpacked before, and all of its images are there still."""
    known = next((one for one in card.archives if one.name == path.name), None)
    if not known or known.bytes != path.stat().st_size:
        return False
    images = to / _folder(path.name) / "images"
    return images.is_dir() and sum(_is_png(name) for name in os.listdir(images)) == known.images


def _is_png(name: str) -> bool:
    return name.lower().endswith(".png")


def _unpacked(left: Sequence[Path], to: Path, aside: Path) -> Iterator[Archive | CxrflowError]:
    """What became of each archive, as they finish; several at the same time."""
    total, done = sum(path.stat().st_size for path in left), 0
    lock = threading.Lock()

    def moved(n: int) -> None:
        nonlocal done
        with lock:
            done += n
        report_progress(done, total, "bytes")

    def unpack(path: Path) -> Archive | CxrflowError:
        try:
            with _new(aside / _folder(path.name)) as folder:
                archive = _verified(path, folder, moved)
                target = to / folder.name
                if target.exists():
                    shutil.rmtree(target)
                os.sync()
                folder.rename(target)
            return archive
        except Unsafe as error:
            return CxrflowError(f"{error}, so that it wasn't unpacked")
        except Damaged as error:
            return error

    pool = ThreadPoolExecutor(os.cpu_count())  # inflating and hashing release the GIL
    try:
        for future in as_completed([pool.submit(unpack, path) for path in left]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """A new folder, which goes if it hasn't been moved away."""
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _verified(path: Path, folder: Path, moved: Callable[[int], None]) -> Archive:
    """Unpacks an archive into a folder, with its images in images/."""
    out = untar(path, folder, moved)
    images = folder / "images"
    if not images.is_dir():  # other than in NIH's
        entries = list(folder.iterdir())
        images.mkdir()
        for entry in entries:
            entry.rename(images / entry.name)
    if not out.images:
        raise Damaged(f"{path.name} has no images")
    size, published = path.stat().st_size, PUBLISHED[path.name]
    if size == published.size and out.md5 != published.md5:
        raise Damaged(f"{path.name} is damaged (its MD5 is {out.md5}, not {published.md5})")
    how = _BY_MD5 if size == published.size else "the archive's own checksum"
    return Archive(path.name, size, out.sha256, out.md5, out.files, out.images, how)


def _copied(source: Path, to: Path) -> list[str]:
    """Copies table and lists; the names of the lists that aren't there.

    Raises:
        CxrflowError: there is no table, or several.
    """
    tables = sorted(source.glob(TABLES[0]))
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise CxrflowError(f"{source} has several tables ({names}); keep one of them")
    if not tables and not any(to.glob(TABLES[0])):
        raise CxrflowError(
            f"{source} has no table {TABLES[0]}, which NIH has beside the archives ({PAGE}): their "
            "images are unpacked; repeat the command when it is there"
        )
    lists = [source / name for name in LISTS]
    if source.resolve() != to.resolve():
        for path in to.glob(TABLES[0]):  # of an earlier call, perhaps by another name
            if tables and path.name != tables[0].name:
                path.unlink()
        for path in filter(Path.is_file, [*tables, *lists]):
            with whole_file(to / path.name, sync=True) as copy:
                shutil.copyfile(path, copy)
    return [path.name for path in lists if not (to / path.name).is_file()]
