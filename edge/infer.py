"""Runs a bundle's network over X-rays, offline.

    python3 infer.py IMAGE|FOLDER... --out DIR [--labels CSV]
    python3 infer.py --check

DIR gets results.csv and results.jsonl, a row an image, and summary.json; with labels also auc.csv
and roc.png. After a power cut or Ctrl-C the same command goes on from there; files whose content
has changed are answered anew. Exit codes: 0, every image has an answer; 1, some have none, or files
were left out that may be images; 2, nothing was answered.

--check runs the bundle's golden images through each variant that can run here (or the one that
--variant or --engine names) and compares pixels and probabilities with the pipeline's.
"""

import argparse
import json
import os
import signal
import sys
import time
from array import array
from contextlib import suppress
from typing import Any, Dict, List, Optional, Sequence, Set

sys.dont_write_bytecode = True  # a bundle may lie on a read-only disk

from remedies import require  # noqa: E402

require("infer", "numpy", "PIL")
import numpy as np  # noqa: E402

from bundle import POINTS, Bundle, Preprocessing, Refused, open_bundle, reason  # noqa: E402
from check import check, to_check  # noqa: E402
from decoding import Decoded, decode_ahead, fingerprints  # noqa: E402
from engines import ENGINES, Engine, Network, Wanted, choose  # noqa: E402
from files import Found, find_images, totals  # noqa: E402
from labels import (  # noqa: E402
    Labels,
    curves,
    label_of,
    read_labels,
    refuse_foreign_plot,
    write_auc,
    write_plot,
)
from results import (  # noqa: E402
    AUC,
    CSV,
    JSON_LINES,
    ROC,
    SUMMARY,
    SYNTHETIC,
    Model,
    Results,
    printable,
)
from scores import mean_auc  # noqa: E402
from speaking import open_standard_streams  # noqa: E402
from speaking import say as _say  # noqa: E402
from writing import written_aside  # noqa: E402

_PROGRESS_SECONDS = 0.5
_QUANTILES = (50, 95, 99)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Returns the exit code: see the module; 1 if --check fails, 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `docker stop`
    open_standard_streams()
    try:
        options = _parse(arguments)
        bundle = open_bundle(options.bundle)
        return _check(bundle, options) if options.check else _infer(bundle, options)
    except Refused as error:
        _say(f"infer: {error}", sys.stderr)
        return 2
    except MemoryError:
        _say("infer: out of memory; what was answered is kept", sys.stderr)
        return 2
    except KeyboardInterrupt:
        _say("infer: stopped", sys.stderr)
        return 130


class Times:
    """How long the images took, each its share of a batch."""

    def __init__(self) -> None:
        self.decode, self.model = array("f"), array("f")  # seconds an image
        self.begin = time.perf_counter()
        self.failed = self.unlike = 0

    def summary(self) -> Dict[str, Any]:
        """Plain values: images, seconds, images a second, percentiles in ms."""
        seconds = time.perf_counter() - self.begin
        return {
            "images_now": len(self.decode),
            "seconds": round(seconds, 3),
            "images_per_second": round(len(self.decode) / seconds, 3),
            "decode_ms": _percentiles(self.decode),
            "model_ms": _percentiles(self.model),
        }


def _infer(bundle: Bundle, options: argparse.Namespace) -> int:
    found = find_images(options.images)
    images = found.images
    labels = None
    if options.labels:
        labels = _labels(options.labels, bundle, images)
        refuse_foreign_plot(os.path.join(options.out, ROC))
    engine = _engine(bundle, options, options.variant)
    network = Network(engine, bundle.detector())
    model = Model(bundle, engine.variant, options.point, engine.runtime)
    if model.synthetic:
        _say(f"note: {SYNTHETIC}")
    results = Results(options.out, model)
    try:
        todo = _todo(images, results, bundle.preprocessing, options.decoders)
        times, before = Times(), len(results.done)
        path = os.path.join(options.out, SUMMARY)
        if todo:
            with suppress(FileNotFoundError):
                os.unlink(path)  # until these images are in it
        try:
            _run(todo, bundle.preprocessing, network, model, results, times, options.decoders)
        except KeyboardInterrupt:
            results.commit()
            _say(
                f"infer: stopped after {len(results.done) - before} of {len(todo)} images; the same"
                " command goes on from there",
                sys.stderr,
            )
            return 130
        except BaseException:
            with suppress(Refused):  # which is being raised
                results.commit()
            raise
        asked = {printable(path) for path in images}
        answered = sum(1 for row in results.rows() if row["file"] in asked and "findings" in row)
        if todo or not os.path.exists(path):
            summary = {
                **model.common,
                "engine": engine.name,
                "images": len(images),
                "answered": answered,
                "failed": len(images) - answered,
                "skipped": [
                    {"file": printable(one.path), "reason": one.why} for one in found.skipped
                ],
                **times.summary(),  # of this run
            }
            with written_aside(path) as aside, open(aside, "w") as file:
                file.write(json.dumps(summary, indent=1) + "\n")
        _say_summary(times, results)
        if labels is not None and answered:
            _evaluate(results, asked, labels, model)
        return _verdict(found, answered, results)
    except OSError as error:
        raise Refused(f"{options.out} can't be written: {reason(error)}") from error
    finally:
        results.close()


