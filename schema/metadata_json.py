"""assets.extra/metadata.json of a pushed model: what MONAI's bundles say of a model.

Its fields are those of MONAI's meta_schema_20240725.json, with more of ours: see
metadata_schema.json. What it says of tensors is a promise that `cxrflow models verify` tries.
"""

import json
from pathlib import Path
from typing import Any

METADATA = Path("assets.extra", "metadata.json")
SCHEMA = Path(__file__).with_name("metadata_schema.json")


def metadata_faults(text: str | bytes) -> list[str]:
    """What is wrong with a metadata.json, a line each; nothing if it is as it should be."""
    from jsonschema import Draft201909Validator  # it takes a while to load

    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return ["it is no JSON"]
    errors = Draft201909Validator(json.loads(SCHEMA.read_text())).iter_errors(fields)
    return sorted(f"{error.json_path.removeprefix('$.')}: {_short(error)}" for error in errors)


def classes_of(fields: dict[str, Any]) -> tuple[str, ...]:
    """The classes in the order of the model's outputs, of checked metadata."""
    names = fields["network_data_format"]["outputs"]["probabilities"]["channel_def"]
    return tuple(name for _, name in sorted(names.items(), key=lambda item: int(item[0])))


def _short(error: Any) -> str:
    message = str(error.message)
    return message if len(message) <= 120 else f"{message[:117]}..."
