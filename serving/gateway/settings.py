"""The gateway's settings."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.settings import Positive, settings
from cxrflow.schema.yaml_file import read_yaml
from cxrflow.serving.client.settings import ClientConfig
from cxrflow.serving.settings import checked

ResultKind = Literal["report", "key_image", "presentation"]


def _title(text: str) -> str:
    """PS3.5 section 6.2, AE: up to 16 characters of ASCII, neither blank nor with a backslash."""
    title = text.strip()
    if not title or len(title) > 16 or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has 1 to 16 characters of ASCII")
    if "\\" in title:
        raise ValueError("an AE title has no backslash")
    return title


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text)) if text else ""


AeTitle = Annotated[str, AfterValidator(_title)]
Address = Annotated[str, AfterValidator(_address)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


@settings
class PeerConfig:
    """Who may send images, and ask with C-ECHO."""

    ae_title: AeTitle
    """Its calling AE title."""
    address: Address = ""
    """The only IP address that it may come from; empty: any, though anybody can use its title."""


@settings
class DestinationConfig:
    """Where results go: a DICOM node, or a DICOMweb service."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
    """What logs and the queue's folders call it."""
    ae_title: str = ""
    """A DICOM node's AE title."""
    host: str = ""
    """Its host."""
    port: Port = 104
    """Its port."""
    stow_url: str = ""
    """Instead of a node: a DICOMweb service's URL, to which `/studies` is added."""
    authorization_file: str = ""
    """File with the value of the header Authorization for it, such as `Bearer TOKEN`."""
    tls: bool = False
    """Whether a DICOM node is spoken to by TLS, with the gateway's certificate if it has one."""
    ca: str = ""
    """PEM file of the CA that signed its certificate; empty: the system's."""
    results: tuple[ResultKind, ...] = ("report", "key_image")
    """What is sent there; presentation: the findings over the X-ray itself (GSPS)."""

    @model_validator(mode="after")
    def _one_way(self) -> "DestinationConfig":
        if bool(self.stow_url) == bool(self.ae_title and self.host):
            raise ValueError("give ae_title and host of a DICOM node, or the stow_url of DICOMweb")
        if self.stow_url and not self.stow_url.startswith(("http://", "https://")):
            raise ValueError("stow_url begins with http:// or https://")
        if self.ae_title:
            _title(self.ae_title)
        if self.tls and self.stow_url:
            raise ValueError("tls is for a DICOM node; a stow_url begins with https://")
        if not self.results:
            raise ValueError("results: name report, key_image or presentation")
        return self


@settings
class CollectConfig:
    """When a study counts as complete."""

    quiet_seconds: Seconds = 0.5
    """Seconds after its last image; images that come later make a report of their own. Some seconds
    where senders open a connection for each image."""
    most_seconds: Seconds = 60.0
    """Seconds after its first image; then it is answered with the images that are there."""


@settings
class RetryConfig:
    """What is done about a server or an archive that doesn't answer."""

    pause: Seconds = 2.0
    """Seconds before the second attempt; doubles each time."""
    max_pause: Seconds = 300.0
    """Longest pause."""
    give_up_seconds: Annotated[float, Field(ge=0)] = 3 * 86400
    """Seconds after which a study goes to `failed`; 0: never."""


@settings
class LimitsConfig:
    """What senders may hold of this machine."""

    max_associations: Positive = 16
    """Connections at the same time; above it others are rejected, and try again."""
    max_receiving_bytes: Positive = 512 * 2**20
    """Bytes of all images that are being received; above it a connection is aborted."""
    max_pdu_bytes: Annotated[int, Field(ge=4096)] = 2**20
    """Bytes of a PDU, whoever sends it; a larger one ends its connection. Senders are told to send
    at most 128 KiB."""
    network_seconds: Seconds = 30.0
    """Seconds that a sender may take for a PDU, or for none; then its connection is ended."""
    min_free_bytes: Positive = 2**30
    """Bytes that stay free on the queue's disk; below it images are refused as out of resources."""


@settings
class ResultsConfig:
    """How results look."""

    report_series: Positive = 9901
    """Series Number of reports."""
    key_image_series: Positive = 9902
    """Series Number of key images."""
    presentation_series: Positive = 9903
    """Series Number of presentation states."""
    key_image_side: Annotated[int, Field(ge=256, le=2048)] = 768
    """Pixels of the X-ray's longer side in key images."""
    institution: Annotated[str, Field(max_length=64)] = ""
    """Institution Name; empty: left out."""
    answer_others: bool = True
    """Whether a study without any frontal chest X-ray gets a report that says so."""


@settings
class GatewayConfig:
    """A node that takes X-rays, asks the server about them and sends results back."""

    ae_title: AeTitle = "CXRFLOW"
    """The gateway's own AE title; others are rejected."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 to be reached from other machines."""
    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    """Port to listen on; 0: any free one."""
    queue: str = "queue"
    """Folder with the studies, by their state; of the gateway alone."""
    audit: str = "audit.jsonl"
    """The audit log; a line is added for each image."""
    pseudonym_key: str = ""
    """File with the secret of the audit's ids and the results' UIDs, as `data.pseudonym_key`."""
    peers: tuple[PeerConfig, ...] = ()
    """Who may send."""
    destinations: tuple[DestinationConfig, ...] = ()
    """Where results go."""
    ask: ClientConfig = ClientConfig()
    """Which server and model are asked, as by `cxrflow predict`, and the limits of DICOM files."""
    tls_certificate: str = ""
    """PEM file; with one, senders are spoken to by TLS only. Read at the start."""
    tls_key: str = ""
    """PEM file of its key."""
    tls_client_ca: str = ""
    """PEM file of the CA that signed senders' certificates; empty: they need none."""
    metrics_host: str = "127.0.0.1"
    """Address of the page for Prometheus; 0.0.0.0 for a Prometheus on another machine."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port of the page for Prometheus, at /metrics; 0: none."""
    attention: bool = True
    """Whether key images show where the model looks, if it tells."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Studies asked about at the same time, and as many sent."""
    keep_days: Annotated[float, Field(ge=0)] = 7.0
    """Days that answered studies stay in the queue; an image that comes again isn't answered again
    as long as its study is there."""
    collect: CollectConfig = CollectConfig()
    """When a study counts as complete."""
    retry: RetryConfig = RetryConfig()
    """What is done about a server or an archive that doesn't answer."""
    limits: LimitsConfig = LimitsConfig()
    """What senders may hold of this machine."""
    results: ResultsConfig = ResultsConfig()
    """How results look."""

    @model_validator(mode="after")
    def _consistent(self) -> "GatewayConfig":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together: one of them is missing")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs a tls_certificate")
        for what, names in (
            ("peers", [peer.ae_title for peer in self.peers]),
            ("destinations", [one.name for one in self.destinations]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what}: {', '.join(sorted(twice))} stands there twice")
        return self


def read_gateway_config(path: Path) -> GatewayConfig:
    """A configuration from a YAML file.

    Raises:
        CxrflowError: the file can't be read, a field is unknown, there twice, out of its range or
            missing.
    """
    config = checked(GatewayConfig, read_yaml(path, "fields, such as `port: 11112`"), "gateway")
    for field, example in (
        ("peers", "[{ae_title: MODALITY1}]"),
        ("destinations", "[{name: archive, ae_title: PACS, host: pacs.hospital}]"),
        ("pseudonym_key", "/etc/cxrflow/gateway.key"),
    ):
        if not getattr(config, field):
            raise CxrflowError(f"gateway: {field} is missing in {path}: add `{field}: {example}`")
    return config
