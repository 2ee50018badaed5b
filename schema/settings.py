"""How settings are declared: frozen dataclasses that check themselves and know all their fields."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

settings = dataclass(
    frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True)
)

Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=32, le=4096)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
