"""ImageExampleGen's executor: one Beam element is a shard, written straight from files to file."""

import os
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import apache_beam as beam
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from cxrflow.components.ingest.data_card import card_for_lineage
from cxrflow.components.ingest.image import BadImage
from cxrflow.components.ingest.plan import (
    Plan,
    Settings,
    good_rows,
    limits,
    make_plan,
    why_not_start,
    why_stop,
)
from cxrflow.components.ingest.quarantine import Problem, count_reasons, write_report
from cxrflow.components.ingest.settings import IngestSettings
from cxrflow.components.ingest.split import unit_hash
from cxrflow.components.node import Artifacts, read_settings
from cxrflow.components.shards import Shards, open_shards, require_seen
from cxrflow.schema import features, progress
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.image_rules import Header, Limits
from cxrflow.schema.space import require_space

_SHARD = 256  # images a file: about 100 MB of originals, so that later steps can run in parallel
_SIZES = 1000  # files that are looked at, at most, to tell how much room all of them need
_TREES = ("examples", "records")  # outputs that have a file of each shard


@dataclass(frozen=True)
class Shard:
    """A file to write: its images' rows, how many, and how many images the files before it have."""

    name: str  # with its split's folder
    before: int
    count: int
    packed: bytes  # since all rows travel with Beam's pipeline, which copies them several times

    @classmethod
    def of(cls, name: str, before: int, rows: list[dict[str, Any]]) -> "Shard":
        """Packs rows, each a dict by column."""
        return cls(name, before, len(rows), zlib.compress(pickle.dumps(rows)))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dict by column for each image, unpacked anew on every call."""
        rows: list[dict[str, Any]] = pickle.loads(zlib.decompress(self.packed))
        return rows


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the data folder and writes the splits."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes examples, records and the quarantine report.

        Image bytes go from file to file within one Beam stage: no shuffle, and memory that does
        not grow with the number of images. Shards that a killed attempt has finished are taken as
        they are.

        Raises:
            CxrflowError: the folder cannot be read, more than max_bad_share of it is bad, a split
                is empty, or the disk is too full. TFX deletes the outputs of a failed step, so the
                report then lies in the folder `stopped` beside them, which the message names.
        """
        given = read_settings(IngestSettings, exec_properties)
        settings = cast(Settings, asdict(given.ingest))
        examples, records, quarantine = (
            artifact_utils.get_single_instance(output_dict[key])
            for key in ("examples", "records", "quarantine")
        )
        plan = make_plan(given.data_dir, settings, given.source)
        problems = list(plan.problems)
        shards = open_shards(examples.uri, _TREES, exec_properties)
        # Rows alone may be reason enough to stop, before gigabytes are copied.
        stop = why_not_start(plan, settings)
        if not stop:
            _require_space(plan, shards)
            problems += self._write(plan, limits(settings), shards)
            written = good_rows(plan, problems)["split"].value_counts().to_dict()
            stop = why_stop(plan, problems, written, settings)
        if stop:
            shards.remove()
            stopped = Path(quarantine.uri).parent.parent / "stopped" / Path(quarantine.uri).name
            report = write_report(problems, plan.considered, stopped)
            raise CxrflowError(f"ingest stopped: {stop}. Every row set aside is in {report}")
        write_report(problems, plan.considered, quarantine.uri)
        for reason, n in count_reasons(problems).items():
            quarantine.set_int_custom_property(reason, n)
        quarantine.set_int_custom_property("set_aside", len(problems))
        quarantine.set_int_custom_property("rows", plan.considered)
        for artifact in (examples, records):
            artifact.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
            examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
            # TFX's name for TFRecords; whether they are compressed is told by the file's suffix.
            examples_utils.set_file_format(artifact, "tfrecords_gzip")
            artifact.set_int_custom_property("synthetic", int(plan.folder.synthetic))
        for name, text in card_for_lineage(plan.folder.root, plan.folder.table).items():
            examples.set_string_custom_property(name, text)
        shards.hand_over({"examples": examples.uri, "records": records.uri})

    def _write(self, plan: Plan, limit: Limits, shards: Shards) -> list[Problem]:
        """Runs the Beam pipeline; returns the problems found in images."""
        planned = list(make_shards(plan))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(planned)
                | "Write" >> beam.ParDo(_WriteShard(plan, shards, limit))
            )
        notes = [shards.note(shard.name) for shard in planned]
        return [Problem(**found) for note in notes for found in note["problems"]]


