"""Docstrings are read alone, as `cxrflow config show` prints them: each says what it is about."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
FOLDERS = ("components", "edge", "pipeline", "schema", "serving", "tests")
FRAGMENT = re.compile(r"\s*(?:Of|The same)\b")  # of what, or as what, only the code around it says


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring, those below the fields of settings included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, str(node.value.value)


def fragments(source: str) -> list[int]:
    """Lines whose docstring begins without its noun or verb."""
    return [line for line, text in docstrings(source) if FRAGMENT.match(text)]


def test_a_fragment_is_found():
    source = '''
seed: int = 0
"""Of weights and order."""
def image():
    """The same in float32."""
def offset():
    """Offset of the image."""
'''
    assert fragments(source) == [3, 5]


def bare(source: str) -> Iterator[str]:
    """Public functions, classes and methods without a docstring; who overrides may have none."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    todo = list(ast.parse(source).body)
    while todo:
        node = todo.pop()
        if isinstance(node, kinds) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef) and not node.bases:
                todo += node.body


def test_a_public_function_without_a_docstring_is_found():
    source = "class A:\n  'Text.'\n  def go(self): ...\nclass B(A):\n  'Text.'\n  def go(self): ..."
    assert list(bare(f"{source}\ndef stay(): ...\ndef _hidden(): ...")) == ["stay", "go"]


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "tests"])
def test_what_is_public_has_a_docstring(folder):
    found = {str(path): list(bare(path.read_text())) for path in (REPO / folder).rglob("*.py")}
    assert found and not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_is_a_fragment(folder):
    found = {str(path): fragments(path.read_text()) for path in (REPO / folder).rglob("*.py")}
    assert found and not {path: lines for path, lines in found.items() if lines}
