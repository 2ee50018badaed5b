"""Which models a ReloadConfigRequest names."""

from pathlib import Path

from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2

from cxrflow.serving.model import Source
from cxrflow.serving.status import invalid

_PLATFORM = "tensorflow"


def sources(request: model_management_pb2.ReloadConfigRequest, root: Path) -> dict[str, Source]:
    """The models by name; each base_path must lie in the serving root.

    Raises:
        StatusError: INVALID_ARGUMENT, as TF Serving says it.
    """
    if request.config.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    found: dict[str, Source] = {}
    for config in request.config.model_config_list.config:
        if not config.name or config.name in found:
            raise invalid(f"Illegal to list model {config.name} multiple times or unnamed")
        found[config.name] = _source(config, root)
    if not found:
        # TF Serving would unload everything; some damaged requests read as an empty list.
        raise invalid("config.model_config_list names no model: nothing would be served")
    return found


def _source(config: model_server_config_pb2.ModelConfig, root: Path) -> Source:
    if config.model_platform not in ("", _PLATFORM):
        raise invalid(f"Model {config.name} requests unsupported platform {config.model_platform}")
    try:
        folder = (root / config.base_path).resolve()
        inside = folder != root and folder.is_relative_to(root) and folder.is_dir()
    except (OSError, ValueError):  # what no path can be
        inside = False
    if not inside:
        raise invalid(f"base_path of {config.name} is no folder inside the serving root")
    policy = config.model_version_policy
    choose = None
    if policy.HasField("specific"):
        chosen = set(policy.specific.versions)
        choose = lambda there: [n for n in there if n in chosen]  # noqa: E731
    elif policy.HasField("all"):
        choose = list
    elif policy.HasField("latest"):
        count = max(1, policy.latest.num_versions)
        choose = lambda there: there[-count:]  # noqa: E731
    return Source(folder, dict(config.version_labels) or None, choose)
