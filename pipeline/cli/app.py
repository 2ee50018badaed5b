"""The command's groups, and the options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from cxrflow.schema.commands import program
from cxrflow.schema.packages import installed


def examples(*commands: str) -> str:
    """A command's examples, as they can be typed here."""
    here = [command.replace("cxrflow", program(), 1) for command in commands]
    return "\n\n".join(["**Examples**", *(f"`{command}`" for command in here)])


app = typer.Typer(
    epilog=examples("cxrflow run --profile demo", "cxrflow data check /data/nih"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
data = typer.Typer(
    help="Make, fetch and check data folders.",
    epilog=examples("cxrflow data phantom --to phantoms", "cxrflow data check phantoms"),
    no_args_is_help=True,
)
app.add_typer(data, name="data")
config = typer.Typer(
    help="Look at the settings of a run and of the server.",
    epilog=examples("cxrflow config show", "cxrflow config show train --profile nih"),
    no_args_is_help=True,
)
app.add_typer(config, name="config")
runs = typer.Typer(
    help="Look at finished runs.",
    epilog=examples("cxrflow runs list", "cxrflow runs list /big/runs"),
    no_args_is_help=True,
)
app.add_typer(runs, name="runs")
models = typer.Typer(
    help="Look at pushed versions, compare two, promote one, roll back, push one from elsewhere, "
    "verify and sign them.",
    epilog=examples(
        "cxrflow models list --root runs/demo",
        "cxrflow models compare --root runs/demo",
        "cxrflow models promote --root runs/demo",
        "cxrflow models rollback --root runs/demo",
        "cxrflow models push /data/saved_model --root /srv/models",
        "cxrflow models verify --root runs/demo",
    ),
    no_args_is_help=True,
)
app.add_typer(models, name="models")


def complete_profile(incomplete: str) -> list[str]:
    """Shipped profiles, and YAML files here, that begin so; for the shell's completion."""
    from cxrflow.pipeline.config import profiles

    files = [str(path) for path in Path().glob("*.yaml")]
    return [name for name in [*profiles(), *files] if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[str]:
    """Settings that begin so, each with its "=", for `--set`."""
    from cxrflow.pipeline.settings import PipelineConfig
    from cxrflow.schema.setting_docs import describe

    names = [s.name for s in describe(PipelineConfig()) if not s.is_section]
    return [f"{name}=" for name in names if name.startswith(incomplete)]


Root = Annotated[
    Path | None,
    typer.Option(help="Folder of the run; default: runs/PROFILE.", file_okay=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting; repeatable. `config show` lists all.",
        autocompletion=complete_setting,
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        packages = ("cxrflow", "tfx", "tensorflow", "keras", "apache-beam")
        typer.echo(", ".join(f"{name} {installed(name) or 'missing'}" for name in packages))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of cxrflow and of what it stands on.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Chest X-ray classification, from a folder of X-rays to a served model.

    Not a medical device.
    """
