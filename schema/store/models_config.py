"""TF Serving's list of models, from a serving root's versions and labels."""

import json
from pathlib import Path

from cxrflow.schema.files import write_whole
from cxrflow.schema.store.manifest import verify
from cxrflow.schema.store.versions import list_models, list_versions, locked, read_labels

MODELS_CONFIG = "models.config"
_HEAD = "# Written by cxrflow at every push, promote and rollback.\n"
MOUNT = "/models"  # the serving root inside the container


def models_config(root: Path) -> str:
    """A ModelServerConfig as text: each model's labels, and which versions are loaded.

    Loaded are the labelled versions and the one before stable. TF Serving moves a label only to a
    version that is loaded already, so that one makes a rollback take effect at once. Damaged
    versions are left out, since TF Serving doesn't read manifests, and so are models without a
    whole one.
    """
    models = "".join(_model(root / name) for name in list_models(root))
    return f"{_HEAD}model_config_list {{\n{models}}}\n"


def write_models_config(root: Path) -> Path:
    """Writes `<serving root>/models.config`, whole or not at all, and returns its path."""
    path = root / MODELS_CONFIG
    with locked(root):
        write_whole(path, models_config(root), sync=True)
    return path


def update_models_config(root: Path) -> None:
    """Writes `models.config` anew where TF Serving follows one."""
    if (root / MODELS_CONFIG).is_file():
        write_models_config(root)


def _model(model_dir: Path) -> str:
    whole = [n for n in list_versions(model_dir) if not verify(model_dir / str(n))]
    labels = read_labels(model_dir)
    given = labels.all(whole)
    before = labels.before(whole)
    loaded = {*given.values(), *([] if before is None else [before])}
    if not loaded:
        return ""
    name = json.dumps(model_dir.name)
    versions = "".join(f"        versions: {version}\n" for version in sorted(loaded))
    named = "".join(
        f"    version_labels {{ key: {json.dumps(label)} value: {version} }}\n"
        for label, version in sorted(given.items())
    )
    return (
        "  config {\n"
        f"    name: {name}\n"
        f"    base_path: {json.dumps(f'{MOUNT}/{model_dir.name}')}\n"
        '    model_platform: "tensorflow"\n'
        "    model_version_policy {\n      specific {\n"
        f"{versions}"
        "      }\n    }\n"
        f"{named}"
        "  }\n"
    )
