"""TFDV's statistics of what a model was trained on, in a file that travels with it.

The file holds two datasets: `train`, of the training images and their patients, and `held_out`, of
the model's scores of images that it hasn't learned from. It names nobody: counts, quantiles and
histograms of a dozen buckets.
"""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2

from cxrflow.components.monitor.columns import Columns
from cxrflow.schema.errors import CxrflowError, unreadable
from cxrflow.schema.files import whole_file

FILE = "training_statistics.pb"  # in assets.extra
TRAIN, HELD_OUT = "train", "held_out"

Dataset: TypeAlias = statistics_pb2.DatasetFeatureStatistics


def statistics_of(columns: Columns, name: str) -> Dataset:
    """TFDV's statistics of columns of equal length, under a name; unknown numbers are missing."""
    frame = pd.DataFrame(dict(columns))
    options = tfdv.StatsOptions(num_top_values=10, num_rank_histogram_buckets=10)
    found = tfdv.generate_statistics_from_dataframe(frame, options, n_jobs=1)
    (dataset,) = found.datasets
    dataset.name = name
    return dataset


def write_statistics(train: Dataset, held_out: Dataset, folder: Path) -> Path:
    """Writes the file, whole or not at all."""
    path = folder / FILE
    both = statistics_pb2.DatasetFeatureStatisticsList(datasets=[train, held_out])
    with whole_file(path) as aside:
        aside.write_bytes(both.SerializeToString(deterministic=True))
    return path


def read_statistics(model: Path) -> dict[str, Dataset]:
    """The datasets of a pushed version, by name.

    Raises:
        CxrflowError: there are none, or the file can't be read.
    """
    path = model / "assets.extra" / FILE
    try:
        found = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    except FileNotFoundError:
        raise CxrflowError(
            f"{model} has no {FILE}: an older cxrflow pushed it, or another program; "
            "`cxrflow run` with this one pushes a model with it"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:  # protobuf's DecodeError is no class of its own in every version
        raise CxrflowError(f"{path} is damaged: {type(error).__name__}") from None
    by_name = {dataset.name: dataset for dataset in found.datasets}
    if missing := {TRAIN, HELD_OUT} - by_name.keys():
        raise CxrflowError(f"{path} is damaged: it has no {min(missing)}")
    return by_name


def features_of(dataset: Dataset) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    """A dataset's features by name."""
    return {".".join(one.path.step) or one.name: one for one in dataset.features}


def known(feature: statistics_pb2.FeatureNameStatistics) -> int:
    """How many examples have a value of a feature."""
    common = (
        feature.num_stats if feature.HasField("num_stats") else feature.string_stats
    ).common_stats
    return int(common.num_non_missing)


def shares(feature: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    """Share of each name, most frequent first."""
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets)
    return {bucket.label: bucket.sample_count / total for bucket in buckets}


def median(feature: statistics_pb2.FeatureNameStatistics) -> float:
    """Median of a numeric feature."""
    return float(feature.num_stats.median)


def images_of(dataset: Dataset) -> int:
    """How many examples the statistics are of."""
    return int(dataset.num_examples)


def as_text(value: float) -> str:
    """A number with as many digits as it tells."""
    return f"{value:.0f}" if abs(value) >= 10 or not np.isfinite(value) else f"{value:.2g}"
