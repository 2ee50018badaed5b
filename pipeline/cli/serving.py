"""`cxrflow serve` and `cxrflow predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrflow.pipeline.cli.app import app, examples
from cxrflow.schema.errors import CxrflowError

if TYPE_CHECKING:
    from cxrflow.serving.settings import ServerConfig


@app.command(
    epilog=examples(
        "cxrflow serve --root runs/demo",
        "cxrflow serve --root /srv/models --host 0.0.0.0 --tls-cert server.pem --tls-key key.pem",
        "cxrflow serve --root /srv/models --config server.yaml",
        "cxrflow serve --root /srv/models --print-config --to deploy",
    )
)
def serve(
    root: Annotated[
        Path, typer.Option(help="Folder of a run, or of models: DIR/MODEL/VERSION/.")
    ] = Path("runs/demo"),
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="gRPC port, 0 for any free one; default: 8500.")
    ] = None,
    rest_port: Annotated[
        int | None, typer.Option(help="REST port, 0 for any free one; default: 8501.")
    ] = None,
    tls_cert: Annotated[str, typer.Option(help="Server certificate, PEM.")] = "",
    tls_key: Annotated[str, typer.Option(help="Its key, PEM.")] = "",
    tls_client_ca: Annotated[
        str, typer.Option(help="CA that clients' certificates must be signed by, PEM.")
    ] = "",
    shadow: Annotated[
        str,
        typer.Option(
            metavar="LABEL",
            help="Ask the version of this label the same in the background, and log both answers.",
        ),
    ] = "",
    shadow_log: Annotated[
        Path | None,
        typer.Option(help="That log; default: shadow.jsonl in the run's logs or here."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with any field of serving/settings.py.")
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="Log file, or - for stderr; default: in the run's logs or here."),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="Print the files for TF Serving in Docker instead."),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="With --print-config: a folder to write them to.", file_okay=False),
    ] = None,
) -> None:
    """Serve the newest or labelled version over TF Serving's gRPC and REST APIs.

    New versions are taken over while it runs; Ctrl-C or SIGTERM lets requests under way finish.
    """
    from contextlib import nullcontext
    from datetime import datetime

    from rich.console import Console

    from cxrflow.pipeline.terminal import redirected_to
    from cxrflow.schema.lean import lean_import
    from cxrflow.serving import logs
    from cxrflow.serving.settings import read_config

    given = {
        "host": host,
        "grpc_port": port,
        "rest_port": rest_port,
        "tls_certificate": tls_cert or None,
        "tls_key": tls_key or None,
        "tls_client_ca": tls_client_ca or None,
    }
    settings = read_config(config, **{k: v for k, v in given.items() if v is not None})
    settings = _with_shadow(settings, shadow, shadow_log, root)
    if not root.is_dir():
        raise CxrflowError(f"--root {root} is no folder: name a run's folder or one of models")
    if to and not print_config:
        raise CxrflowError("--to is for --print-config: give both, or neither")
    if print_config:
        _print_deployment(root, settings, to)
        return
    _require_servable(root, settings)  # what can go wrong is told before TensorFlow's import
    name = f"{datetime.now():%Y%m%d-%H%M%S}-serve.log"
    log = log or (root / "logs" / name if (root / "serving").is_dir() else Path(name))
    here = str(log) == "-"
    with nullcontext(Console()) if here else redirected_to(log) as console:
        logs.start(None if here else log, settings.log_max_bytes, settings.log_backups)
        from cxrflow.schema.store.versions import serving_root

        with lean_import():
            from cxrflow.serving import server

        said = "" if here else f"\nlog: {log}"
        server.serve(
            serving_root(root),
            settings,
            lambda ready: console.print(f"{ready.describe()}{said}", soft_wrap=True),
        )
        console.print("stopped")


def _with_shadow(
    settings: "ServerConfig", label: str, log: Path | None, root: Path
) -> "ServerConfig":
    """The settings with what the command says of a shadow."""
    from dataclasses import replace

    from pydantic import ValidationError

    from cxrflow.serving.settings import ShadowConfig

    label = label or settings.shadow.label
    if log and not label:
        raise CxrflowError("--shadow-log is the log of --shadow LABEL: give both, or neither")
    if not label:
        return settings
    usual = settings.shadow.log == ShadowConfig().log and (root / "serving").is_dir()
    inside = str(root / "logs" / settings.shadow.log) if usual else settings.shadow.log
    try:
        of = replace(settings.shadow, label=label, log=str(log or inside))
    except ValidationError as error:
        text = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise CxrflowError(f"--shadow: {text}") from None
    return replace(settings, shadow=of)


def _require_servable(root: Path, config: "ServerConfig") -> None:
    from cxrflow.schema.store.versions import list_models, serving_root
    from cxrflow.serving.addresses import require_free
    from cxrflow.serving.tls import server_context

    if not list_models(serving_root(root)):
        raise CxrflowError(
            f"there is no model in {serving_root(root)}: push one with `cxrflow run`"
        )
    if config.grpc_port == config.rest_port != 0:
        raise CxrflowError(f"--port and --rest-port are both {config.grpc_port}: give two")
    require_free(config.host, config.grpc_port, "--port")
    require_free(config.host, config.rest_port, "--rest-port")
    server_context(config)


def _print_deployment(root: Path, config: "ServerConfig", to: Path | None) -> None:
    from cxrflow.schema.store.versions import serving_root
    from cxrflow.serving.tf_serving import deployment

    root = serving_root(root)
    if to is None:
        print(deployment.show(deployment.render(root, config)))
        return
    for path in deployment.write(root, config, to):
        print(path)
    print(f"next: docker compose --project-directory {to} up --detach --wait")


@app.command(
    epilog=examples(
        "cxrflow predict xray.png",
        "cxrflow predict study.dcm /data/xrays --format csv > answers.csv",
        "cxrflow predict /data/xrays --resume answers.csv",
        "cxrflow predict xray.png --server cxr.hospital:8500 --tls-ca ca.pem --label canary",
    )
)
def predict(
    images: Annotated[
        list[Path],
        typer.Argument(help="PNG, JPEG or DICOM files, or folders of them; their contents count."),
    ],
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Its gRPC address.")
    ] = "127.0.0.1:8500",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "cxrflow",
    version: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Default: what the server serves.")
    ] = None,
    label: Annotated[str, typer.Option(help="stable or canary, instead of a version.")] = "",
    attention: Annotated[
        bool, typer.Option("--attention", help="Ask where the model looks, too.")
    ] = False,
    format_: Annotated[
        str, typer.Option("--format", help="table, json, csv or jsonl; default: table.")
    ] = "",
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Write to this .csv or .jsonl; go on where an earlier run stopped. Files that it "
            "has an answer for, by name, aren't asked again; failed ones are.",
            dir_okay=False,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="The run or models served: names classes where TF Serving can't.", file_okay=False
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Images under way at the same time.")] = 8,
    deadline: Annotated[
        float, typer.Option(min=0.001, help="Seconds for an answer, retries included.")
    ] = 30,
    give_up: Annotated[
        int, typer.Option(min=0, help="Failures of the server in a row that end it; 0: never.")
    ] = 10,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse what the model takes for no chest X-ray, and DICOMs that aren't a frontal "
            "one or are badly exposed.",
        ),
    ] = False,
    tls_ca: Annotated[str, typer.Option(help="CA of the server's certificate, PEM.")] = "",
    tls_cert: Annotated[str, typer.Option(help="This client's certificate, PEM.")] = "",
    tls_key: Annotated[str, typer.Option(help="Its key, PEM.")] = "",
) -> None:
    """Ask a server about X-rays. Every file gets its answer or the reason why it has none.

    Of folders, the PNG, JPEG and DICOM files are asked about, whatever their names; what else
    there is gets counted. Exit code 0: all images were answered; 1: some failed; 2: nothing could
    be asked, the output not written to its end, or the server failed so often that it was given up.
    """
    import os
    import warnings

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its errors are in the results
    warnings.filterwarnings("ignore", module="pydicom")  # what matters is in the results

    from pydantic import ValidationError

    from cxrflow.pipeline.predict import predict as ask
    from cxrflow.serving.client import ClientConfig

    try:
        config = ClientConfig(
            server=server,
            model=model,
            version=version,
            label=label,
            attention=attention,
            root=root,
            window=window,
            deadline=deadline,
            give_up=give_up,
            strict=strict,
            tls_ca=tls_ca,
            tls_certificate=tls_cert,
            tls_key=tls_key,
        )
    except ValidationError as error:
        wrong = error.errors()[0]
        raise CxrflowError(f"--{wrong['loc'][0]} {wrong['input']}: {wrong['msg']}") from None
    if ask(images, config, format_, resume):
        raise typer.Exit(1)
