"""All settings as a YAML profile in which comments say what each is."""

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import yaml

from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.schema.errors import CxrflowError, did_you_mean
from cxrflow.schema.setting_docs import Setting, describe

_WIDTH = 100


def page(config: Any, section: str = "") -> str:
    """Every setting with its value, meaning, type and default; `config.load` reads it.

    Args:
        config: a PipelineConfig or a ServerConfig.
        section: only this section or setting, such as "train" or "train.epochs".

    Raises:
        CxrflowError: there is no such section.
    """
    lines = (line for setting in _chosen(config, section) for line in _lines(setting, config))
    return "\n".join(lines).lstrip("\n")


def rows(config: Any, section: str = "") -> list[dict[str, Any]]:
    """Name, value, default, type and meaning of each setting, for programs."""
    return [
        {key: value for key, value in asdict(setting).items() if key != "is_section"}
        for setting in _chosen(config, section)
        if not setting.is_section
    ]


def _chosen(config: Any, section: str) -> list[Setting]:
    """The settings of a section with the sections above it, so that they can stand in a profile."""
    settings = list(describe(config))
    if not section:
        return settings
    names = [setting.name for setting in settings]
    if section not in names:
        hint = did_you_mean(section, names)
        raise CxrflowError(f"there is no setting {section}{hint or ': `cxrflow config show`'}")
    return [
        setting
        for setting in settings
        if f"{setting.name}.".startswith(f"{section}.")
        or f"{section}.".startswith(f"{setting.name}.")
    ]


def _lines(setting: Setting, config: Any) -> Iterator[str]:
    *parents, name = setting.name.split(".")
    indent = "  " * len(parents)
    if not parents:
        yield ""
    about = [setting.meaning, f"({setting.type})" if setting.type else ""]
    if not setting.is_section and setting.value != setting.default:
        about.append(f"Default: {_yaml(setting.default)}.")
    yield from textwrap.wrap(
        " ".join(filter(None, about)),
        _WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_long_words=False,
    )
    if setting.is_section:
        yield f"{indent}{name}:"
    elif setting.name == "models" and isinstance(config, PipelineConfig):
        yield from _members(config)
    else:
        yield f"{indent}{name}: {_yaml(setting.value)}"


def _members(config: PipelineConfig) -> Iterator[str]:
    """The ensemble's members with what each changes of `train`."""
    if not config.models:
        yield "models: {}"
        return
    shared = asdict(config.train)
    yield "models:"
    for name, recipe in config.models.items():
        own = {key: value for key, value in asdict(recipe).items() if value != shared[key]}
        yield f"  {name}: {_yaml(own)}"


def _yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()
