"""What the serving check found, and the file that keeps it for those without TensorFlow."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole

REPORT = "serving_check.json"


@dataclass
class CheckReport:
    """What the check found; `None` where it didn't come that far."""

    reasons: list[str] = field(default_factory=list)  # why the model isn't blessed
    images: int = 0  # compared
    max_difference: float | None = None  # of a probability from the Trainer's; None: not finite
    start_seconds: float | None = None  # of the server, with loading and warm-up
    latency_ms_median: float | None = None
    latency_ms_p95: float | None = None
    memory_mb: float | None = None  # the server's peak; None where the system doesn't tell

    @property
    def blessed(self) -> bool:
        """Whether nothing speaks against the model."""
        return not self.reasons

    @property
    def line(self) -> str:
        """The outcome for the terminal."""
        if self.reasons:
            return "; ".join(self.reasons)
        memory = "" if self.memory_mb is None else f", {self.memory_mb:.0f} MB"
        latency = f"{self.latency_ms_median:.0f} ms each (95 % within {self.latency_ms_p95:.0f} ms)"
        return f"passed: {self.images} images answered as in training, {latency}{memory}"

    def write(self, folder: Path) -> None:
        """Writes `serving_check.json`, whole or not at all."""
        fields = {"blessed": self.blessed, **asdict(self)}
        write_whole(folder / REPORT, json.dumps(fields, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "CheckReport":
        """What `write` wrote.

        Raises:
            CxrflowError: the file is gone or something else.
        """
        path = folder / REPORT
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            del fields["blessed"]
            return cls(**fields)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CxrflowError(f"{path} can't be read ({error}): run the pipeline again") from None
