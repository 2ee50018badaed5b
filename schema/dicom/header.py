"""What a DICOM's header says, read as leniently as its writers were careless.

pydicom raises for an element that breaks its type's rules, whoever needs it; here such an optional
element is left out, and named.
"""

import re
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset
    from pydicom.dataelem import RawDataElement

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "OW": "H"}
_LARGEST = 1e15  # of any number; what is computed from it stays finite


class Elements:
    """The elements of a data set, by pydicom's keyword or tag; unusable ones are empty."""

    def __init__(self, dataset: "Dataset", unusable: list[str] | None = None):
        self._dataset = dataset
        self.unusable = [] if unusable is None else unusable  # what was left out, and its value

    def numbers(self, keyword: str | int) -> list[float]:
        """All values of a numeric element; NaN where one is none. A decimal comma is a point."""
        from pydicom.datadict import dictionary_VR

        element = self._raw(keyword)
        if element is None or not isinstance(element.value, bytes):
            return []
        data, vr = element.value, element.VR
        if vr not in _BINARY and vr not in ("DS", "IS"):  # implicit, or written as something else
            vr = dictionary_VR(element.tag)[:2]  # of "US or SS" the first
        if code := _BINARY.get(vr):
            little = getattr(element, "is_little_endian", True)
            order, size = "<" if little else ">", struct.calcsize(code)
            count = len(data) // size
            found = map(float, struct.unpack(f"{order}{count}{code}", data[: count * size]))
            return [number if abs(number) <= _LARGEST else np.nan for number in found]
        texts = _split(data)
        numbers = [_number(text) for text in texts]
        if any(text and np.isnan(number) for text, number in zip(texts, numbers, strict=True)):
            self._leave_out(keyword, data)
        return numbers

    def number(self, keyword: str | int, default: float) -> float:
        """The first value."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers and not np.isnan(numbers[0]) else default

    def integer(self, keyword: str | int, default: int = 0) -> int:
        """The first value; of whole numbers of 16 bits the sign is as their VR says."""
        return round(self.number(keyword, default))

    def words(self, keyword: str) -> list[str]:
        """All values of a text, in capitals."""
        return [word.upper() for word in _split(self.data(keyword)) if word]

    def text(self, keyword: str) -> str:
        """A text's first value as it is."""
        return _split(self.data(keyword))[0]

    def data(self, keyword: str) -> bytes:
        """An element's bytes."""
        element = self._raw(keyword)
        return element.value if element is not None and isinstance(element.value, bytes) else b""

    def is_little_endian(self, keyword: str) -> bool:
        """Whether an element's bytes are."""
        return bool(getattr(self._raw(keyword), "is_little_endian", True))

    def items(self, keyword: str) -> list["Elements"]:
        """The items of a sequence."""
        if not self._has(keyword):
            return []
        try:
            items = self._dataset[keyword].value or []
            return [Elements(item, self.unusable) for item in items]
        except Exception:  # pydicom raises nearly anything
            self._leave_out(keyword, b"")
            return []

    def _leave_out(self, keyword: str | int, data: bytes) -> None:
        value = " ".join(data[:40].decode("latin-1").replace("\0", " ").split())
        if (found := f"{keyword} {value!r}" if value else str(keyword)) not in self.unusable:
            self.unusable.append(found)

    def _has(self, keyword: str | int) -> bool:
        from pydicom.datadict import tag_for_keyword

        tag = tag_for_keyword(keyword) if isinstance(keyword, str) else keyword
        return tag is not None and tag in self._dataset

    def _raw(self, keyword: str | int) -> "RawDataElement | DataElement | None":
        return self._dataset.get_item(keyword) if self._has(keyword) else None


def _split(data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return [value.strip(" \0\t\r\n") for value in text.split("\\")]


def _number(text: str) -> float:
    if len(text) > 64 or not _NUMBER.fullmatch(text):
        return np.nan
    number = float(text.replace(",", "."))
    return number if abs(number) <= _LARGEST else np.nan
