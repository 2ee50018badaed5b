"""Writes a phantom set as Kaggle lays NIH ChestX-ray14 out: tables, lists, boxes, images."""

import csv
import json
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2

from cxrflow.components.ingest.phantom.radiograph import Boxes, render
from cxrflow.components.ingest.phantom.table import Study, draw_patient, in_test_list
from cxrflow.schema.classes import NO_FINDING
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import whole_folder
from cxrflow.schema.paths import require_mounted, require_plain, require_replaceable
from cxrflow.schema.progress import report
from cxrflow.schema.space import require_space

MARKER = "SYNTHETIC.json"
TABLE = "Data_Entry_2017.csv"
# Raise it when the same parameters give other bytes than before.
_VERSION = 1
_COLUMNS = [
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
]
# Kaggle's header splits one name at its comma, and ends with a column without name or content.
_COLUMNS += [
    "View Position",
    "OriginalImage[Width",
    "Height]",
    "OriginalImagePixelSpacing[x",
    "y]",
    "",
]
_BOX_COLUMNS = ["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]", "", "", ""]
# The classes NIH's radiologists drew boxes for, under the names of BBox_List_2017.csv.
_BOXED = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Effusion": "Effusion",
    "Infiltration": "Infiltrate",
    "Mass": "Mass",
    "Nodule": "Nodule",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}
_BYTES_PER_IMAGE = 450_000
# Matching strings in noise costs time and finds none.
_PNG = [
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
]
_CHUNK = 8  # images a worker takes at a time


def write_phantoms(
    out: Path,
    patients: int,
    seed: int,
    prevalence_scale: float = 1.0,
    min_severity: float = 0.0,
    workers: int | None = None,
) -> int:
    """Writes a phantom set into the folder `out`; returns its number of images.

    The images are 1024x1024 8-bit grey PNGs. Patient k of a seed is the same in sets of any size
    and with any number of workers (default: one a processor), to the byte with the same versions of
    NumPy and OpenCV. `prevalence_scale` multiplies the share of images with each finding, up to
    `table.MAX_PREVALENCE`; severities lie evenly between `min_severity` (0: just visible) and 1.
    The folder appears only once it is whole. Where it already holds the set of the same parameters,
    nothing is done.

    Raises CxrflowError for parameters out of range, a folder that holds something else or is a
    mounted volume, or a disk that is full or not writable.
    """
    _check(patients, seed, prevalence_scale, min_severity, workers)
    require_mounted(out, "--to")
    out = Path(os.path.realpath(out))
    require_plain(out, "--to")
    parameters = {
        "patients": patients,
        "seed": seed,
        "prevalence_scale": float(prevalence_scale),
        "min_severity": float(min_severity),
    }
    drawn = [draw_patient(seed, k, prevalence_scale) for k in range(1, patients + 1)]
    studies = [study for visits in drawn for study in visits]
    try:
        if _already_there(out, parameters, studies):
            return len(studies)
        with _beside(out, len(studies)) as folder:
            tested = in_test_list([len(visits) for visits in drawn])
            test = {s.image for visits, t in zip(drawn, tested, strict=True) if t for s in visits}
            boxes = _write_images(folder / "images", studies, seed, min_severity, workers)
            _write_tables(folder, studies, test, boxes)
            _write_marker(folder, parameters, len(studies))
    except OSError as error:
        raise CxrflowError(
            f"cannot write phantoms to {out}: {error.strerror or error}; "
            "choose a writable folder with room"
        ) from error
    return len(studies)


def _check(
    patients: int, seed: int, prevalence_scale: float, min_severity: float, workers: int | None
) -> None:
    if not 1 <= patients <= 99_999_999:
        raise CxrflowError(f"patients is {patients}: give a number from 1 to 99999999")
    if seed < 0:
        raise CxrflowError(f"seed is {seed}: give 0 or a positive number")
    if not (math.isfinite(prevalence_scale) and prevalence_scale > 0):
        raise CxrflowError(
            f"prevalence scale is {prevalence_scale}: give a number above 0, for example 1 or 4"
        )
    if not 0 <= min_severity <= 1:
        raise CxrflowError(f"min severity is {min_severity}: give a number from 0 to 1")
    if workers is not None and workers < 1:
        raise CxrflowError(f"workers is {workers}: give 1 or more")


