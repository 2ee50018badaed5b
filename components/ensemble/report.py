"""What the ensemble node reports, for those without TFX."""

import json
from pathlib import Path
from typing import Any

from cxrflow.schema.errors import CxrflowError

FILE_NAME = "ensemble.json"


def read_report(directory: Path) -> dict[str, Any]:
    """Reads the report that `executor.Executor` wrote.

    Returns:
        `members` and `left_out` models, `methods`, the `chosen` one, `scores` (split -> member or
        method -> class -> AUC or None) and `eval_note`, which says how the eval ones came about.

    Raises:
        CxrflowError: it isn't there or can't be read.
    """
    path = directory / FILE_NAME
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CxrflowError(f"{path} can't be read ({error}): run the pipeline again") from error
