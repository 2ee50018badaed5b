"""The client's settings."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.settings import Fraction, Positive, settings

Seconds = Annotated[float, Field(gt=0, le=86400)]  # a day; longer ones overflow timers
Number = Annotated[int, Field(ge=0, lt=2**63)]  # of a version, an int64 on the wire
Level = Annotated[int, Field(ge=0, le=127)]


@settings
class DicomLimits:
    """What a DICOM may be before it is rendered, and what is said of its picture.

    Detectors give up to some 20 million pixels. None of 473 X-rays of NIH's is near the limits of
    the picture: at most 42 % of one are nearly black and 52 % nearly white, and at least 80 levels
    lie between the 5th and the 95th percentile.
    """

    max_bytes: Positive = 256 * 2**20
    """Largest file, and largest data set that it inflates to, in bytes."""
    max_header_bytes: Positive = 16 * 2**20
    """Most bytes before the pixels."""
    max_pixels: Positive = 2**26
    """Most pixels."""
    black: Level = 15
    """Highest gray level that is nearly black; 255 less it is the lowest that is nearly white."""
    max_dark: Fraction = 0.85
    """Share of nearly black pixels above which a picture is doubted."""
    max_bright: Fraction = 0.85
    """Share of nearly white pixels above which a picture is doubted."""
    min_spread: Level = 25
    """Gray levels from the 5th to the 95th percentile below which a picture is doubted."""
    max_clipped: Fraction = 0.5
    """Share of pixels lost to black or white at a window's ends above which one is doubted."""


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
