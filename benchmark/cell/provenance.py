"""Where a number came from: project, packages, machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from osad_bench.benchmark.cell.source import source_digest
from osad_bench.core.registry import methods
from osad_bench.methods.base import Method
from osad_bench.results.record import Provenance

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "scipy", "pandas", "pillow", "elpv-dataset")


@lru_cache
def version_of(package: str) -> str:
    """An installed package's version, empty if it is not installed; read once per process, as that takes a millisecond."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def package_versions() -> dict[str, str]:
    """Versions of the packages that scores may depend on."""
    return {name: found for name in PACKAGES if (found := version_of(name))}


@lru_cache
def commit() -> str | None:
    """Commit of the git checkout that this code runs from, with ``+`` if it has changes; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        git = ["git", "-C", str(here)]
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, timeout=10)
        if top.returncode or not (Path(top.stdout.strip()) / "benchmark" / "cell" / "provenance.py").exists():
            return None
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10).stdout.strip()
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10
        ).stdout
        return head + ("+" if dirty.strip() else "") or None
    except (OSError, subprocess.TimeoutExpired):
        return None


_ABOVE = re.compile(r"(?<![\w.~/])~?/(?!/)[^,]*/(?=[^,/])")
"""The folders above the last part of a path from the root or from a home folder."""


def command(arguments: Sequence[str]) -> str:
    """The command line as others may read it: of a path from the root, the last part alone."""
    program, *rest = arguments
    return " ".join([Path(program).name, *(_ABOVE.sub("", part) for part in rest)])


@lru_cache
def _platform() -> str:
    return platform.platform()


@lru_cache
def cpu_name() -> str:
    """The processor's model name, as far as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def provenance(
    device: str,
    weights: dict[str, str] | None = None,
    deterministic: bool = False,
    method: type[Method] | None = None,
    precision: str = "float32",
) -> Provenance:
    """Provenance of a cell computed now, in this process.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    weights
        sha256 of the weights, by backbone.
    deterministic
        Whether torch refused algorithms that are not reproducible.
    method
        The method's class; None if the cell failed before it was known.
    precision
        ``float32`` or ``bfloat16``.
    """
    import torch

    package, package_version = methods.distribution(method.name) if method is not None else ("", "")
    on_gpu = device.startswith("cuda") and torch.cuda.is_available()  # a cluster's GPUs may be on other machines
    name = torch.cuda.get_device_name(device) if on_gpu else cpu_name()
    return Provenance(
        project_version=version_of("osad-bench"),
        commit=commit(),
        python=platform.python_version(),
        packages=package_versions(),
        platform=_platform(),
        device=f"{device} ({name})",
        threads=torch.get_num_threads(),
        deterministic=deterministic,
        precision=precision,
        weights=weights or {},
        method_source=source_digest(method) if method is not None else "",
        method_package=package,
        method_package_version=package_version,
        command=command(sys.argv),
        cores=os.cpu_count(),
    )