def _todo(images: List[str], results: Results, how: Preprocessing, workers: int) -> List[str]:
    """The images without a row that is about what their files hold now."""
    if results.damaged:
        _say(f"{results.damaged} damaged lines of {JSON_LINES}: what they lack is answered again")
    before = [path for path in images if printable(path) in results.done]
    contents = zip(before, fingerprints(before, how.max_bytes, workers))
    changed = [path for path, content in contents if results.done[printable(path)] != content]
    if changed:
        results.drop(printable(path) for path in changed)
        _say(f"{len(changed)} images have changed or are tried again")
    if len(before) > len(changed):
        _say(f"{len(before) - len(changed)} of {len(images)} images were done before")
    return [path for path in images if printable(path) not in results.done]


def _verdict(found: Found, answered: int, results: Results) -> int:
    """Says what has no answer; the exit code."""
    images = len(found.images)
    where = os.path.join(results.folder, CSV)
    bad = [one for one in found.skipped if one.bad]
    for why, paths in totals(found.skipped):
        noted = f"{len(paths)} left out, {why}: {paths[0]}{', ...' if len(paths) > 1 else ''}"
        _say(noted, sys.stderr if paths[0] in {one.path for one in bad} else None)
    if not answered:
        raise Refused(f"none of {images} images has an answer; {where} says why")
    if answered < images:
        _say(
            f"infer: {images - answered} of {images} images have no answer; {where} says why",
            sys.stderr,
        )
    return 1 if bad or answered < images else 0


def _run(
    paths: List[str],
    how: Preprocessing,
    network: Network,
    model: Model,
    results: Results,
    times: Times,
    decoders: int,
) -> None:
    """Images to rows; commits at the end."""
    progress = _Progress(len(paths))
    batch = []  # type: List[Decoded]
    # Two batches ahead: one that is being decoded while another waits.
    for decoded in decode_ahead(paths, how, decoders, 2 * network.engine.batch + decoders):
        batch.append(decoded)
        if sum(one.pixels is not None for one in batch) == network.engine.batch:
            _run_batch(batch, network, model, results, times)
            batch = []
            progress.show(len(times.decode))
    if batch:
        _run_batch(batch, network, model, results, times)
    results.commit()
    progress.end()


def _run_batch(
    batch: List[Decoded], network: Network, model: Model, results: Results, times: Times
) -> None:
    """The rows of a batch, bad images among them, in their order."""
    pixels = [one.pixels for one in batch if one.pixels is not None]
    begin = time.perf_counter()
    answers = iter(network.run(np.stack(pixels)) if pixels else ())
    if pixels:
        share = (time.perf_counter() - begin) / len(pixels)
        times.model.extend([share] * len(pixels))
    times.decode.extend(one.seconds for one in batch)
    rows = []
    for one in batch:
        if one.pixels is None:
            rows.append(model.failure(one.path, one.problem, one.sha256))
        else:
            probabilities, score = next(answers)
            rows.append(model.answer(one.path, probabilities, one.sha256, score))
    times.failed += sum("error" in row for row in rows)
    times.unlike += sum(row.get("out_of_distribution", False) for row in rows)
    results.add(rows)


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
    if all(label_of(printable(image), labels) is None for image in images):
        raise Refused(f"{path} has labels for none of the {len(images)} images")
    return labels


def _evaluate(results: Results, asked: Set[str], labels: Labels, model: Model) -> None:
    rows = (row for row in results.rows() if row["file"] in asked)
    found, images = curves(rows, labels, model.classes)
    name = f"{model.common['model']}{' (synthetic)' if model.synthetic else ''}"
    write_auc(os.path.join(results.folder, AUC), name, found)
    write_plot(os.path.join(results.folder, ROC), name, model.synthetic, found, images)
    areas = [one.auc for one in found if one.auc is not None]
    if areas:
        mean = mean_auc(areas)
        _say(f"mean AUC of {len(areas)} classes over {images} labelled images: {mean:.4f}")
    without = [one.name for one in found if one.auc is None]
    if without:
        _say(f"no AUC, for want of positive or negative images: {', '.join(without)}")
    _say(f"labels: {os.path.join(results.folder, AUC)}, {os.path.join(results.folder, ROC)}")


def _say_summary(times: Times, results: Results) -> None:
    summary = times.summary()
    _say(
        f"{summary['images_now']} images in {summary['seconds']:.1f} s,"
        f" {summary['images_per_second']:.2f} a second; {times.failed} without an answer"
    )
    if times.unlike:
        _say(
            f"{times.unlike} may be no chest X-rays like those that the model was trained on:"
            " out_of_distribution in the results"
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


def _percentiles(seconds: Sequence[float]) -> Dict[str, float]:
    if not len(seconds):
        return {}
    values = np.percentile(np.asarray(seconds), _QUANTILES) * 1000
    return {f"p{share}": round(float(value), 2) for share, value in zip(_QUANTILES, values)}


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