def _already_there(out: Path, parameters: dict, studies: list[Study]) -> bool:
    """Whether `out` holds this very set; False for nothing, CxrflowError for anything else."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise CxrflowError(f"{out} is a file: give a folder for the phantoms")
    try:
        if not any(out.iterdir()):
            return False
        marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
        # Earlier sets don't name a severity: they have them all.
        made = {"min_severity": 0.0, **marker["parameters"]}
        same = marker["version"] == _VERSION and made == parameters
    except OSError as error:
        raise CxrflowError(
            f"{out} is not empty and no phantom set: choose another folder"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CxrflowError(
            f"{out / MARKER} is damaged: remove {out} or choose another folder"
        ) from error
    if not same:
        raise CxrflowError(
            f"{out} holds phantoms of other parameters or another version: "
            "remove it or choose another folder"
        )
    expected = {study.image for study in studies}
    present = (
        {entry.name for entry in os.scandir(out / "images")} if (out / "images").is_dir() else set()
    )
    if present != expected or not (out / TABLE).is_file():
        raise CxrflowError(
            f"{out} holds a phantom set with files missing or added: remove it and run again"
        )
    return True


@contextmanager
def _beside(out: Path, images: int) -> Iterator[Path]:
    """An empty folder next to `out`, locked against another run, which takes its place."""
    require_replaceable(out, "--to")
    out.parent.mkdir(parents=True, exist_ok=True)
    advice = "make room or ask for fewer patients"
    require_space(out.parent, images * _BYTES_PER_IMAGE, f"{images} phantoms", advice)
    with ExitStack() as stack:
        aside = out.parent / f".{out.name}.partial"
        try:
            folder = stack.enter_context(whole_folder(out, aside, alone=True))
        except BlockingIOError as error:
            raise CxrflowError(
                f"another run is writing {out} now: wait or choose another folder"
            ) from error
        yield folder


def _write_images(
    folder: Path, studies: list[Study], seed: int, min_severity: float, workers: int | None
) -> dict[str, Boxes]:
    """Renders and writes every study in worker processes; returns the boxes by image name."""
    folder.mkdir()
    jobs = [
        (folder, studies[i : i + _CHUNK], seed, min_severity)
        for i in range(0, len(studies), _CHUNK)
    ]
    boxes: dict[str, Boxes] = {}
    # Spawned, not forked: the caller may run threads, and a fork would copy their locks.
    pool = ProcessPoolExecutor(
        max_workers=min(workers or os.cpu_count() or 1, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        for part in pool.map(_write_chunk, jobs):
            boxes.update(part)
            report(len(boxes), len(studies))
    except BrokenProcessPool as error:
        raise CxrflowError(
            "a process that draws phantoms was killed, likely for memory: use fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return boxes


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the pool
    cv2.setNumThreads(1)  # one process a processor
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_chunk(job: tuple[Path, list[Study], int, float]) -> dict[str, Boxes]:
    folder, studies, seed, min_severity = job
    boxes = {}
    for study in studies:
        image, boxes[study.image] = render(study, seed, min_severity)
        _, png = cv2.imencode(".png", image, _PNG)
        (folder / study.image).write_bytes(png.tobytes())
    return boxes


def _write_tables(
    folder: Path, studies: list[Study], test: set[str], boxes: dict[str, Boxes]
) -> None:
    rows, box_rows = [], []
    for s in studies:
        width, height, spacing = s.detector
        labels = "|".join(s.findings) or NO_FINDING
        about = [s.follow_up, s.patient, s.age, s.sex, s.view, width, height, spacing, spacing, ""]
        rows.append([s.image, labels, *about])
        if s.image in test:
            box_rows += [
                [s.image, _BOXED[name], *(round(v, 3) for v in box), "", "", ""]
                for name, places in boxes[s.image].items()
                if name in _BOXED
                for box in places
            ]
    for name, header, body in (
        (TABLE, _COLUMNS, rows),
        ("BBox_List_2017.csv", _BOX_COLUMNS, box_rows),
    ):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *body])
    for name, chosen in (("test_list.txt", True), ("train_val_list.txt", False)):
        images = [s.image for s in studies if (s.image in test) is chosen]
        (folder / name).write_text("".join(f"{image}\n" for image in images), encoding="utf-8")


def _write_marker(folder: Path, parameters: dict, images: int) -> None:
    marker = {
        "synthetic": True,
        "note": "Synthetic radiographs with planted findings, for demos and tests only.",
        "made_by": "cxrflow data phantom",
        "version": _VERSION,
        "parameters": parameters,
        "images": images,
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
