"""The `cxrflow` command. TensorFlow and TFX are imported only by the commands that need them."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from schema.errors import CxrflowError

if TYPE_CHECKING:
    from components.ingest.check import CheckReport
    from serving.settings import ServerConfig

_RESUMING = {"run", "study", "download"}  # commands that go on where they were stopped
_INTERRUPTED = 130  # Typer's exit code after Ctrl-C


def _examples(*commands: str) -> str:
    return "\n\n".join(["**Examples**", *(f"`{command}`" for command in commands)])


app = typer.Typer(
    help="Chest X-ray classification, from a folder of X-rays to a served model. "
    "Not a medical device.",
    epilog=_examples("cxrflow run --profile demo", "cxrflow data check /data/nih"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
data = typer.Typer(
    help="Make, fetch and check data folders.",
    epilog=_examples("cxrflow data phantom --to phantoms", "cxrflow data check phantoms"),
    no_args_is_help=True,
)
app.add_typer(data, name="data")
models = typer.Typer(
    help="Look at pushed versions, promote one, roll back.",
    epilog=_examples(
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


@app.command(
    epilog=_examples(
        "cxrflow run --profile demo",
        "cxrflow run --profile nih --data /data/nih --set train.epochs=3",
        "cxrflow run --profile my.yaml --data /data/nih --root /big/run1 --engine beam",
    )
)
def run(
    profile: Annotated[
        str, typer.Option(help="demo, nih_mini, nih_sample, nih, or a YAML file.")
    ] = "demo",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with X-rays in Kaggle's layout; demo makes its own."),
    ] = None,
    root: Root = None,
    engine: Annotated[
        str, typer.Option(help="local (TFX's LocalDagRunner) or beam (BeamDagRunner).")
    ] = "local",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable."),
    ] = None,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, evaluate, gate, push."""
    from pipeline import config as settings
    from pipeline import run as runs
    from pipeline.summary import show

    if engine not in runs.ENGINES:
        raise CxrflowError(f"--engine {engine}: name one of {', '.join(runs.ENGINES)}")
    config = settings.load(profile, set_ or [])
    folder = root or Path("runs") / Path(profile).stem
    show(runs.run_pipeline(config, data, folder, engine), folder)


@app.command(
    epilog=_examples(
        "cxrflow study --profile study",
        "cxrflow study --profile nih_mini --data /data/nih_mini --experiments head",
        "cxrflow study --profile nih --data /data/nih --set tune.images_seen=655360",
    )
)
def study(
    profile: Annotated[
        str, typer.Option(help="Whose data settings, recipe and `tune` grids apply.")
    ] = "study",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with X-rays in Kaggle's layout; study makes its own."),
    ] = None,
    root: Root = None,
    experiments: Annotated[
        str, typer.Option(help="Which ones, comma-separated; default: all.")
    ] = "optimizer,learning_rate_batch,image_size,color,head",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable."),
    ] = None,
) -> None:
    """Repeat the 2019 study's experiments and write its tables with ours beside them.

    Every trial starts from the same weights, sees the same number of images and is scored on eval.
    """
    from pipeline import config as settings
    from pipeline.study import find_experiments, run_study
    from pipeline.summary import SYNTHETIC

    config = settings.load(profile, set_ or [])
    folder = root or Path("runs") / Path(profile).stem
    pages = run_study(config, data, folder, find_experiments(experiments))
    for page in pages:
        print(f"{page.result.experiment}: {page.path}")
        print(f"  best on eval: {page.winner or 'none, too many trials failed'}")
    if pages[0].result.synthetic:
        print(SYNTHETIC)


@app.command(
    epilog=_examples(
        "cxrflow baseline --root runs/nih_mini --weights-dir /data/weights",
    )
)
def baseline(
    root: Annotated[Path, typer.Option(help="Folder of a finished run.", file_okay=False)],
    weights_dir: Annotated[
        str, typer.Option(help="ImageNet MobileNet weights; default: the run's own setting.")
    ] = "",
) -> None:
    """Score frozen ImageNet features + logistic regression on the run's own split.

    The floor that a trained model must clear: per class, C chosen on eval, scored on test.
    """
    from datetime import datetime

    from pipeline.run import Run
    from pipeline.summary import show_baseline
    from pipeline.terminal import progress_bar, redirected_to

    run = Run.read(root)
    train, transform = run.config["train"], run.config["transform"]
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}-baseline.log"
    with redirected_to(log) as console, progress_bar("baseline", console):
        from components.evaluate.baseline import baseline as fit

        found = fit(
            Path(run.artifacts["Transform"]["transformed_examples"]),
            run.config["ingest"]["classes"],
            transform["encoding"],
            transform["image_size"],
            weights_dir or train["weights_dir"],
        )
    show_baseline(run, found)


