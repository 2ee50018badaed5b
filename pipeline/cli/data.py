"""`cxrflow data`: make, fetch and check data folders."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from cxrflow.pipeline.cli.app import Overrides, data, examples
from cxrflow.schema.commands import command_line
from cxrflow.schema.errors import CxrflowError

if TYPE_CHECKING:
    from cxrflow.components.ingest.check import CheckReport


@data.command(
    epilog=examples("cxrflow data phantom --to phantoms --patients 240 --prevalence-scale 6")
)
def phantom(
    to: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
    patients: Annotated[int, typer.Option(help="Number of patients.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    prevalence_scale: Annotated[
        float, typer.Option(help="Raises every finding's prevalence, for small sets.")
    ] = 1.0,
    min_severity: Annotated[
        float, typer.Option(help="Mildest finding to draw: 0 is just visible, 1 plain.")
    ] = 0.0,
) -> None:
    """Write synthetic X-rays with planted findings, in Kaggle's layout."""
    from cxrflow.components.ingest.phantom import write_phantoms
    from cxrflow.pipeline.terminal import progress_bar

    with progress_bar("synthetic X-rays"):
        images = write_phantoms(to, patients, seed, prevalence_scale, min_severity)
    print(f"{images:,} synthetic X-rays of {patients:,} patients in {to}")
    print(f"next: {command_line('data', 'check', to)}")


@data.command(
    epilog=examples(
        "cxrflow data check /data/nih",
        "cxrflow data check /data/nih --headers-only",
        "cxrflow data check /data/own --profile own",
        "cxrflow data check /data/chexpert --set data=chexpert",
    )
)
def check(
    folder: Annotated[
        Path, typer.Argument(help="Folder in Kaggle's layout, or as its data.yaml describes it.")
    ],
    profile: Annotated[str, typer.Option(help="Whose limits and split apply.")] = "nih",
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Don't read every byte of every image.")
    ] = False,
    set_: Overrides = None,
) -> None:
    """Tell what a run would find wrong in a folder: table, images, splits."""
    from cxrflow.components.ingest.check import check_folder
    from cxrflow.pipeline import config as settings
    from cxrflow.pipeline.data import ingest_settings
    from cxrflow.pipeline.terminal import progress_bar

    config = settings.load(profile, set_ or [], folder)
    ingest = ingest_settings(config)
    with progress_bar("checking"):
        report = check_folder(str(folder), ingest, source=config.data, whole=not headers_only)
    _show_check(report)


@data.command(
    epilog=examples(
        "cxrflow data describe /data/own",
        "cxrflow data describe /data/chexpert --like chexpert",
    )
)
def describe(
    folder: Annotated[Path, typer.Argument(help="Folder with tables, and images or DICOM files.")],
    to: Annotated[
        Path | None, typer.Option(help="File to write; default: data.yaml in the folder.")
    ] = None,
    like: Annotated[
        str, typer.Option(help="Start from a ready one: chexpert, mimic_cxr, nih, padchest, ...")
    ] = "",
) -> None:
    """Look at a folder and write a first description of it, to be edited."""
    from cxrflow.components.ingest.source.describe import describe as look
    from cxrflow.pipeline.descriptions import FILE, ready

    found = look(folder, to or folder / FILE, ready(like) if like else "")
    for line in found.said:
        print(line)
    elsewhere = to.absolute() if to and to.absolute() != (folder / FILE).absolute() else ""
    which = ("--set", f"data={data}") if (data := found.data or elsewhere) else ()
    print(f"next: {command_line('data', 'check', folder, '--profile', 'own', *which)}")


@data.command(epilog=examples("cxrflow data manifest /data/nih"))
def manifest(
    folder: Annotated[Path, typer.Argument(help="Folder in Kaggle's layout.")],
) -> None:
    """List a large folder's images once, so that no start of a run looks at each of them."""
    from cxrflow.components.ingest.folder import write_manifest
    from cxrflow.components.ingest.manifest import FILE

    images = write_manifest(folder)
    print(f"{images:,} images listed in {folder / FILE}")
    print("write it again when images come, go or change")


@data.command(
    epilog=examples(
        "cxrflow data download --dataset sample --to /data/sample",
        "cxrflow data download --dataset full --to /data/nih",
        "cxrflow data download --from /mnt/nih_archives --to /data/nih",
    )
)
def download(
    to: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
    dataset: Annotated[
        str, typer.Option(help="From Kaggle: sample (5,606 images) or full (112,120).")
    ] = "",
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Instead: folder with NIH's own archives, images_001.tar.gz to images_012.tar.gz, "
            "table and lists; what it lacks can be added later.",
        ),
    ] = None,
) -> None:
    """Fetch the NIH X-rays from Kaggle, or take NIH's archives; verify, unpack and check them.

    The same command goes on where an earlier one was stopped. A data card with hashes is written
    beside the data.
    """
    from cxrflow.pipeline import config as settings
    from cxrflow.pipeline.data import ingest_settings
    from cxrflow.pipeline.terminal import progress_bar

    if not dataset and not from_:
        raise CxrflowError(
            "Missing option '--dataset': sample or full, from Kaggle; or --from DIR with NIH's own "
            "archives"
        )
    if dataset and from_:
        raise CxrflowError("--dataset and --from: give one of them")
    if from_:
        from cxrflow.components.ingest.nih_archives import take

        taken = take(from_, to, ingest_settings(settings.load("nih")), progress_bar)
        for line in taken.said:
            print(line)
        _show_check(taken.report)
        return
    from cxrflow.components.ingest.kaggle import download as fetch

    if dataset not in ("sample", "full"):
        raise CxrflowError(f"--dataset {dataset}: name one of sample, full")
    known = cast("Literal['sample', 'full']", dataset)
    ingest = ingest_settings(settings.load("nih" if dataset == "full" else "nih_sample"))
    _show_check(fetch(known, to, ingest, progress_bar))


def _show_check(report: "CheckReport") -> None:
    from rich import print as show

    from cxrflow.components.ingest.check import render

    show(render(report))
    if report.stop:  # the report's last line says why
        raise typer.Exit(2)
