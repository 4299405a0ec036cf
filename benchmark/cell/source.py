"""A digest of a method's code, kept in records, so that a change without a new `version` is noticed."""

from __future__ import annotations

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any


@cache
def source_digest(cls: type[Any]) -> str:
    """Sixteen hexadecimal digits of a sha256 of the code behind a class.

    It covers the module of the class and, transitively, the modules of the same package that it imports (within osad-bench,
    of `osad_bench.methods`). Comments, layout and docstrings do not count. Empty if there is no source (a notebook).
    """
    trees = []
    for module in _modules(sys.modules.get(cls.__module__)):
        try:
            tree = ast.parse(Path(getattr(module, "__file__", None) or "").read_text("utf-8"))
        except (OSError, SyntaxError, ValueError):
            return ""
        trees.append(module.__name__ + ast.dump(_without_docstrings(tree)))
    return hashlib.sha256("\n".join(trees).encode("utf-8", "surrogatepass")).hexdigest()[:16] if trees else ""


def source_file(cls: type[Any]) -> str:
    """Name of the file that a class is written in, such as ``repel.py``."""
    return Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or f"{cls.__name__}").name


def _modules(first: ModuleType | None) -> list[ModuleType]:
    """The module and the modules of its own package that it imports, directly or not, sorted by name."""
    if first is None:
        return []
    root = (
        "osad_bench.methods" if first.__name__.startswith("osad_bench.methods.") else first.__name__.partition(".")[0]
    )
    found, waiting = {first.__name__: first}, [first]
    while waiting:
        for value in list(vars(waiting.pop()).values()):
            if not isinstance(value, (ModuleType, type, FunctionType)):
                continue
            name = value.__name__ if isinstance(value, ModuleType) else str(value.__module__)
            module = sys.modules.get(name)
            if module is not None and name not in found and (name == root or name.startswith(f"{root}.")):
                found[name] = module
                waiting.append(module)
    return [found[name] for name in sorted(found)]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return tree
