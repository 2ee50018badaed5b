"""ImageExampleGen's executor: one Beam element is a shard, written straight from files to file."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from cxrflow.components.ingest.fetch.card import card_for_lineage
from cxrflow.components.ingest.image import BadImage, ReadImage
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
from cxrflow.schema import features, progress
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.image_rules import Header, Limits

_SHARD = 256  # images a file: about 100 MB of originals, so that later steps can run in parallel
_ASIDE = "unfinished"  # where shards grow; a reader never sees a part of one


@dataclass(frozen=True)
class Shard:
    """A file to write: the rows of its images, and how many images the files before it have."""

    split: str
    name: str
    before: int
    rows: list[dict[str, Any]]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the data folder and writes the splits."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes examples, records and the quarantine report.

        Image bytes go from file to file within one Beam stage: no shuffle, and memory that does
        not grow with the number of images.

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
        # Rows alone may be reason enough to stop, before gigabytes are copied.
        stop = why_not_start(plan, settings)
        if not stop:
            _require_space(plan, examples.uri)
            problems += self._write(plan, limits(settings), examples.uri, records.uri, quarantine)
            written = good_rows(plan, problems)["split"].value_counts().to_dict()
            stop = why_stop(plan, problems, written, settings)
        if stop:
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

    def _write(
        self,
        plan: Plan,
        limit: Limits,
        examples_uri: str,
        records_uri: str,
        quarantine: types.Artifact,
    ) -> list[Problem]:
        """Runs the Beam pipeline; returns the problems found in images."""
        for uri in (examples_uri, records_uri):
            for folder in (_ASIDE, *(f"Split-{split}" for split in features.SPLITS)):
                os.makedirs(os.path.join(uri, folder), exist_ok=True)
        found = os.path.join(quarantine.uri, "found.jsonl")
        os.makedirs(quarantine.uri, exist_ok=True)
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(make_shards(plan)))
                | "Write"
                >> beam.ParDo(
                    _WriteShard(plan.reader, examples_uri, records_uri, limit, len(plan.rows))
                )
                | "ToJson" >> beam.Map(lambda problem: json.dumps(asdict(problem)))
                | "Problems" >> beam.io.WriteToText(found, num_shards=1, shard_name_template="")
            )
        for uri in (examples_uri, records_uri):
            os.rmdir(os.path.join(uri, _ASIDE))
        with open(found) as lines:
            problems = [Problem(**json.loads(line)) for line in lines]
        os.remove(found)
        return problems


def make_shards(plan: Plan) -> Iterator[Shard]:
    """Cuts each split into files.

    Rows are ordered by a hash of the image's name: each file is a random sample of its split, and
    the same one on every run.
    """
    order = plan.rows["image_id"].map(lambda name: unit_hash(name, "order"))
    rows = plan.rows.assign(order=order).sort_values("order")
    before = 0
    for split, part in rows.groupby("split", sort=True):
        records = part.drop(columns=["order", "split"]).to_dict("records")
        n = -(-len(records) // _SHARD)
        for i in range(n):
            chunk = records[i::n]
            yield Shard(str(split), f"data_tfrecord-{i:05d}-of-{n:05d}", before, chunk)
            before += len(chunk)


def raw_example(row: dict[str, Any], header: Header) -> tf.train.Example:
    """The raw example of one image, without its bytes."""

    def text(*values: str) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))

    def number(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    slices = {name: text(row[name]) for name in row if name.startswith(features.SLICE_PREFIX)}
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                **slices,
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
    """Reads, checks and writes the images of a shard; yields the problems found."""

    def __init__(
        self, read: ReadImage, examples_uri: str, records_uri: str, limit: Limits, total: int
    ):
        self._uris = (examples_uri, records_uri)
        self._limit = limit
        self._total = total
        self._read = read

    def process(self, shard: Shard) -> Iterator[Problem]:
        aside = [os.path.join(uri, _ASIDE, f"{shard.split}-{shard.name}") for uri in self._uris]
        problems = []
        with tf.io.TFRecordWriter(aside[0]) as full, tf.io.TFRecordWriter(aside[1]) as light:
            for done, row in enumerate(shard.rows, shard.before + 1):
                try:
                    data, header = self._read(row["path"], self._limit)
                except BadImage as bad:
                    problem = Problem(bad.reason.value, row["image_id"], row["row"], bad.detail)
                    problems.append(problem)
                else:
                    example = raw_example(row, header)
                    light.write(example.SerializeToString(deterministic=True))
                    example.features.feature[features.IMAGE].bytes_list.value.append(data)
                    full.write(example.SerializeToString(deterministic=True))
                progress.report(done, self._total)
        for uri, path in zip(self._uris, aside, strict=True):
            os.replace(path, os.path.join(uri, f"Split-{shard.split}", shard.name))
        yield from problems


def _require_space(plan: Plan, uri: str) -> None:
    """Refuses to start what the disk cannot hold."""
    needed = int(1.02 * sum(_size(path) for path in plan.rows["path"]))
    os.makedirs(uri, exist_ok=True)
    free = shutil.disk_usage(uri).free
    if needed > free:
        raise CxrflowError(
            f"ingest needs {needed / 1e6:,.0f} MB for the raw examples below {uri}, "
            f"{free / 1e6:,.0f} MB are free; make room or choose another --root"
        )


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # reading will tell why
        return 0
