"""What to cite for a method, read from its source: a report must not import torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path


def citations(names: Iterable[str]) -> list[str]:
    """``NAME: citation`` of each method that is registered here and whose class holds one as a literal."""
    found = {}
    points = {point.name: point for point in entry_points(group="osad_bench.methods")}
    for name in names:
        if name not in points:
            continue
        point = points[name]
        try:
            spec = importlib.util.find_spec(point.module)
            tree = ast.parse(Path(spec.origin).read_text("utf-8")) if spec and spec.origin else ast.Module([], [])
        except (ImportError, OSError, SyntaxError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == point.attr:
                for line in node.body:
                    text = _citation(line)
                    if text:
                        found[name] = text
    return [f"{name}: {text}" for name, text in found.items()]


def _citation(line: ast.stmt) -> str:
    targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
    if not any(isinstance(target, ast.Name) and target.id == "citation" for target in targets):
        return ""
    value = getattr(line, "value", None)
    return str(ast.literal_eval(value)) if isinstance(value, ast.Constant) else ""
