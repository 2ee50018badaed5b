"""Image files in folders, found by what they hold; nothing is left out without a reason."""

import os
import stat
import struct
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from bundle import Refused, reason
from results import JSON_LINES, ROC, START, made_here

PNG_START, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"

# Why a file or folder is left out. These may hold an image, and somebody should look at them:
DICOM = "a DICOM: the device reads PNG and JPEG; `cxrflow predict` reads it on the host"
OTHER_FORMAT = "a {}: PNG and JPEG are accepted"
BROKEN_LINK = "a link to nothing"
UNREADABLE = "can't be read: {}"
NO_IMAGES = "a folder without PNG or JPEG files"
# These don't:
NO_IMAGE = "no image"
NO_FILE = "no regular file"
HIDDEN = "hidden"
OURS = "a result of infer.py"
SEEN = "a link to a folder that was looked at already"

_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif")
_OTHERS = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"GIF8", "GIF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)
# Value representations, PS3.5 section 6.2: what stands behind a tag if they are explicit.
_REPRESENTATIONS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)


class Skipped(NamedTuple):
    """A file or folder that is left out."""

    path: str
    why: str  # the same words for the same reason
    bad: bool  # it may hold an image


class Found(NamedTuple):
    """What there is below some paths, each path once, in the order of the search."""

    images: List[str]
    skipped: List[Skipped]


def find_images(paths: Iterable[str]) -> Found:
    """Files as they are given; of folders the PNGs and JPEGs, recursively, by name.

    Contents decide, not suffixes, but what is named as an image is one, if a bad one, and so is a
    file that can't be read. Folders are entered once; links to them after all others.

    Raises:
        Refused: a path isn't there, can't be read or is neither file nor folder, or there is no
            image.
    """
    paths = list(paths)
    found: Dict[str, Optional[Skipped]] = {}  # None: an image
    seen = set()  # type: Set[Tuple[int, int]]
    for path in map(os.path.abspath, paths):
        try:
            mode = os.stat(path).st_mode
            below = _search(path, seen) if stat.S_ISDIR(mode) else None
        except OSError as error:
            why = reason(error)
            missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
            raise Refused(
                f"{path}: there is no such file or folder" if missing else f"{path}: {why}"
            ) from error
        if below is None:
            if not stat.S_ISREG(mode):
                raise Refused(f"{path} is neither a file nor a folder")
            found[path] = None
            continue
        for child, skipped in below:
            found.setdefault(child, skipped)
        if all(skipped and not skipped.bad and skipped.why != SEEN for _, skipped in below):
            found[path] = Skipped(path, NO_IMAGES, True)
    images = [path for path, skipped in found.items() if skipped is None]
    left_out = [skipped for skipped in found.values() if skipped]
    if not images:
        bad = [f"{one.path} is {one.why}" for one in left_out if one.bad and one.why != NO_IMAGES]
        raise Refused(
            "no PNG or JPEG in {}{}".format(", ".join(paths), f" ({bad[0]})" if bad else "")
        )
    return Found(images, left_out)


def _search(top: str, seen: Set[Tuple[int, int]]) -> List[Tuple[str, Optional[Skipped]]]:
    """Every file below a folder. Raises OSError if the folder itself can't be read."""
    found = []  # type: List[Tuple[str, Optional[Skipped]]]
    waiting, links = [top], []  # type: List[str], List[str]
    while waiting or links:
        # Of a folder that is linked to, too, the path without a link is the one people know.
        is_link = not waiting
        folder = links.pop(0) if is_link else waiting.pop()
        try:
            status = os.stat(folder)
            identity = status.st_dev, status.st_ino
            if identity in seen:
                found.append((folder, Skipped(folder, SEEN, False)))
                continue
            names = sorted(os.listdir(folder))
        except OSError as error:
            if folder == top:
                raise
            found.append((folder, Skipped(folder, UNREADABLE.format(reason(error)), True)))
            continue
        seen.add(identity)
        folders = []
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith("."):
                found.append((path, Skipped(path, HIDDEN, False)))
            elif not os.path.isdir(path):
                found.append((path, _why_not(path)))
            elif os.path.islink(path):
                links.append(path)
            else:
                folders.append(path)
        waiting += reversed(folders)
    return found


def _why_not(path: str) -> Optional[Skipped]:
    """Why a file found in a folder is no image; None if it is one."""
    name = os.path.basename(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            return Skipped(path, NO_FILE, False)
        with open(path, "rb") as file:
            start = file.read(START)
    except FileNotFoundError:
        return Skipped(path, BROKEN_LINK, True)
    except OSError:
        return None  # reading it gives the reason
    if made_here(start) or _is_result(path):
        return Skipped(path, OURS, False)
    if start.startswith((PNG_START[:4], JPEG_START)):
        return None
    if _is_dicom(start):
        return Skipped(path, DICOM, True)
    kind = _other_format(start)
    if kind:
        return Skipped(path, OTHER_FORMAT.format(kind), True)
    return None if name.lower().endswith(_SUFFIXES) else Skipped(path, NO_IMAGE, False)


def _is_result(path: str) -> bool:
    """Whether it is the plot of a folder of results; what else lies there is no image."""
    folder, name = os.path.split(path)
    return name in (ROC, ROC + ".part") and os.path.isfile(os.path.join(folder, JSON_LINES))


def _is_dicom(start: bytes) -> bool:
    """With the marker behind a preamble, or a data set that begins right away."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack_from(order + "HHI", start)
        first = group == 2 or (group == 8 and element < 0x1000)
        if first and (start[4:6] in _REPRESENTATIONS or 0 < length <= 1024):
            return True
    return False


def _other_format(start: bytes) -> str:
    """The name of an image format that isn't accepted, "" for what is none."""
    if start.startswith(b"BM") and start[6:10] == bytes(4):
        return "BMP"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    return next((kind for magic, kind in _OTHERS if start.startswith(magic)), "")


def totals(skipped: Iterable[Skipped]) -> Iterator[Tuple[str, List[str]]]:
    """Paths by reason, the bad ones first."""
    by_reason: Dict[str, List[str]] = {}
    for one in sorted(skipped, key=lambda one: not one.bad):
        by_reason.setdefault(one.why, []).append(one.path)
    return iter(by_reason.items())