@app.command(
    epilog=_examples(
        "cxrflow dashboard --root runs/demo",
        "cxrflow dashboard --root runs/nih_mini --to /tmp/pages",
    )
)
def dashboard(
    root: Annotated[Path, typer.Option(help="Folder of a finished run.", file_okay=False)] = Path(
        "runs/demo"
    ),
    to: Annotated[
        Path | None,
        typer.Option(help="Folder for the pages; default: ROOT/dashboard.", file_okay=False),
    ] = None,
) -> None:
    """Write the run's scores, slices, plots and history as pages that open without a network."""
    from datetime import datetime

    from pipeline.run import Run
    from pipeline.terminal import progress_bar, redirected_to

    run = Run.read(root)
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}-dashboard.log"
    with redirected_to(log) as console, progress_bar("dashboard", console):
        from components.evaluate.dashboard.pages import RunFolder, write_dashboard

        folder = RunFolder(
            root=root.resolve(),
            artifacts=run.artifacts,
            ingest=run.config["ingest"],
            data_dir=Path(run.data_dir),
            synthetic=run.synthetic,
        )
        pages = write_dashboard(folder, to or root / "dashboard")
    print("\n".join(str(page) for page in pages))
    print(f"open {pages[0].resolve().as_uri()} in a browser")


@app.command(
    epilog=_examples(
        "cxrflow serve --root runs/demo",
        "cxrflow serve --root /srv/models --host 0.0.0.0 --tls-cert server.pem --tls-key key.pem",
        "cxrflow serve --root /srv/models --config server.yaml",
        "cxrflow serve --root /srv/models --print-config --to deploy",
    )
)
def serve(
    root: Annotated[
        Path, typer.Option(help="Folder of a run, or of models: DIR/<model>/<version>/.")
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
    config: Annotated[
        Path | None, typer.Option(help="YAML file with any field of serving/settings.py.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Log file; default: in the run's logs, or this folder.")
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
    import logging
    from datetime import datetime

    from pipeline.terminal import redirected_to
    from serving.settings import read_config

    given = {
        "host": host,
        "grpc_port": port,
        "rest_port": rest_port,
        "tls_certificate": tls_cert or None,
        "tls_key": tls_key or None,
        "tls_client_ca": tls_client_ca or None,
    }
    settings = read_config(config, **{k: v for k, v in given.items() if v is not None})
    if not root.is_dir():
        raise CxrflowError(f"--root {root} is no folder: name a run's folder or one of models")
    if to and not print_config:
        raise CxrflowError("--to is for --print-config: give both, or neither")
    if print_config:
        _print_deployment(root, settings, to)
        return
    name = f"{datetime.now():%Y%m%d-%H%M%S}-serve.log"
    log = log or (root / "logs" / name if (root / "serving").is_dir() else Path(name))
    with redirected_to(log) as console:
        from serving import server
        from serving.versions import serving_root

        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        server.serve(
            serving_root(root),
            settings,
            lambda ready: console.print(f"{ready.describe()}\nlog: {log}", soft_wrap=True),
        )
        console.print("stopped")


def _print_deployment(root: Path, config: "ServerConfig", to: Path | None) -> None:
    from serving.tf_serving import deployment
    from serving.versions import serving_root

    root = serving_root(root)
    if to is None:
        print(deployment.show(deployment.render(root, config)))
        return
    for path in deployment.write(root, config, to):
        print(path)
    print(f"next: docker compose --project-directory {to} up --detach --wait")


@app.command(
    epilog=_examples(
        "cxrflow predict xray.png",
        "cxrflow predict study.dcm /data/xrays --format csv > answers.csv",
        "cxrflow predict xray.png --server cxr.hospital:8500 --tls-ca ca.pem --label canary",
    )
)
def predict(
    images: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or DICOM files, or folders of them.")
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
    format_: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
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
    tls_ca: Annotated[str, typer.Option(help="CA of the server's certificate, PEM.")] = "",
    tls_cert: Annotated[str, typer.Option(help="This client's certificate, PEM.")] = "",
    tls_key: Annotated[str, typer.Option(help="Its key, PEM.")] = "",
) -> None:
    """Ask a server about X-rays. Every file gets its answer or the reason why it has none.

    Exit code 0: all were answered; 1: some failed; 2: nothing could be asked.
    """
    import warnings

    from pipeline.predict import predict as ask
    from serving.client import ClientConfig

    warnings.filterwarnings("ignore", module="pydicom")  # what matters is in the results
    config = ClientConfig(
        server=server,
        model=model,
        version=version,
        label=label,
        attention=attention,
        root=root,
        window=window,
        deadline=deadline,
        tls_ca=tls_ca,
        tls_certificate=tls_cert,
        tls_key=tls_key,
    )
    if ask(images, config, format_):
        raise typer.Exit(1)


@app.command(
    epilog=_examples(
        "cxrflow explain xray.png --model runs/nih_mini",
        "cxrflow explain /data/nih/images/*.png --model runs/nih_mini --classes Mass,Nodule",
        "cxrflow explain xray.png --model runs/demo/serving/cxrflow/1795387128 --to maps",
    )
)
def explain(
    images: Annotated[list[Path], typer.Argument(help="X-rays, PNG or JPEG.")],
    model: Annotated[
        Path, typer.Option(help="A run's folder, a pushed version or a SavedModel.")
    ] = Path("runs/demo"),
    classes: Annotated[
        str, typer.Option(help="Names, with commas; default: each X-ray's three most probable.")
    ] = "",
    boxes: Annotated[
        Path | None,
        typer.Option(help="A BBox_List_2017.csv; default: the one in the X-ray's data folder."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder for the pictures.", file_okay=False)] = Path(
        "explained"
    ),
) -> None:
    """Draw where a model looks: X-ray, attention maps, true boxes, probabilities."""
    from components.evaluate.explain import check_classes, find_model
    from components.evaluate.explain import explain as draw
    from components.ingest.image import Limits
    from pipeline import config as settings
    from pipeline.run import Run
    from pipeline.terminal import progress_bar, redirected_to

    folder = find_model(Run.read(model).model if (model / "run.json").is_file() else model)
    ingest = settings.load("nih").ingest
    limits = Limits(ingest.min_side, ingest.max_side, ingest.max_bytes)
    names = [name.strip() for name in classes.split(",") if name.strip()]
    check_classes(folder, names)
    with redirected_to(to / "explain.log") as console, progress_bar("explain", console):
        found = draw(images, folder, to, limits, names, boxes)
    for path in found.sheets:
        print(path)
    for problem in found.problems:
        print(f"cxrflow: left out: {problem}", file=sys.stderr)
    if found.synthetic:
        print("the model was trained on synthetic X-rays: its maps say nothing about real ones")
    if not found.sheets:
        raise CxrflowError("none of the images could be read")


@data.command(
    epilog=_examples("cxrflow data phantom --to phantoms --patients 240 --prevalence-scale 6")
)
def phantom(
    to: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
    patients: Annotated[int, typer.Option(help="Number of patients.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    prevalence_scale: Annotated[
        float, typer.Option(help="Raises every finding's prevalence, for small sets.")
    ] = 1.0,
) -> None:
    """Write synthetic X-rays with planted findings, in Kaggle's layout."""
    from components.ingest.phantom import write_phantoms
    from pipeline.terminal import progress_bar

    with progress_bar("synthetic X-rays"):
        images = write_phantoms(to, patients, seed, prevalence_scale)
    print(f"{images:,} synthetic X-rays of {patients:,} patients in {to}")
    print(f"next: cxrflow data check {to}")


@data.command(
    epilog=_examples("cxrflow data check /data/nih", "cxrflow data check /data/nih --headers-only")
)
def check(
    folder: Annotated[Path, typer.Argument(help="Folder in one of Kaggle's layouts.")],
    profile: Annotated[str, typer.Option(help="Whose limits and split apply.")] = "nih",
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Don't read every byte of every image.")
    ] = False,
) -> None:
    """Tell what a run would find wrong in a folder: table, images, splits."""
    from components.ingest.check import check_folder
    from pipeline import config as settings
    from pipeline.terminal import progress_bar

    ingest = asdict(settings.load(profile).ingest)
    with progress_bar("checking"):
        report = check_folder(str(folder), ingest, whole=not headers_only)
    _show_check(report)


@data.command(
    epilog=_examples(
        "cxrflow data download --dataset sample --to /data/sample",
        "cxrflow data download --dataset full --to /data/nih",
    )
)
def download(
    dataset: Annotated[str, typer.Option(help="sample (5,606 images) or full (112,120).")],
    to: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
) -> None:
    """Fetch the NIH X-rays from Kaggle, unpack and check them."""
    from components.ingest.kaggle import download as fetch
    from pipeline import config as settings

    if dataset not in ("sample", "full"):
        raise CxrflowError(f"--dataset {dataset}: name one of sample, full")
    profile = "nih" if dataset == "full" else "nih_sample"
    _show_check(fetch(dataset, to, asdict(settings.load(profile).ingest)))


def _show_check(report: "CheckReport") -> None:
    from rich import print as show

    from components.ingest.check import render

    show(render(report))
    if report.stop:  # the report's last line says why
        raise typer.Exit(2)


ServingRoot = Annotated[
    Path, typer.Option(help="A serving root, or a run's root.", file_okay=False)
]
ModelName = Annotated[str, typer.Option(help="Needed where the root holds several models.")]
VersionNumber = Annotated[int | None, typer.Option("--version", metavar="N", min=0)]


@models.command(
    "list",
    epilog=_examples(
        "cxrflow models list --root runs/demo", "cxrflow models list --root /srv/models --name cxr"
    ),
)
def list_versions(root: ServingRoot, name: ModelName = "") -> None:
    """Show a model's versions: labels, whole or damaged, when they were pushed, mean AUC."""
    from components.publish.models import find_model
    from pipeline.models import show_versions

    show_versions(find_model(root, name))


@models.command(
    epilog=_examples(
        "cxrflow models promote --root runs/demo",
        "cxrflow models promote --root runs/demo --version 1795387128 --pin",
        "cxrflow models promote --root runs/demo --version 1795387128 --label canary",
    )
)
def promote(
    root: ServingRoot,
    name: ModelName = "",
    version: VersionNumber = None,
    label: Annotated[str, typer.Option(help="The label to move.")] = "stable",
    pin: Annotated[
        bool, typer.Option("--pin", help="Keep stable there, whatever is pushed later.")
    ] = False,
) -> None:
    """Move a label: the canary, or version N, becomes stable, which is what is served."""
    from components.publish import models as published

    folder = published.find_model(root, name)
    before, now = published.promote(folder, version, label, pin)
    was = "" if before in (None, now) else f", was {before}"
    print(f"{folder.name}: {label} is {now}{' (pinned)' if pin else ''}{was}")


@models.command(
    epilog=_examples(
        "cxrflow models rollback --root runs/demo",
        "cxrflow models rollback --root runs/demo --version 1795387128",
    )
)
def rollback(root: ServingRoot, name: ModelName = "", version: VersionNumber = None) -> None:
    """Make the version before stable, and pin it, so that the next push doesn't undo that."""
    from components.publish import models as published

    folder = published.find_model(root, name)
    before, now = published.rollback(folder, version)
    print(f"{folder.name}: stable is {now} (pinned), was {before}")
    print(f"next: cxrflow models promote --root {root} --version N, once there is a better one")


def main() -> None:
    """Runs the command line; user errors end as one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; Typer ends likewise, before the last flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except CxrflowError as error:
        _fail(str(error))
    except typer.TyperException as error:
        # Without arguments, Typer has printed the help already and the message is empty.
        _fail(error.format_message()) if error.format_message() else sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        resumes = not _RESUMING.isdisjoint(sys.argv[1:3])
        hint = "; the same command goes on where this one stopped" if resumes else ""
        print(f"stopped{hint}", file=sys.stderr)
    raise SystemExit(code or 0)


def _fail(line: str) -> NoReturn:
    print(f"cxrflow: {line}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
