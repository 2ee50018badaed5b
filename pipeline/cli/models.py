"""`cxrflow models`: pushed versions and their labels."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cxrflow.pipeline.cli.app import examples, models
from cxrflow.schema.commands import command_line
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.text import visible

ServingRoot = Annotated[
    Path, typer.Option(help="A serving root, or a run's root.", file_okay=False)
]
ModelName = Annotated[str, typer.Option(help="Needed where the root holds several models.")]
PromotedVersion = Annotated[
    int | None,
    typer.Option(
        "--version", metavar="N", min=0, help="Which to promote; default: the canary's. See list."
    ),
]
EarlierVersion = Annotated[
    int | None,
    typer.Option(
        "--version",
        metavar="N",
        min=0,
        help="Which to go back to; default: what was stable before.",
    ),
]
NamedModel = Annotated[str, typer.Argument(help="Default: every model of the root.")]
NamedVersion = Annotated[int | None, typer.Argument(min=0, help="Default: all of the model's.")]
Force = Annotated[
    bool, typer.Option("--force", help="Also a version that the running server rejected.")
]
Wait = Annotated[
    float,
    typer.Option(min=0, max=3600, help="Seconds to wait for the running server to take it over."),
]


@models.command(
    "list",
    epilog=examples(
        "cxrflow models list --root runs/demo", "cxrflow models list --root /srv/models --name cxr"
    ),
)
def list_versions(root: ServingRoot, name: ModelName = "") -> None:
    """Show a model's versions: labels, whole or damaged, when they were pushed, mean AUC.

    Of a server that runs on this machine, also what it serves and what it rejected, and why.
    """
    from cxrflow.components.publish.models import find_model
    from cxrflow.pipeline.models import show_versions

    show_versions(find_model(root, name))


@models.command(
    epilog=examples(
        "cxrflow models compare --root runs/demo",
        "cxrflow models compare 1795387128 1795409420 --root runs/demo",
    )
)
def compare(
    root: ServingRoot,
    versions: Annotated[
        list[int] | None,
        typer.Argument(min=0, help="Two, or one against stable; default: stable and the newest."),
    ] = None,
    name: ModelName = "",
) -> None:
    """Show two versions side by side: test AUC per class, members, data, code."""
    from cxrflow.components.publish.models import find_model
    from cxrflow.pipeline.reports.compare import compare as find
    from cxrflow.pipeline.reports.compare import show_comparison

    show_comparison(*find(find_model(root, name), versions or []))


@models.command(
    epilog=examples(
        "cxrflow models promote --root runs/demo",
        "cxrflow models promote --root runs/demo --version 1795387128 --pin",
        "cxrflow models promote --root runs/demo --version 1795387128 --label canary",
        "cxrflow models promote --root runs/demo --version 1795387128 --label night --new-label",
    )
)
def promote(
    root: ServingRoot,
    name: ModelName = "",
    version: PromotedVersion = None,
    label: Annotated[
        str, typer.Option(help="The label to move: stable, canary or another one in use.")
    ] = "stable",
    new_label: Annotated[
        bool, typer.Option("--new-label", help="The label is a new one, not a typo.")
    ] = False,
    pin: Annotated[
        bool, typer.Option("--pin", help="Keep stable there, whatever is pushed later.")
    ] = False,
    force: Force = False,
    wait: Wait = 60,
) -> None:
    """Move a label: the canary, or version N, becomes stable, which is what is served.

    Exit code 1: the label is moved, but the running server hasn't taken the version over.
    """
    from cxrflow.components.publish import models as published

    folder = published.find_model(root, name)
    before, now = published.promote(folder, version, label, pin, new_label, force)
    was = "" if before in (None, now) else f", was {before}"
    _done(f"{folder.name}: {label} is {now}{' (pinned)' if pin else ''}{was}")
    _await(folder, label, now, wait)


@models.command(
    epilog=examples(
        "cxrflow models rollback --root runs/demo",
        "cxrflow models rollback --root runs/demo --version 1795387128",
    )
)
def rollback(
    root: ServingRoot,
    name: ModelName = "",
    version: EarlierVersion = None,
    force: Force = False,
    wait: Wait = 60,
) -> None:
    """Make the version before stable, and pin it, so that the next push doesn't undo that.

    Exit code 1: the label is moved, but the running server hasn't taken the version over.
    """
    from cxrflow.components.publish import models as published

    folder = published.find_model(root, name)
    before, now = published.rollback(folder, version, force)
    back = command_line("models", "promote", "--root", root, "--version", "N")
    _done(
        f"{folder.name}: stable is {now} (pinned), was {before}\n"
        f"next: {back}, once there is a better one"
    )
    _await(folder, "stable", now, wait)


@models.command(
    epilog=examples(
        "cxrflow models push /data/saved_model --root /srv/models",
        "cxrflow models push /data/saved_model --root /srv/models --label canary",
        "cxrflow models push /data/saved_model --root /srv/models --name lungs",
    )
)
def push(
    model: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A SavedModel with the signatures of ours."),
    ],
    root: ServingRoot,
    name: Annotated[str, typer.Option(help="Of the model among those served.")] = "cxrflow",
    label: Annotated[
        str, typer.Option(help="stable: it is served; canary: on request, until it is promoted.")
    ] = "stable",
    wait: Wait = 60,
) -> None:
    """Push a model from elsewhere, whole or not at all, once it is known to be fit for serving.

    It needs saved_model.pb with the signature serving_default (image_bytes to probabilities),
    assets.extra/model.json with {"classes": [NAME, ...]} and
    assets.extra/tf_serving_warmup_requests. Exit code 1: it is pushed, but the running server
    hasn't taken it over.
    """
    from cxrflow.components.publish.foreign import push_foreign
    from cxrflow.pipeline.models import say_served

    folder, labels = push_foreign(model, root, name, label)
    version = int(folder.name)
    has = labels.get(label) == version
    held = f"; {label} stays on {labels.get(label)}" if not has else ""
    _done(f"{name}: version {version} is pushed{f' as {label}' if has else held}")
    if has and wait and not say_served(folder.parent, label, version, wait):
        raise typer.Exit(1)


@models.command(
    epilog=examples(
        "cxrflow models verify --root runs/demo",
        "cxrflow models verify cxrflow 1795387128 --root runs/demo --key operator.pub.pem",
    )
)
def verify(
    root: ServingRoot,
    name: NamedModel = "",
    version: NamedVersion = None,
    key: Annotated[
        Path | None,
        typer.Option(help="PEM file of the operator's Ed25519 key: what isn't signed by it fails."),
    ] = None,
) -> None:
    """Check that versions are what they say: bytes, signature, papers, and one answer.

    Reads every byte against the manifest, checks the signature, model.json and metadata.json, runs
    the model once and holds its answer against what metadata.json promises. Exit code 1: one of
    them has a fault, each of which is a line.
    """
    from cxrflow.components.publish.verify import verify as check
    from cxrflow.pipeline.models import named_versions
    from cxrflow.pipeline.terminal import redirected_to
    from cxrflow.schema.store.signature import public_key

    trusted = public_key(key) if key else None
    folders = named_versions(root, name, version)
    is_well = True
    for folder in folders:
        with tempfile.TemporaryDirectory() as log, redirected_to(Path(log, "log")):
            found = check(folder, trusted)
        is_well = is_well and not found.faults
        which = f"{folder.parent.name} {folder.name}"
        for fault in found.faults:
            print(visible(f"{which}: fault: {fault}"))
        print(visible(f"{which}: {'; '.join(found.notes)}"), flush=True)
    if not is_well:
        raise typer.Exit(1)


@models.command(
    epilog=examples(
        "cxrflow models sign --root runs/demo --key operator.pem",
        "cxrflow models sign cxrflow 1795387128 --root runs/demo --key operator.pem",
    )
)
def sign(
    root: ServingRoot,
    key: Annotated[Path, typer.Option(help="PEM file of an Ed25519 private key.")],
    name: NamedModel = "",
    version: NamedVersion = None,
) -> None:
    """Sign versions with the operator's key, so that `verify --key` knows them as his.

    A version whose bytes aren't those of its manifest isn't signed. With the setting
    `publish.signing_key` a run signs what it pushes.
    """
    from cxrflow.pipeline.models import named_versions
    from cxrflow.schema.store.manifest import verify as manifest_faults
    from cxrflow.schema.store.signature import private_key
    from cxrflow.schema.store.signature import sign as write_signature

    operator = private_key(key)
    for folder in named_versions(root, name, version):
        if faults := manifest_faults(folder):
            raise CxrflowError(f"version {folder.name} is damaged ({faults[0]}): it isn't signed")
        write_signature(folder, operator)
        _done(f"{folder.parent.name}: version {folder.name} is signed")


def _await(folder: Path, label: str, version: int, seconds: float) -> None:
    """Exit code 1 where a server runs and hasn't taken the version over."""
    from cxrflow.pipeline.models import say_served

    if seconds and not say_served(folder, label, version, seconds):
        raise typer.Exit(1)


def _done(text: str) -> None:
    """Says what was done; that it can't be said doesn't undo it."""
    try:
        print(text, flush=True)
    except OSError as error:
        first = text.splitlines()[0]
        raise CxrflowError(
            f"{first}; the output can't be written, though: {error.strerror}"
        ) from None
