"""Runs a bundle's network over X-rays, offline.

    python3 infer.py IMAGE|FOLDER... --out DIR [--labels CSV]
    python3 infer.py --check

DIR gets results.csv and results.jsonl, a row an image, and summary.json; with labels also auc.csv
and roc.png. After a power cut or Ctrl-C the same command goes on from there. --check runs the
bundle's golden images through each variant that can run here (or the one that --variant or --engine
names) and compares pixels and probabilities with the pipeline's.
"""

import argparse
import json
import os
import signal
import sys
import time
from array import array
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

sys.dont_write_bytecode = True  # a bundle may lie on a read-only disk

import numpy as np  # noqa: E402

from bundle import POINTS, Bundle, Refused, open_bundle, reason  # noqa: E402
from check import check, to_check  # noqa: E402
from engines import ENGINES, Engine, Wanted, choose  # noqa: E402
from images import BadImage, Preprocessing, prepare, refuse_size  # noqa: E402
from labels import Labels, curves, label_of, read_labels, write_auc, write_plot  # noqa: E402
from results import CSV, JSON_LINES, SYNTHETIC, Model, Results, printable, written_aside  # noqa: E402

SUMMARY, AUC, ROC = "summary.json", "auc.csv", "roc.png"
_SUFFIXES = (".png", ".jpg", ".jpeg")
_PROGRESS_SECONDS = 0.5
_QUANTILES = (50, 95, 99)


