"""`cxrflow config`: the settings there are."""

import json
from typing import Annotated

import typer

from cxrflow.pipeline.cli.app import Overrides, complete_profile, config, examples
from cxrflow.schema.errors import CxrflowError


@config.command(
    epilog=examples(
        "cxrflow config show",
        "cxrflow config show train --profile nih",
        "cxrflow config show --profile nih --set train.epochs=3 > my.yaml",
        "cxrflow config show --server > server.yaml",
    )
)
def show(
    section: Annotated[
        str, typer.Argument(help="Show this section or setting only, such as train.")
    ] = "",
    profile: Annotated[
        str | None,
        typer.Option(
            help="Whose values are shown; default: the settings' own defaults.",
            autocompletion=complete_profile,
        ),
    ] = None,
    set_: Overrides = None,
    server: Annotated[
        bool, typer.Option("--server", help="The settings of `cxrflow serve --config` instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Print every setting with its value, meaning, type and default, as a profile to edit."""
    from cxrflow.pipeline import config as settings
    from cxrflow.pipeline.config_page import page, rows
    from cxrflow.serving.settings import ServerConfig

    if server and (profile or set_):
        raise CxrflowError("--server shows the server's defaults: leave --profile and --set out")
    chosen = ServerConfig() if server else settings.load(profile, set_ or [])
    if as_json:
        typer.echo(json.dumps(rows(chosen, section), indent=1))
    else:
        typer.echo(page(chosen, section))
