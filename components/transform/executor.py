"""Transform's executor: TFT's analysis on Beam, then one Beam element a shard."""

import functools
import glob
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PortableOptions
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils
from tfx_bsl.coders import example_coder
from tfx_bsl.tfxio import tensor_representation_util, tensor_to_arrow, tf_example_record

from cxrflow.components.images import decoding, quick_png
from cxrflow.components.images.records import split_records
from cxrflow.components.node import Artifacts, read_settings
from cxrflow.components.shards import Shards, open_shards
from cxrflow.components.transform.preprocessing import preprocessing_fn
from cxrflow.components.transform.settings import TransformConfig, TransformSettings
from cxrflow.schema import progress
from cxrflow.schema.features import IMAGE, SPLIT, T_IMAGE
from cxrflow.schema.space import require_space

_BATCH = 32  # examples; 32 originals are 12 MB
_FEW_CORES = 2  # for each process; with three TensorFlow's decoder is the faster one
_TREE = "examples"
# Bytes a pixel. NIH's originals take .17 as JPEG of quality 95 at 512 pixels, and .06 of 75.
_LEAST = {"raw": 1.0, "jpeg": 0.1}


@dataclass(frozen=True)
class Shard:
    """A file of raw examples to transform."""

    split: str
    source: str
    name: str  # with its split's folder
    examples: int
    before: int  # examples in the shards before it