class Decoded(NamedTuple):
    """An image that was read: uint8 [S, S], or why there are no pixels."""

    path: str
    pixels: Optional[np.ndarray]
    problem: str
    seconds: float


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Returns the exit code: 0, 1 if --check fails, 2 with the reason on stderr, 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `docker stop`
    try:
        options = _parse(arguments)
        bundle = open_bundle(options.bundle)
        return _check(bundle, options) if options.check else _infer(bundle, options)
    except Refused as error:
        _say(f"infer: {error}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        _say("infer: stopped", sys.stderr)
        return 130


def find_images(paths: Iterable[str]) -> List[str]:
    """Absolute paths of files, and of the PNGs and JPEGs in folders and below, each once.

    Hidden files are left out. Raises Refused if a path isn't there or there is no image.
    """
    found = {}  # type: Dict[str, None]  # a dict keeps the order
    for path in paths:
        path = os.path.abspath(path)
        if os.path.isfile(path):
            found[path] = None
        elif os.path.isdir(path):
            found.update((image, None) for image in _images_below(path))
        else:
            raise Refused(f"{path}: there is no such file or folder")
    if not found:
        raise Refused(f"no PNG or JPEG in {', '.join(paths)}")
    return list(found)


def decode_ahead(
    paths: Iterable[str], how: Preprocessing, workers: int, ahead: int
) -> Iterator[Decoded]:
    """Decodes in threads, in the paths' order, up to `ahead` images before they are asked for."""
    waiting = deque()  # type: Deque[Future[Decoded]]
    with ThreadPoolExecutor(workers) as pool:
        try:
            for path in paths:
                waiting.append(pool.submit(read, path, how))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def read(path: str, how: Preprocessing) -> Decoded:
    """Reads and decodes one file; never raises for a bad one."""
    begin = time.perf_counter()
    pixels, problem = None, ""
    try:
        with open(path, "rb") as file:
            refuse_size(os.fstat(file.fileno()).st_size, how.max_bytes)
            pixels = prepare(file.read(), how)
    except BadImage as error:
        problem = str(error)
    except OSError as error:
        problem = f"can't be read: {reason(error)}"
    return Decoded(path, pixels, problem, time.perf_counter() - begin)


class Times:
    """How long the images took, each its share of a batch."""

    def __init__(self) -> None:
        self.decode, self.model = array("f"), array("f")  # seconds an image
        self.begin = time.perf_counter()
        self.failed = 0

    def summary(self) -> Dict[str, Any]:
        """Plain values: images, failed, seconds, images a second, percentiles in ms."""
        seconds = time.perf_counter() - self.begin
        return {
            "images": len(self.decode),
            "failed": self.failed,
            "seconds": round(seconds, 3),
            "images_per_second": round(len(self.decode) / seconds, 3),
            "decode_ms": _percentiles(self.decode),
            "model_ms": _percentiles(self.model),
        }


def _infer(bundle: Bundle, options: argparse.Namespace) -> int:
    images = find_images(options.images)
    labels = _labels(options.labels, bundle, images) if options.labels else None
    engine = _engine(bundle, options, options.variant)
    model = Model(bundle, engine.variant, options.point)
    if model.synthetic:
        _say(f"note: {SYNTHETIC}")
    results = Results(options.out, model)
    try:
        if results.repaired:
            _say(f"{results.repaired} bytes of a row that a power cut left half-written are gone")
        todo = [path for path in images if printable(path) not in results.done]
        if len(todo) < len(images):
            _say(f"{len(images) - len(todo)} of {len(images)} images were done before")
        times = Times()
        try:
            _run(todo, bundle.preprocessing, engine, model, results, times, options.decoders)
        except KeyboardInterrupt:
            results.commit()
            _say(
                f"infer: stopped after {len(times.decode)} of {len(todo)} images; the same command"
                " goes on from there",
                sys.stderr,
            )
            return 130
        summary = {**model.common, "engine": engine.name, **times.summary()}
        with written_aside(os.path.join(options.out, SUMMARY)) as aside, open(aside, "w") as file:
            file.write(json.dumps(summary, indent=1) + "\n")
        _say_summary(summary, results)
        if labels is not None:
            _evaluate(results, labels, model)
    except OSError as error:
        raise Refused(f"{options.out} can't be written: {reason(error)}") from error
    finally:
        results.close()
    return 0


def _run(
    paths: List[str],
    how: Preprocessing,
    engine: Engine,
    model: Model,
    results: Results,
    times: Times,
    decoders: int,
) -> None:
    """Images to rows; commits at the end."""
    progress = _Progress(len(paths))
    batch = []  # type: List[Decoded]
    # Two batches ahead: one that is being decoded while another waits.
    for decoded in decode_ahead(paths, how, decoders, 2 * engine.batch + decoders):
        batch.append(decoded)
        if sum(one.pixels is not None for one in batch) == engine.batch:
            _run_batch(batch, engine, model, results, times)
            batch = []
            progress.show(len(times.decode))
    if batch:
        _run_batch(batch, engine, model, results, times)
    results.commit()
    progress.end()


def _run_batch(
    batch: List[Decoded], engine: Engine, model: Model, results: Results, times: Times
) -> None:
    """The rows of a batch, bad images among them, in their order."""
    pixels = [one.pixels for one in batch if one.pixels is not None]
    begin = time.perf_counter()
    answers = iter(engine.run(np.stack(pixels)) if pixels else ())
    if pixels:
        share = (time.perf_counter() - begin) / len(pixels)
        times.model.extend([share] * len(pixels))
    times.decode.extend(one.seconds for one in batch)
    times.failed += len(batch) - len(pixels)
    results.add(
        [
            model.failure(one.path, one.problem)
            if one.pixels is None
            else model.answer(one.path, next(answers))
            for one in batch
        ]
    )


def _check(bundle: Bundle, options: argparse.Namespace) -> int:
    """Golden images through preprocessing and each network that can run here, or the one wanted."""
    wanted = options.variant or options.trt or options.engine != "auto"
    variants = [options.variant] if wanted else to_check(bundle)
    return check(
        bundle, variants, lambda name: _engine(bundle, options, name), options.tolerance, _say
    )


def _engine(bundle: Bundle, options: argparse.Namespace, variant: Optional[str]) -> Engine:
    engine_name = None if options.engine == "auto" else options.engine
    wanted = Wanted(engine_name, variant, options.trt, options.batch, options.threads)
    engine, skipped = choose(bundle, wanted)
    for why in skipped:
        _say(f"not {why}")
    members = ", ".join(sorted({one["backbone"] for one in bundle.info.get("members", ())}))
    _say(f"bundle {bundle.version}: {bundle.info.get('name', '')} ({members})")
    _say(f"engine: {engine.name}, batches of {engine.batch}")
    return engine


def _labels(path: str, bundle: Bundle, images: List[str]) -> Labels:
    labels = read_labels(path, bundle.info["classes"])
    if labels.set_aside:
        _say(f"{len(labels.set_aside)} rows of {path} set aside, the first: {labels.set_aside[0]}")
    if all(label_of(image, labels) is None for image in images):
        raise Refused(f"{path} has labels for none of the {len(images)} images")
    return labels


def _evaluate(results: Results, labels: Labels, model: Model) -> None:
    found, images = curves(results.rows(), labels, model.classes)
    name = f"{model.common['model']}{' (synthetic)' if model.synthetic else ''}"
    write_auc(os.path.join(results.folder, AUC), name, found)
    write_plot(os.path.join(results.folder, ROC), name, model.synthetic, found, images)
    areas = [one.auc for one in found if one.auc is not None]
    if areas:
        mean = sum(areas) / len(areas)
        _say(f"mean AUC of {len(areas)} classes over {images} labelled images: {mean:.4f}")
    without = [one.name for one in found if one.auc is None]
    if without:
        _say(f"no AUC, for want of positive or negative images: {', '.join(without)}")
    _say(f"labels: {os.path.join(results.folder, AUC)}, {os.path.join(results.folder, ROC)}")


def _say_summary(summary: Dict[str, Any], results: Results) -> None:
    _say(
        f"{summary['images']} images in {summary['seconds']:.1f} s,"
        f" {summary['images_per_second']:.2f} a second; {summary['failed']} without an answer"
    )
    for name in ("decode", "model"):
        values = [f"{key} {value:.1f}" for key, value in summary[f"{name}_ms"].items()]
        if values:
            _say(f"{name}, ms an image: {', '.join(values)}")
    paths = (os.path.join(results.folder, name) for name in (CSV, JSON_LINES))
    _say(f"results: {', '.join(paths)}")


class _Progress:
    """A line on a terminal, nothing elsewhere."""

    def __init__(self, total: int):
        self._total, self._begin = total, time.monotonic()
        self._shown = 0.0
        self._visible = sys.stderr.isatty()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if not self._visible or now - self._shown < _PROGRESS_SECONDS:
            return
        self._shown = now
        rate = done / (now - self._begin)
        left = int((self._total - done) / rate)
        text = (
            f"\r{done}/{self._total} images, {rate:.1f} a second, {left // 60}:{left % 60:02d} left"
        )
        print(f"{text:<70}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._visible and self._shown:
            print(f"\r{'':<70}\r", end="", file=sys.stderr, flush=True)


def _images_below(folder: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise Refused(f"{error.filename} can't be read: {reason(error)}") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = os.path.join(parent, name)
            is_image = name.lower().endswith(_SUFFIXES) and not name.startswith(".")
            if is_image and os.path.isfile(path):
                yield path


def _percentiles(seconds: Sequence[float]) -> Dict[str, float]:
    if not len(seconds):
        return {}
    values = np.percentile(np.asarray(seconds), _QUANTILES) * 1000
    return {f"p{share}": round(float(value), 2) for share, value in zip(_QUANTILES, values)}


def _say(text: str, stream: Any = None) -> None:
    """Prints one line, whatever the locale can't write escaped."""
    stream = stream or sys.stdout
    code = stream.encoding or "utf-8"
    print(text.encode(code, "backslashreplace").decode(code), file=stream, flush=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise Refused(f"{message}; --help shows the options")


def _parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0))
    here = os.path.dirname(os.path.abspath(__file__))
    parser = _Parser(
        prog="infer.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE|FOLDER", help="PNGs and JPEGs, and folders of them")
    add("--out", metavar="DIR", help="folder of the results; made if missing")
    add("--bundle", metavar="DIR", default=here, help="the bundle (default: this script's folder)")
    add("--engine", choices=("auto", *ENGINES), default="auto")
    add("--variant", metavar="NAME", help="one of model.json's variants, or trt")
    add("--trt", metavar="DIR", help="what build_trt.py made (default: BUNDLE.trt)")
    add("--batch", type=_positive, metavar="N", help="images at once, with TensorFlow")
    add("--threads", type=_positive, default=cores, metavar="N", help="of the network")
    add("--decoders", type=_positive, default=cores, metavar="N", help="threads that decode")
    add("--point", choices=POINTS, default=POINTS[0], help="whose thresholds decide (youden)")
    add("--labels", metavar="CSV", help="in the form of Data_Entry_2017.csv: gives AUCs and ROC")
    add("--check", action="store_true", help="run the golden images only; exit code 1 if it fails")
    add("--tolerance", type=float, metavar="P", help="of a probability, for --check")
    options = parser.parse_args(arguments)
    if not options.check and not (options.images and options.out):
        parser.error("images and --out DIR are needed")
    return options


def _positive(text: str) -> int:
    if not text.isdigit() or text == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
