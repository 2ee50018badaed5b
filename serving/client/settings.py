"""The client's settings."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.settings import settings

Seconds = Annotated[float, Field(gt=0, le=86400)]  # a day; longer ones overflow timers
Number = Annotated[int, Field(ge=0, lt=2**63)]  # of a version, an int64 on the wire


@settings
class RetryPolicy:
    """How often and after which pauses UNAVAILABLE is tried again, by gRPC itself (gRFC A6)."""

    attempts: Annotated[int, Field(ge=2, le=5)] = 5  # the first one included; gRPC's limit is 5
    pause: Seconds = 0.5  # before the second attempt, give or take a fifth; doubles each time
    max_pause: Seconds = 5.0


@settings
class ClientConfig:
    """Which server and model are asked, and how."""

    server: str = "127.0.0.1:8500"
    model: str = "cxrflow"
    version: Number | None = None  # neither version nor label: what the server serves
    label: str = ""
    attention: bool = False  # ask for attention maps too
    root: Path | None = None  # of a run or of served models: has each version's model.json
    point: Literal["youden", "sensitivity", "specificity"] = "youden"  # which threshold
    window: Annotated[int, Field(ge=1, le=1024)] = 8  # images under way at once, a thread each
    deadline: Seconds = 30.0  # for an answer, retries included
    connect: Seconds = 2.0  # for finding the server, before anything is asked
    retry: RetryPolicy = RetryPolicy()
    give_up: Annotated[int, Field(ge=0)] = 10  # failures of the server in a row; 0: never
    images: ImageLimits = ImageLimits()  # no wider than the server's
    dicom: DicomLimits = DicomLimits()
    # Refuse what may be no frontal chest X-ray: by a DICOM's header and picture, and by the model.
    strict: bool = False
    tls_ca: str = ""  # PEM files; with a CA or a certificate the connection is encrypted
    tls_certificate: str = ""  # of this client, where the server wants one
    tls_key: str = ""
