"""Where a run's X-rays come from: the folder that the user names, or phantoms made here."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cxrflow.pipeline.record import path_below
from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.paths import require_mounted, require_plain

if TYPE_CHECKING:
    from cxrflow.components.ingest.plan import Settings


def ingest_settings(config: PipelineConfig) -> "Settings":
    """The settings of ingest as plain values, as its functions take them."""
    return cast("Settings", asdict(config.ingest))


def require(config: PipelineConfig, data_dir: Path | None) -> None:
    """Checks that a run has X-rays to read, before anything is written or TensorFlow is loaded.

    Raises:
        CxrflowError: the folder doesn't exist, ingest would refuse its table, lists or file names,
            or neither folder nor phantoms are configured.
    """
    _require_source(config, data_dir)
    if data_dir is not None:
        from cxrflow.components.ingest.plan import check_cheaply

        check_cheaply(str(data_dir.resolve()), ingest_settings(config), config.data)


def _require_source(config: PipelineConfig, data_dir: Path | None) -> None:
    if data_dir is not None:
        require_mounted(data_dir, "--data")
        require_plain(os.path.realpath(data_dir), "--data")
        if not os.path.isdir(data_dir):
            from cxrflow.components.ingest.folder import half_fetched

            raise CxrflowError(
                f"no folder {data_dir}: --data takes a folder of X-rays{half_fetched(data_dir)}"
            )
    if data_dir is None and not config.phantom.patients:
        raise CxrflowError(
            "this profile needs X-rays: add --data DIR (or --set phantom.patients=300 to try it "
            "on synthetic ones)"
        )


def find(config: PipelineConfig, data_dir: Path | None, root: Path) -> Path:
    """The data folder of a run, absolute; writes the profile's phantoms where none is named."""
    _require_source(config, data_dir)
    if data_dir is not None:
        return data_dir.resolve()
    from cxrflow.components.ingest.phantom import write_phantoms

    phantom = config.phantom
    # Other phantoms get another folder: write_phantoms refuses one with other settings.
    name = f"phantoms-{phantom.patients}-{phantom.seed}-{phantom.prevalence_scale:g}"
    if phantom.min_severity:
        name += f"-{phantom.min_severity:g}"
    folder = root.resolve() / name
    write_phantoms(folder, **asdict(phantom))
    return folder


def as_named(folder: Path, root: Path, config: PipelineConfig) -> Path:
    """A data folder as the nodes of a root call it: relative to the root where it lies below it.

    Then the root can be moved. Beam's workers elsewhere take it for a path of their own, though.
    """
    return folder if config.beam.is_remote else Path(path_below(str(folder), root))


def is_synthetic(folder: Path) -> bool:
    """Whether the folder holds phantoms."""
    return (folder / "SYNTHETIC.json").is_file()
