"""Loads a run's settings from a YAML profile with overrides; errors name the field at fault."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from cxrflow.pipeline.descriptions import described, with_source_classes
from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.schema.errors import CxrflowError, did_you_mean
from cxrflow.schema.setting_docs import describe
from cxrflow.schema.yaml_file import read_yaml

__all__ = [
    "ENGINES",
    "PROFILES",
    "PipelineConfig",
    "load",
    "parse",
    "profiles",
    "run_folder",
    "to_dict",
]

PROFILES = Path(__file__).parent / "profiles"
ENGINES = PROFILES / "engines"  # Beam's, to be added to another profile


def profiles() -> list[str]:
    """Names of the profiles that ship with cxrflow."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml"))


def run_folder(profile: str) -> Path:
    """Where a run of a profile goes that nobody named a folder for.

    The first of several profiles names it: the engine changes no result.
    """
    return Path("runs") / Path(profile.partition("+")[0]).stem


def load(
    profile: str | None, overrides: Iterable[str] = (), data_dir: Path | None = None
) -> PipelineConfig:
    """Reads a profile (a shipped name or a YAML file's path) with `key.sub=value` overrides.

    Several are joined by "+", as in "demo+external": what the later ones say wins. Without a
    profile (None) the settings' own defaults stand. `data` may be a description's name or file;
    where a profile says nothing of it, a description in `data_dir` counts.

    Raises:
        CxrflowError: names the override, or the file, and its field that is unknown, of the wrong
            type or in conflict.
    """
    paths = [] if profile is None else _find_all(profile)
    values: dict[str, Any] = {}
    for path in paths:
        read = read_yaml(path, "`section:` blocks, such as `train:`")
        values = _merged(values, described(read, path.parent, None))
    values = described(values, Path(), data_dir)
    changed = deepcopy(values)
    overrides = list(overrides)
    for override in overrides:
        _set(changed, override)
    changed = described(changed, Path(), None)
    try:
        return _checked(changed)
    except ValidationError as error:
        problems = _mistakes(error)
    of_profile = _problems(values)
    of_overrides = [problem for problem in problems if problem not in of_profile]
    if not of_overrides:
        raise CxrflowError(_one_line(" + ".join(map(str, paths)), problems))
    touching = [o for o in overrides if _touches(o, of_overrides[0])]
    named = [o for o in touching if o.partition("=")[0] in of_overrides[0].text]
    source = ", ".join(f"--set {override}" for override in named or touching or overrides)
    raise CxrflowError(_one_line(source, of_overrides))


def parse(values: dict[str, Any], source: str = "settings") -> PipelineConfig:
    """Checks a nested dict of settings; `source` names it in errors.

    Raises:
        CxrflowError: names the first field at fault, and how many more there are.
    """
    try:
        return _checked(values)
    except ValidationError as error:
        raise CxrflowError(_one_line(source, _mistakes(error))) from None


def _find_all(profile: str) -> list[Path]:
    if Path(profile).is_file():  # a file's name may have a plus sign
        return [_find(profile)]
    return [_find(part) for part in profile.split("+")]


def _find(profile: str) -> Path:
    if profile.endswith((".yaml", ".yml")):
        path = Path(profile)
    else:
        found = [folder / f"{profile}.yaml" for folder in (PROFILES, ENGINES)]
        path = next((path for path in found if path.is_file()), found[0])
    if path.is_file():
        return path
    if path.exists():
        raise CxrflowError(f"{path} is no file: name a YAML file")
    known = [*profiles(), *(path.stem for path in ENGINES.glob("*.yaml"))]
    raise CxrflowError(
        f"no profile {profile!r}{did_you_mean(profile, known)}: name one of {', '.join(known)} or "
        "a YAML file (.yaml)"
    )