def make_shards(plan: Plan) -> Iterator[Shard]:
    """Cuts each split into files.

    Rows are ordered by a hash of the image's name: each file is a random sample of its split, and
    the same one on every run.
    """
    order = plan.rows["image_id"].map(lambda name: unit_hash(name, "order"))
    rows = plan.rows.assign(order=order).sort_values("order")
    before = 0
    for split, part in rows.groupby("split", sort=True):
        part = part.drop(columns=["order", "split"])
        n = -(-len(part) // _SHARD)
        for i in range(n):
            chunk = part.iloc[i::n].to_dict("records")
            yield Shard.of(f"Split-{split}/data_tfrecord-{i:05d}-of-{n:05d}", before, chunk)
            before += len(chunk)


def raw_example(row: dict[str, Any], header: Header) -> tf.train.Example:
    """The raw example of one image, without its bytes."""

    def text(*values: str) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))

    def number(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    further = {name: text(row[name]) for name in row if name.startswith(features.SLICE_PREFIX)}
    if row.get("unknown"):
        further[features.UNKNOWN_FINDINGS] = text(*row["unknown"])
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                **further,
                features.IMAGE_ID: text(row["image_id"]),
                features.PATIENT_ID: text(row["patient_id"]),
                features.AGE: number(row["age"]),
                features.SEX: text(row["sex"]),
                features.VIEW: text(row["view"]),
                features.FOLLOW_UP: number(row["follow_up"]),
                features.FINDINGS: text(*row["findings"]),
                features.HEIGHT: number(header.height),
                features.WIDTH: number(header.width),
            }
        )
    )


class _WriteShard(beam.DoFn):
    """Reads, checks and writes the images of a shard, and notes the problems found."""

    def __init__(self, plan: Plan, shards: Shards, limit: Limits):
        self._data = os.path.abspath(plan.folder.root)
        self._read = plan.reader
        self._shards = shards
        self._limit = limit
        self._total = len(plan.rows)

    def setup(self) -> None:
        # A worker that sees no data would take every image for unreadable.
        require_seen(self._data)

    def process(self, shard: Shard) -> None:
        if self._shards.note_if_whole(shard.name) is None:
            with self._shards.writing(shard.name) as (files, note):
                note["problems"] = [asdict(problem) for problem in self._write(shard, *files)]
        progress.report(shard.before + shard.count, self._total)

    def _write(self, shard: Shard, examples: str, records: str) -> Iterator[Problem]:
        with tf.io.TFRecordWriter(examples) as full, tf.io.TFRecordWriter(records) as light:
            for done, row in enumerate(shard.rows, shard.before + 1):
                try:
                    data, header = self._read(row["path"], self._limit)
                except BadImage as bad:
                    _require_there(row["path"])
                    yield Problem(bad.reason.value, row["image_id"], row["row"], bad.detail)
                else:
                    example = raw_example(row, header)
                    light.write(example.SerializeToString(deterministic=True))
                    example.features.feature[features.IMAGE].bytes_list.value.append(data)
                    full.write(example.SerializeToString(deterministic=True))
                progress.report(done, self._total)


def _require_there(path: str) -> None:
    """Refuses to count an image as bad that has vanished: all were listed as this run began."""
    try:
        os.lstat(path)
    except PermissionError:
        return
    except OSError as error:
        raise CxrflowError(
            f"{path} was there as the run began, and isn't now ({error.strerror}): is its folder "
            "still mounted? The same command goes on from here"
        ) from None


def _require_space(plan: Plan, shards: Shards) -> None:
    """Refuses to start what the disk cannot hold, besides the shards that are there already."""
    sample = plan.rows["path"].iloc[:: -(-len(plan.rows) // _SIZES)]
    mean = sum(map(_size, sample)) / len(sample)
    needed = int(1.02 * mean * len(plan.rows)) - shards.kept()
    advice = "make room or choose another --root"
    require_space(Path(shards.folder), needed, "the raw examples", advice)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # reading will tell why
        return 0
