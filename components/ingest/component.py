"""ImageExampleGen: the TFX node that turns a folder of chest X-rays into raw tf.Examples."""

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact, component_spec, standard_artifacts, system_artifacts

from cxrflow.components.ingest.executor import Executor


class Quarantine(artifact.Artifact):
    """What ingest set aside: `quarantine.csv` (image, row, reason, detail) and `summary.json`.

    Custom properties: `rows` (looked at), `set_aside`, and the count of each reason that occurred.
    """

    TYPE_NAME = "Quarantine"
    TYPE_ANNOTATION = system_artifacts.Dataset


class ImageExampleGenSpec(component_spec.ComponentSpec):
    """Outputs and execution properties of ImageExampleGen."""

    PARAMETERS = {  # noqa: RUF012
        "data_dir": component_spec.ExecutionParameter(type=str),
        "settings": component_spec.ExecutionParameter(type=str),
        "data_fingerprint": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, component_spec.ChannelParameter]] = {}
    OUTPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "records": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": component_spec.ChannelParameter(type=Quarantine),
    }


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Reads a data folder in Kaggle's layout.

    Outputs:
        examples: raw examples with the images' bytes; uncompressed TFRecords, since gzip does
            nothing for PNGs; splits train, eval and test, no patient in two of them.
        records: the same examples without `image/encoded`, for whoever needs no pixels.
        quarantine: what was set aside, and why.
    """

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, data_dir: str, settings: str, data_fingerprint: str, code_version: str):
        """Constructs the node.

        Args:
            data_dir: absolute path of the data folder.
            settings: JSON of `cxrflow.components.ingest.plan.Settings`.
            data_fingerprint: `ingest.folder.fingerprint(data_dir)`; new data, new run.
            code_version: hash of this step's source; new code, new run.
        """
        super().__init__(
            ImageExampleGenSpec(
                data_dir=data_dir,
                settings=settings,
                data_fingerprint=data_fingerprint,
                code_version=code_version,
                examples=types.Channel(type=standard_artifacts.Examples),
                records=types.Channel(type=standard_artifacts.Examples),
                quarantine=types.Channel(type=Quarantine),
            )
        )
