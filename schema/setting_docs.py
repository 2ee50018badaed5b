"""What settings there are, for people: each one's name, value, default, type and meaning."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Setting:
    """One setting, or a section of settings."""

    name: str  # with its sections: "train.epochs"
    value: Any  # plain: numbers, text, lists, mappings
    default: Any
    type: str  # in words: "integer, at least 1"; empty for a section
    meaning: str
    is_section: bool = False


def describe(config: Any, prefix: str = "") -> Iterator[Setting]:
    """Every section and setting of an instance of a `@settings` class, in the order of its source.

    Args:
        config: the instance; its class can be made without arguments, for the defaults.
        prefix: stands before each name.
    """
    adapter = TypeAdapter(type(config))
    schema = adapter.json_schema()
    plain = type(config)()
    values, defaults = (adapter.dump_python(each, mode="json") for each in (config, plain))
    for field in fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        # What is nothing by default has no defaults of its own to show.
        is_section = is_dataclass(getattr(plain, field.name))
        yield Setting(
            name,
            values[field.name],
            defaults[field.name],
            "" if is_section else in_words(schema["properties"][field.name], schema),
            _meaning(type(config), field.name),
            is_section,
        )
        if is_section:
            yield from describe(value, f"{name}.")


def in_words(schema: dict[str, Any], whole: dict[str, Any]) -> str:
    """A JSON Schema of one value as a phrase, such as "number, above 0, at most 1".

    Args:
        schema: of the value.
        whole: the schema that its `$ref`s point into.
    """
    if "$ref" in schema:
        return f"fields of {schema['$ref'].rpartition('/')[2]}"
    if "anyOf" in schema:
        return " or ".join(in_words(each, whole) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return f"one of {', '.join(map(str, schema.get('enum', [schema.get('const')])))}"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {in_words(schema['items'], whole)}"
    if kind == "object":
        inner: dict[str, Any] = schema.get("additionalProperties") or next(
            iter(schema.get("patternProperties", {}).values()), {}
        )
        return f"mapping of names to {in_words(inner, whole)}"
    words = {"string": "text", "boolean": "true or false", "null": "nothing"}.get(kind, kind)
    limits = (
        ("above", "exclusiveMinimum"),
        ("at least", "minimum"),
        ("below", "exclusiveMaximum"),
        ("at most", "maximum"),
    )
    return ", ".join(
        [str(words), *(f"{word} {schema[key]:g}" for word, key in limits if key in schema)]
    )


def _meaning(of: type, field: str) -> str:
    """The text below a field in the source of its class or of one that it inherits from."""
    found = (_docstrings(each).get(field) for each in of.__mro__ if is_dataclass(each))
    return " ".join(next(filter(None, found), "").split())


@cache
def _docstrings(of: type) -> dict[str, str]:
    """By field; read here and not at the import of a class, as few commands ask for them."""
    (made,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    assert isinstance(made, ast.ClassDef)
    return {
        field.target.id: text.value.value
        for field, text in pairwise(made.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
