"""What the gates look at, as data."""

from typing import Literal

from cxrflow.components.evaluate.limits import FinalLimits, MemberLimits
from cxrflow.schema.settings import settings

SplitKind = Literal["official test list", "the source's own split", "hash of patients"]


@settings
class MemberGateSettings:
    """Settings of MemberGate."""

    classes: tuple[str, ...]
    """Names in the order of the labels."""
    limits: MemberLimits
    """What the model must reach."""
    name: str
    """The model's, for the verdict."""
    synthetic: bool = False
    """The examples are phantoms."""


@settings
class GateSettings:
    """Settings of Gate."""

    classes: tuple[str, ...]
    """Names in the order of the labels."""
    limits: FinalLimits
    """What the model must reach."""
    name: str
    """The model's, for the verdict."""
    slices: tuple[str, ...] = ()
    """A described source's further groups, which are compared as evaluate.subgroups are."""
    split_kind: SplitKind = "hash of patients"
    """How test was split off, which published figures must share to be comparable."""
    synthetic: bool = False
    """The examples are phantoms."""
