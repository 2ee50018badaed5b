"""The command's groups, and the options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def examples(*commands: str) -> str:
    return "\n\n".join(["**Examples**", *(f"`{command}`" for command in commands)])


app = typer.Typer(
    help="Chest X-ray classification, from a folder of X-rays to a served model. "
    "Not a medical device.",
    epilog=examples("cxrflow run --profile demo", "cxrflow data check /data/nih"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
data = typer.Typer(
    help="Make, fetch and check data folders.",
    epilog=examples("cxrflow data phantom --to phantoms", "cxrflow data check phantoms"),
    no_args_is_help=True,
)
app.add_typer(data, name="data")
models = typer.Typer(
    help="Look at pushed versions, promote one, roll back.",
    epilog=examples(
        "cxrflow models list --root runs/demo",
        "cxrflow models promote --root runs/demo",
        "cxrflow models rollback --root runs/demo",
    ),
    no_args_is_help=True,
)
app.add_typer(models, name="models")

Root = Annotated[
    Path | None,
    typer.Option(help="Folder of the run; default: runs/PROFILE.", file_okay=False),
]
