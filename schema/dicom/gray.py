"""Stored values to 8-bit gray levels: modality, then values of interest, then presentation (PS3.3).

Everything is computed once a value, not once a pixel.
"""

from dataclasses import dataclass

import numpy as np

from cxrflow.schema.dicom.file import Layout
from cxrflow.schema.dicom.header import Elements

NO_WINDOW = "has no window: its darkest value is shown black, its brightest white"
FIRST = "has {} {}: the first is shown"
CONTRADICTION = "is MONOCHROME1 of shape IDENTITY, which contradict each other: not inverted"
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Table:
    """A modality or VOI LUT, C.11.1 and C.11.2."""

    first: int  # the value of the first entry; below it the first applies, behind the last the last
    outputs: np.ndarray  # float [entries]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """The outputs of float values."""
        first = self.first
        # Its sign is written as the pixels', or not; one of both has entries for the values.
        if first >= 2**15 and first > values.max():
            first -= 2**16
        elif first < 0 and first + len(self.outputs) <= values.min():
            first += 2**16
        entries = np.clip(np.rint(values) - first, 0, len(self.outputs) - 1)
        return np.asarray(self.outputs[entries.astype(np.int64)])


@dataclass(frozen=True)
class Window:
    """C.11.2.1.2 and .3."""

    center: float
    width: float
    function: str

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Shares of white, below 0 and above 1 where the window ends."""
        center, width = self.center, self.width
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
        if self.function == "LINEAR_EXACT" or width < 1:
            return (values - center) / width + 0.5
        # A width of 1 is a step at center - 0.5.
        return (values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5


@dataclass(frozen=True)
class Rules:
    """How a file's values become gray levels."""

    slope: float
    intercept: float
    modality: Table | None
    interest: Table | Window | None  # None: the range of the values
    inverted: bool
    padding: tuple[int, int] | None  # first and last stored value that is no part of the picture


@dataclass(frozen=True)
class Picture:
    """Gray levels, and how many pixels (padding apart) have each and lost their value to it."""

    gray: np.ndarray  # uint8 [rows, columns]
    levels: np.ndarray  # int [256]
    clipped: int  # pixels shown black or white, but for the commonest value of each


def read_rules(header: Elements, layout: Layout) -> tuple[Rules, list[str]]:
    """The rules of a header, and notes on what was chosen among them."""
    notes: list[str] = []
    modality = _first_table(header, "ModalityLUTSequence")
    slope = header.number("RescaleSlope", 1.0)
    if slope == 0:
        header.unusable.append("RescaleSlope '0'")
        slope = 1.0
    tables = header.items("VOILUTSequence")
    interest: Table | Window | None
    table = _first_table(header, "VOILUTSequence")
    if table is not None:
        if len(tables) > 1:
            notes.append(FIRST.format(len(tables), "VOI tables"))
        # Its descriptor may say too many or too few bits: the data know.
        white = 2.0 ** _bits(table.outputs.max()) - 1
        interest = Table(table.first, table.outputs / white)
    else:
        interest = _first_window(header, notes)
    monochrome1 = header.words("PhotometricInterpretation") == ["MONOCHROME1"]
    shape = (header.words("PresentationLUTShape") or [""])[0]
    if shape == "IDENTITY" and monochrome1:
        notes.append(CONTRADICTION)
    inverted = shape == "INVERSE" if shape in ("IDENTITY", "INVERSE") else monochrome1
    return Rules(
        slope,
        header.number("RescaleIntercept", 0.0),
        modality,
        interest,
        inverted,
        _padding(header, layout),
    ), notes


