"""Reads YAML files of settings."""

from pathlib import Path
from typing import Any

import yaml

from cxrflow.schema.errors import CxrflowError, unreadable


def read_yaml(path: Path, example: str) -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty one is an empty mapping.

    Args:
        path: of the file.
        example: what a mapping may begin with, for who wrote something else.

    Raises:
        CxrflowError: it can't be read, isn't YAML, holds something else or a key twice.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except OSError as error:
        raise unreadable(path, error) from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CxrflowError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise CxrflowError(f"{path} must hold {example}")
    return values


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error; PyYAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)