class Executor(base_beam_executor.BaseBeamExecutor):
    """Analyzes split train of `records`, then transforms all of `examples`.

    Other than TFX's own executor it reads no pixels for the analysis, writes TFRecords without
    gzip (which costs as much as encoding the JPEGs and gains nothing), keeps few images in memory
    and reports progress.
    """

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the transform graph and the transformed examples.

        Shards that a killed attempt has finished are taken as they are; the analysis, which reads
        no pixels, is done anew.

        Raises:
            CxrflowError: the disk is too full.
        """
        settings = read_settings(TransformSettings, exec_properties)
        examples, records, schema = (
            artifact_utils.get_single_instance(input_dict[key])
            for key in ("examples", "records", "schema")
        )
        graph, transformed = (
            artifact_utils.get_single_instance(output_dict[key])
            for key in ("transform_graph", "transformed_examples")
        )
        sources = [one.uri for one in (examples, records, schema)]
        shards = open_shards(transformed.uri, (_TREE,), [exec_properties, sources])
        splits = artifact_utils.decode_split_names(examples.split_names)
        planned = list(_planned(splits, examples, records))
        _require_space(planned, settings.compact, shards)
        self._analyze(
            os.path.join(artifact_utils.get_split_uri([records], "train"), "*"),
            io_utils.get_only_uri_in_dir(schema.uri),
            {
                "classes": settings.classes,
                "slices": settings.slices,
                **asdict(settings.compact),
            },
            graph.uri,
        )
        self._transform(planned, graph.uri, settings.compact, shards)
        transformed.split_names = examples.split_names
        examples_utils.set_payload_format(transformed, example_gen_pb2.FORMAT_TF_EXAMPLE)
        synthetic = examples.get_int_custom_property("synthetic")
        transformed.set_int_custom_property("synthetic", synthetic)
        shards.hand_over({_TREE: transformed.uri})

    def _analyze(
        self, records: str, schema_path: str, custom_config: dict[str, Any], graph_dir: str
    ) -> None:
        """Writes what tft.TFTransformOutput reads; `records` is a file pattern."""
        schema = tfdv.load_schema_text(schema_path)
        # TFXIO projects on explicit representations only; the file has image/encoded's.
        tensor_representation_util.SetTensorRepresentationsInSchema(
            schema, tensor_representation_util.InferTensorRepresentationsFromMixedSchema(schema)
        )
        source = tf_example_record.TFExampleRecord(
            records, schema=schema, telemetry_descriptors=["Transform"]
        )
        preprocess = functools.partial(preprocessing_fn, custom_config=custom_config)
        columns = tft.get_analyze_input_columns(
            preprocess, source.TensorAdapter().OriginalTypeSpecs()
        )
        source = source.Project(columns)
        temporary = os.path.join(graph_dir, ".temporary")
        with self._make_beam_pipeline() as pipeline, tft_beam.Context(temp_dir=temporary):
            data = pipeline | "Read" >> source.BeamSource()
            dataset = (data, source.TensorAdapterConfig())
            transform_fn = dataset | tft_beam.AnalyzeDataset(preprocess)
            _ = transform_fn | tft_beam.WriteTransformFn(graph_dir)
            _ = dataset_metadata.DatasetMetadata(schema) | tft_beam.WriteMetadata(
                os.path.join(graph_dir, tft.TFTransformOutput.RAW_METADATA_DIR), pipeline
            )
        shutil.rmtree(temporary)

    def _transform(
        self, planned: list[Shard], graph_dir: str, compact: TransformConfig, shards: Shards
    ) -> None:
        """Writes the transformed examples of each shard."""
        total = sum(shard.examples for shard in planned)
        with self._make_beam_pipeline() as pipeline:
            transform = _TransformShard(
                graph_dir, compact, shards, total, _processes(pipeline.options)
            )
            _ = pipeline | "Shards" >> beam.Create(planned) | "Transform" >> beam.ParDo(transform)
        for shard in planned:
            shards.note(shard.name)  # raises if it isn't there


class _TransformShard(beam.DoFn):
    """Transforms a file.

    TFT's own TransformDataset costs one millisecond an image more, a tenth of decoding it, and
    for each split the loading of the graph.
    """

    def __init__(
        self, graph_dir: str, compact: TransformConfig, shards: Shards, total: int, processes: int
    ):
        self._graph_dir = graph_dir
        self._compact = compact
        self._shards = shards
        self._total = total
        self._processes = processes

    def setup(self) -> None:
        output = tft.TFTransformOutput(self._graph_dir)
        spec = output.raw_feature_spec()
        # Python's lock lets quick_png decode one image at a time, TensorFlow as many as cores.
        how, cores = self._compact, _cores()
        few = cores <= _FEW_CORES * (self._processes or cores)
        decoder = quick_png.decode if few else decoding.decode

        def transform(batch: tf.Tensor) -> dict[str, tf.Tensor]:
            raw = tf.io.parse_example(batch, spec)
            compact = decoding.compact_batch(
                raw.pop(IMAGE),  # the graph's own way gives the same
                how.image_size,
                how.encoding,
                how.jpeg_quality,
                limits=None,
                decoder=decoder,
            )
            rest = output.transform_raw_features(raw, drop_unused_features=True)
            return rest | {T_IMAGE: compact}

        self._transform = tf.function(
            transform, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )
        tensors = self._transform.get_concrete_function().structured_outputs
        specs = {
            name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
            for name, tensor in tensors.items()
        }
        specs[SPLIT] = tf.TensorSpec([None], tf.string)
        self._to_arrow = tensor_to_arrow.TensorsToRecordBatchConverter(specs)
        schema = output.transformed_metadata.schema
        schema.feature.add(name=SPLIT, type=schema_pb2.BYTES)
        self._encoder = example_coder.RecordBatchToExamplesEncoder(schema)

    def process(self, shard: Shard) -> None:
        if self._shards.note_if_whole(shard.name) is None:
            with self._shards.writing(shard.name) as ((file,), _):
                self._write(shard, file)
        progress.report(shard.before + shard.examples, self._total)

    def _write(self, shard: Shard, file: str) -> None:
        done = shard.before
        options = tf.data.Options()
        options.autotune.enabled = False  # at the end of a file its thread is waited for
        with tf.io.TFRecordWriter(file) as writer:
            for batch in split_records([shard.source]).batch(_BATCH).with_options(options):
                transformed = self._transform(batch) | {SPLIT: tf.fill([len(batch)], shard.split)}
                for example in self._encoder.encode(self._to_arrow.convert(transformed)):
                    writer.write(example)
                done += len(batch)
                progress.report(done, self._total)


def _processes(options: PipelineOptions) -> int:
    """How many share a machine; 0: one for each core, as where workers are elsewhere."""
    if options.view_as(PortableOptions).environment_type:
        return 0
    return int(options.view_as(DirectOptions).direct_num_workers)


def _cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _require_space(planned: list[Shard], compact: TransformConfig, shards: Shards) -> None:
    """Refuses to start what the disk can't hold, besides the shards that are there already."""
    images = sum(shard.examples for shard in planned)
    needed = int(images * compact.image_size**2 * _LEAST[compact.encoding]) - shards.kept()
    advice = "make room, lower transform.image_size or choose another --root"
    require_space(Path(shards.folder), needed, "the compact images", advice)


def _planned(
    splits: list[str], examples: types.Artifact, records: types.Artifact
) -> Iterator[Shard]:
    """A shard for each file of raw examples, whose file of records has the same name."""
    before = 0
    for split in splits:
        sources = sorted(glob.glob(os.path.join(examples.uri, f"Split-{split}", "*")))
        for i, source in enumerate(sources):
            name = f"Split-{split}/transformed_examples-{i:05d}-of-{len(sources):05d}"
            light = os.path.join(records.uri, f"Split-{split}", os.path.basename(source))
            count = int(split_records([light]).reduce(0, lambda n, _: n + 1))
            yield Shard(split, source, name, count, before)
            before += count