def to_gray(stored: np.ndarray, rules: Rules) -> Picture:
    """The picture of stored values, int or uint [rows, columns]."""
    if stored.itemsize <= 2:
        unsigned = np.dtype(f"u{stored.itemsize}")
        values = np.arange(2 ** (8 * stored.itemsize), dtype=unsigned).view(stored.dtype)
        index = stored.view(unsigned)
    else:
        values, index = np.unique(stored, return_inverse=True)
        index = index.reshape(stored.shape)
    counts = np.bincount(index.ravel(), minlength=len(values))
    padding = _between(values, rules.padding)
    if counts[~padding].any():
        counts[padding] = 0
    shares = _shares(values.astype(float), counts > 0, rules)
    if rules.inverted:
        shares = 1 - shares
    table = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    if rules.interest is None:
        table[padding] = 0
    levels = np.bincount(table, counts, 256).astype(np.int64)
    clipped = sum(
        int(counts[table == end].sum() - counts[table == end].max(initial=0)) for end in (0, 255)
    )
    return Picture(table[index], levels, clipped)


def _shares(values: np.ndarray, there: np.ndarray, rules: Rules) -> np.ndarray:
    """How bright each value is shown; 0 is black, 1 white."""
    if rules.modality:
        values = rules.modality.apply(values)
    else:
        values = values * rules.slope + rules.intercept
    if rules.interest is not None:
        return rules.interest.apply(values)
    low, high = values[there].min(), values[there].max()
    return np.asarray((values - low) / ((high - low) or 1))


def _first_table(header: Elements, keyword: str) -> Table | None:
    """The first table of a sequence that can be used."""
    for item in header.items(keyword):
        if table := _read_table(item):
            return table
        header.unusable.append(keyword)
    return None


def _read_table(item: Elements) -> Table | None:
    descriptor, data = item.numbers("LUTDescriptor"), item.data("LUTData")
    if len(descriptor) != 3 or np.isnan(descriptor).any() or len(data) < 2:
        return None
    count, first, bits = map(int, descriptor)
    count = count % 2**16 or 2**16  # signed where the others are; 65,536 doesn't fit
    if len(data) < 2 * count and bits <= 8 and len(data) >= count:
        outputs = np.frombuffer(data, np.uint8)
    else:
        order = "<" if item.is_little_endian("LUTData") else ">"
        outputs = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")
    outputs = outputs[:count].astype(float)
    return Table(first, outputs) if outputs.max() > 0 else None


def _bits(largest: float) -> int:
    """Bits of a table whose largest entry this is; 4096 counts as 12 bits' white, too."""
    return max(1, (int(largest) - 1).bit_length())


def _first_window(header: Elements, notes: list[str]) -> Window | None:
    """The first window that can be used; says so if there are others, or none."""
    found = list(zip(header.numbers("WindowCenter"), header.numbers("WindowWidth"), strict=False))
    usable = [pair for pair in found if not np.isnan(pair).any() and pair[1] > 0]
    for center, width in found:
        if width <= 0:
            header.unusable.append(f"WindowWidth '{width:g}' (center {center:g})")
    if not usable:
        notes.append(NO_WINDOW)
        return None
    if len(set(usable)) > 1:
        notes.append(FIRST.format(len(found), "windows"))
    function = (header.words("VOILUTFunction") or ["LINEAR"])[0]
    if function not in _FUNCTIONS:
        header.unusable.append(f"VOILUTFunction '{function}'")
    return Window(*usable[0], function)


def _padding(header: Elements, layout: Layout) -> tuple[int, int] | None:
    """First and last value of the padding, C.7.5.1.1.2, by the pixels' sign whatever its own."""
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        number = header.number(keyword, np.nan)
        if not np.isnan(number) and number == int(number):
            ends.append(int(number))
    if not ends:
        return None
    dtype = np.dtype(f"u{layout.allocated // 8}")
    lowest = Layout(1, 1, layout.allocated, layout.bits, layout.bits - 1, layout.signed)
    cells = np.array([end % 2**layout.allocated for end in ends], dtype)
    stored = lowest.values(cells).astype(int)
    return int(stored.min()), int(stored.max())


def _between(values: np.ndarray, ends: tuple[int, int] | None) -> np.ndarray:
    return np.zeros(len(values), bool) if not ends else (values >= ends[0]) & (values <= ends[1])
