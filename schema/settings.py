"""How settings are declared: frozen dataclasses that check themselves and know all their fields."""

import dataclasses
from typing import Annotated, Any, TypeVar, cast

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import dataclass_transform

T = TypeVar("T")

# Every command and node loads all settings and checks a few: validators are built when first used.
_CONFIG = ConfigDict(extra="forbid", defer_build=True)


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, Field)
)
def settings(cls: type[T]) -> type[T]:
    """Makes a frozen, keyword-only dataclass that refuses unknown fields and wrong values."""
    made: Any = dataclass(cls, frozen=True, kw_only=True, config=_CONFIG)
    return cast("type[T]", made)


Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=32, le=4096)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
