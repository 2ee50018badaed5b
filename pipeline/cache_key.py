"""A hash of the code that a node runs, so that a change in it reruns that node and no other.

TFX's own cache key covers a module file at most, never what it imports. What a module needs is read
from its source, so that no list of files is kept by hand:

- what it imports, anywhere in the file, and the packages around that;
- modules that it names in a string, such as one that runs in a process of its own;
- files and folders that it finds from where it lies itself (`Path(__file__).parent / "data.yaml"`).
"""

import ast
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent  # of the package cxrflow
FOLDERS = ("components", "edge", "pipeline", "schema", "serving")
_NAME = re.compile(r"cxrflow(\.\w+)+")


@dataclass(frozen=True)
class Sources:
    """The files of cxrflow at one moment."""

    # By path relative to the package, "schema/errors.py".
    files: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def read(cls, root: Path = ROOT) -> "Sources":
        """Reads all files of the package whose folders lie in `root`, about a megabyte."""
        paths = [path for folder in FOLDERS for path in (root / folder).rglob("*")]
        return cls(
            {
                path.relative_to(root).as_posix(): path.read_bytes()
                for path in paths
                if path.is_file() and "__pycache__" not in path.parts
            }
        )

    def changed(self, path: str, content: bytes) -> "Sources":
        """Returns the sources with one file changed or added."""
        return replace(self, files={**self.files, path: content})

    def key(self, *modules: str) -> str:
        """16 hexadecimal digits that change with any file that the modules need.

        Args:
            modules: full names, such as `cxrflow.components.train.run`, or of what is in them.

        Raises:
            ValueError: there is no such module.
        """
        digest = hashlib.sha256()
        for path in self.closure(*modules):
            digest.update(path.encode() + b"\0" + hashlib.sha256(self.files[path]).digest())
        return digest.hexdigest()[:16]

    def closure(self, *modules: str) -> list[str]:
        """Paths of the modules and of all that they need, sorted. Raises as `key` does."""
        for module in modules:
            self._require(module)
        waiting = {path for module in modules for path in _paths(module)} & self.files.keys()
        found: set[str] = set()
        while waiting:
            path = waiting.pop()
            found.add(path)
            if path.endswith(".py"):
                waiting |= self._needed(path) - found
        return sorted(found)

    def _require(self, module: str) -> None:
        path = "/".join(module.split(".")[1:])
        module_of = path.rpartition("/")[0]  # where `module` is something in a module
        if not self.files.keys() & {f"{path}.py", f"{path}/__init__.py", f"{module_of}.py"}:
            raise ValueError(f"there is no module {module}")

    def _needed(self, path: str) -> set[str]:
        references = _references(path, self.files[path])
        found = set(references.files & self.files.keys())
        for folder in references.folders - found:
            found |= {file for file in self.files if file.startswith(f"{folder}/")}
        return found


@dataclass(frozen=True)
class _References:
    """What the source of a module names, by paths relative to the package."""

    files: frozenset[str]  # those that there are
    folders: frozenset[str]


@cache
def _references(path: str, source: bytes) -> _References:
    modules: set[str] = set()
    beside: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(source, path)]
    while waiting:
        node = waiting.pop()
        if found := _path_from_file(node, path):
            beside.add(str(found))
            continue  # of folder / "name", the folder alone isn't meant
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.update(f"{_base(node, path)}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            modules.add(node.value)
        waiting += ast.iter_child_nodes(node)
    files = {file for name in modules if _NAME.fullmatch(name) for file in _paths(name)}
    return _References(frozenset(files | beside), frozenset(beside))


def _paths(name: str) -> list[str]:
    """Where a module, or the module that has something of this name, and its packages may lie."""
    parts = name.split(".")[1:]
    parents = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return [f"{parent}{end}" for parent in parents for end in (".py", "/__init__.py")]


def _base(node: ast.ImportFrom, path: str) -> str:
    """The full name of what is imported from."""
    if not node.level:
        return node.module or ""
    package = PurePosixPath("cxrflow", path).parents[node.level - 1].parts
    return ".".join((*package, *([node.module] if node.module else [])))


def _path_from_file(node: ast.AST, path: str) -> PurePosixPath | None:
    """What an expression of `__file__` and constants means, relative to the package."""
    match node:
        case ast.BinOp(left=folder, op=ast.Div(), right=ast.Constant(value=str(name))):
            found = _value(folder, path)
            return found and found / name
        case ast.Call(
            func=ast.Attribute(value=file, attr="with_name"), args=[ast.Constant(value=str(name))]
        ):
            found = _value(file, path)
            return found and found.with_name(name)
    return None


def _value(node: ast.AST, path: str) -> PurePosixPath | None:
    match node:
        case ast.Name(id="__file__"):
            return PurePosixPath(path)
        case ast.Call(func=ast.Name(id="Path"), args=[inner]):
            return _value(inner, path)
        case ast.Call(func=ast.Attribute(value=inner, attr="resolve" | "absolute"), args=[]):
            return _value(inner, path)
        case ast.Attribute(value=inner, attr="parent"):
            found = _value(inner, path)
            return found and found.parent
        case ast.Subscript(
            value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(n))
        ):
            found = _value(inner, path)
            return found.parents[n] if found and n < len(found.parents) else None
    return _path_from_file(node, path)