def _merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both; what `more` says wins, section by section."""
    merged = dict(values)
    for name, value in more.items():
        both = isinstance(value, dict) and isinstance(values.get(name), dict)
        merged[name] = _merged(values[name], value) if both else value
    return merged


@dataclass(frozen=True)
class _Problem:
    """One field at fault."""

    field: str  # with its sections; empty where it is the whole
    kind: str  # pydantic's
    text: str

    @property
    def section(self) -> str:
        return self.field.partition(".")[0]

    @property
    def of_recipe(self) -> str:
        """The field of a member's recipe: "epochs" of "models.attention.epochs"."""
        return ".".join(self.field.split(".")[2:])


def _checked(values: dict[str, Any]) -> PipelineConfig:
    values = with_source_classes(_with_whole_recipes(values))
    return TypeAdapter(PipelineConfig).validate_python(values)


def _problems(values: dict[str, Any]) -> list[_Problem]:
    """What is wrong with the settings; nothing if they are sound."""
    try:
        _checked(values)
    except ValidationError as error:
        return _mistakes(error)
    return []


def _mistakes(error: ValidationError) -> list[_Problem]:
    """What an error says, each mistake once."""
    found = [_Problem(_name(e), e["type"], _explain(e)) for e in error.errors()]
    # A mistake under `train` shows again in each member, which takes from there.
    shared = {(p.field.partition(".")[2], p.kind) for p in found if p.section == "train"}
    return [p for p in found if p.section != "models" or (p.of_recipe, p.kind) not in shared]


def _one_line(source: str, problems: list[_Problem]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{source}: {problems[0].text}{more}"


def _touches(override: str, problem: _Problem) -> bool:
    """Whether the override sets the field, a part of it, or what it is part of."""
    key = override.partition("=")[0]
    return f"{key}.".startswith(f"{problem.field}.".lstrip(".")) or f"{problem.field}.".startswith(
        f"{key}."
    )


def _with_whole_recipes(values: dict[str, Any]) -> dict[str, Any]:
    """Fills what a member under `models` doesn't say with what `train` says."""
    models, shared = values.get("models") or {}, values.get("train") or {}
    if not isinstance(models, dict) or not isinstance(shared, dict):
        return values
    whole = {
        name: {**shared, **(changes or {})} if isinstance(changes or {}, dict) else changes
        for name, changes in models.items()
    }
    return {**values, "models": whole}


def to_dict(config: PipelineConfig) -> dict[str, Any]:
    """Plain values, as `parse` takes them."""
    return asdict(config)


def _name(error: Any) -> str:
    return ".".join(str(part) for part in error["loc"])


def _explain(error: Any) -> str:
    name = _name(error)
    if error["type"] == "unexpected_keyword_argument":
        return f"there is no setting {name}{_similar(name)}"
    message: str = error["msg"].removeprefix("Value error, ")
    if not name:
        return message
    shown = "" if isinstance(error["input"], dict) else f", not {error['input']!r}"
    return f"{name}: {message[0].lower()}{message[1:]}{shown}"


def _similar(name: str) -> str:
    """The setting that was probably meant, or where all of them are listed."""
    section, _, leaf = name.rpartition(".")
    is_member = section.startswith("models.")
    known = [setting.name for setting in describe(PipelineConfig())]
    beside = [n for n in known if n.rpartition(".")[0] == ("train" if is_member else section)]
    close = get_close_matches(leaf, [n.rpartition(".")[2] for n in beside], n=1)
    if close:
        return f": did you mean {section}.{close[0]}?".replace(" .", " ")
    elsewhere = [n for n in known if n.rpartition(".")[2] == leaf] or get_close_matches(
        name, known, n=1, cutoff=0.7
    )
    if elsewhere:
        return f": did you mean {' or '.join(elsewhere)}?"
    return ": `cxrflow config show` lists all"


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise CxrflowError(f"--set {override!r}: write it as section.name=value")
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise CxrflowError(f"--set {key}: {parent} is no section")
    try:
        values[leaf] = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        values[leaf] = text
