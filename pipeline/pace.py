"""How far a step is, and how fast, in words."""

import logging
from collections import deque

from cxrflow.schema.progress import progress_of

_RECORDS = 50  # over which a rate is taken; five come in a second at most


class Pace:
    """How far a step is, in words; of bytes also how fast, and how long the rest takes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=_RECORDS)

    def words(self, record: logging.LogRecord) -> str:
        """What a record of schema.progress says."""
        done, total, unit = progress_of(record)
        if unit != "bytes":
            of_all = f"/{total:,}" if total else ""
            return f"{done:,}{of_all} {unit}"
        if self._seen and done < self._seen[-1][1]:  # another step, or it began anew
            self._seen.clear()
        self._seen.append((record.created, done))
        scale, name = (1e9, "GB") if (total or done) >= 1e9 else (1e6, "MB")
        text = f"{done / scale:.1f}{f'/{total / scale:.1f}' if total else ''} {name}"
        (began, before), (now, _) = self._seen[0], self._seen[-1]
        if done == before or now <= began:
            return text
        rate = (done - before) / (now - began)
        left = f", {_clock((total - done) / rate)} left" if total else ""
        return f"{text}, {rate / 1e6:.1f} MB/s{left}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
