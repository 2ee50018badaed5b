"""A TF Serving deployment for a serving root: Docker Compose, and all that it needs."""

import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import whole_file
from cxrflow.schema.store.models_config import (
    MODELS_CONFIG,
    models_config,
    write_models_config,
)
from cxrflow.schema.store.versions import list_models
from cxrflow.serving.addresses import in_brackets
from cxrflow.serving.settings import ServerConfig

_FILES = Path(__file__).parent / "files"
_NOBODY = 65534
# What an operator sets in .env by hand; kept when the files are written again.
_OPERATORS = {
    "TF_SERVING_TAG": "2.21.0",  # must know the ops of the TensorFlow that trained
    "CPUS": str(os.cpu_count() or 1),
    "MEMORY": "8g",
    "GRAFANA_PORT": "3000",
}
_TLS_FILES = {
    "tls_certificate": "server.pem",
    "tls_key": "key.pem",
    "tls_client_ca": "client_ca.pem",
}


@dataclass(frozen=True)
class Addresses:
    """Where the gateway listens and what it forwards to; the defaults are the containers'."""

    listen_grpc: str = "8500"
    listen_rest: str = "8501"
    listen_health: str = "127.0.0.1:8080"
    upstream_grpc: str = "serving:8500"
    upstream_rest: str = "serving:8501"
    resolver: str = "127.0.0.11"  # Docker's; asked again and again for upstreams that are names


def render(root: Path, config: ServerConfig) -> dict[str, str]:
    """Texts of all files by their path, relative to the deployment's folder.

    `models.config` is among them; it lies in the serving root, where pushes rewrite it.

    Args:
        root: a serving root with at least one model.
        config: the embedded server's settings, as far as TF Serving and the gateway have them.

    Raises:
        CxrflowError: there is no model.
    """
    if not list_models(root):
        raise CxrflowError(f"there is no model in {root}: push one with `cxrflow run`")
    texts = {
        path.relative_to(_FILES).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(_FILES.rglob("*"))
        if path.is_file()
    }
    return texts | {
        ".env": _env(root, config, {}),
        "nginx/nginx.conf": gateway(config),
        "config/batching.config": batching(config),
        MODELS_CONFIG: models_config(root),
    }


def show(texts: dict[str, str]) -> str:
    """All files as one text."""
    return "\n".join(f"# ---- {path} ----\n{text}" for path, text in sorted(texts.items()))


def write(root: Path, config: ServerConfig, to: Path) -> Iterator[Path]:
    """Writes the deployment to a folder, and `models.config` to the serving root.

    What an operator set in `.env` stays: image, limits, Grafana's port and password.

    Args:
        root: see `render`.
        config: see `render`; its TLS files are copied.
        to: made if missing; files there are replaced.

    Yields:
        Each path as it is written.

    Raises:
        CxrflowError: there is no model, or a file can't be read or written.
    """
    texts = render(root, config)
    del texts[MODELS_CONFIG]
    try:
        texts[".env"] = _env(root, config, _read_env(to / ".env"))
        for name, text in sorted(texts.items()):
            _write(to / name, text.encode(), secret=name == ".env")
            yield to / name
        for field, name in _TLS_FILES.items():
            if source := getattr(config, field):
                path = to / "nginx" / name
                _write(path, Path(source).read_bytes(), secret=field == "tls_key")
                if os.getuid() == 0:
                    os.chown(path, *_owner(root))  # the gateway isn't root
                yield path
        yield write_models_config(root)
    except OSError as error:
        raise CxrflowError(f"{error.filename or to}: {error.strerror or error}") from None


def batching(config: ServerConfig) -> str:
    """TF Serving's BatchingParameters. Its queue holds batches, not requests."""
    limits = config.batching
    batches = -(-limits.max_queue // limits.max_batch_size)
    return (
        f"max_batch_size {{ value: {limits.max_batch_size} }}\n"
        f"batch_timeout_micros {{ value: {limits.timeout_ms * 1000} }}\n"
        f"max_enqueued_batches {{ value: {batches} }}\n"
        f"num_batch_threads {{ value: {limits.threads} }}\n"
        'thread_pool_name { value: "cxrflow" }\n'
    )


def gateway(config: ServerConfig, addresses: Addresses | None = None) -> str:
    """The gateway's nginx.conf.

    nginx limits requests since TF Serving can't: it sets gRPC's maximum to 2 GB itself, and of two
    settings gRPC takes the first, so `--grpc_channel_arguments` comes too late.
    """
    addresses = addresses or Addresses()
    tls = ""
    if config.tls_certificate:
        lines = [
            f"ssl_certificate {_TLS_FILES['tls_certificate']};",
            f"ssl_certificate_key {_TLS_FILES['tls_key']};",
            "ssl_protocols TLSv1.2 TLSv1.3;",
        ]
        if config.tls_client_ca:
            ca = _TLS_FILES["tls_client_ca"]
            lines += [f"ssl_client_certificate {ca};", "ssl_verify_client on;"]
        tls = "".join(f"    {line}\n" for line in ["", *lines])
    upstreams = {name: f"{vars(addresses)[name]}" for name in ("upstream_grpc", "upstream_rest")}
    named = {name: value for name, value in upstreams.items() if not _is_address(value)}
    resolver = f"    resolver {addresses.resolver} valid=10s ipv6=off;\n" if named else ""
    values = {
        "MAX_MESSAGE_BYTES": config.max_message_bytes,
        "MAX_DEADLINE": max(1, round(config.max_deadline)),
        "TLS": tls,
        "SSL": " ssl" if tls else "",
        "CLIENT_REQUESTS": config.gateway.client_requests,
        "CLIENT_RATE": config.gateway.client_rate,
        **{name.upper(): value for name, value in vars(addresses).items()},
        **{name.upper(): f"{value} resolve" for name, value in named.items()},
        "RESOLVER": resolver,
    }
    template = (_FILES / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), template)


def _is_address(upstream: str) -> bool:
    """Whether a host and port is a number, which needs no resolving."""
    try:
        ip_address(upstream.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


def _env(root: Path, config: ServerConfig, kept: dict[str, str]) -> str:
    uid, gid = _owner(root)
    operators = _OPERATORS | {"GRAFANA_PASSWORD": secrets.token_urlsafe(16)}
    values = {
        "SERVING_ROOT": str(root.resolve()),
        "SERVING_UID": uid,
        "SERVING_GID": gid,
        "BIND": in_brackets(config.host),
        "GRPC_PORT": config.grpc_port,
        "REST_PORT": config.rest_port,
        "POLL_SECONDS": max(1, round(config.poll_seconds)),
        "REST_TIMEOUT_MS": round(config.max_deadline * 1000),
        "INTRA_OP_THREADS": config.intra_op_threads,
        "INTER_OP_THREADS": config.inter_op_threads,
        **{name: kept.get(name, value) for name, value in operators.items()},
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _read_env(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: value for name, equals, value in lines if equals}


def _owner(root: Path) -> tuple[int, int]:
    """Who reads the models inside the containers: their owner, but never root."""
    stat = root.stat()
    return (stat.st_uid, stat.st_gid) if stat.st_uid else (_NOBODY, _NOBODY)


def _write(path: Path, content: bytes, secret: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as aside:
        aside.unlink(missing_ok=True)
        mode = 0o600 if secret else 0o644
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT, mode), "wb") as file:
            file.write(content)
