"""`osad-bench doctor`: what is here, what is missing, and how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from osad_bench.benchmark.cli import options as o
from osad_bench.benchmark.cli.bars import shown

if TYPE_CHECKING:
    from osad_bench.benchmark.features.backbones import Backbone

GIB = 2**30


class _Report:
    """Lines on stdout: a fact, a note, or a trap (a known fault of an installation) with its remedy."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console, self.traps = Console(), 0

    def fact(self, name: str, text: str) -> None:
        self.console.print(f"[green]ok[/green]    {name}: {shown(text)}", highlight=False, soft_wrap=True)

    def note(self, name: str, text: str) -> None:
        self.console.print(f"[yellow]note[/yellow]  {name}: {shown(text)}", highlight=False, soft_wrap=True)

    def trap(self, name: str, text: str) -> None:
        self.traps += 1
        self.console.print(f"[red]TRAP[/red]  {name}: {shown(text)}", highlight=False, soft_wrap=True)


def _torch(report: _Report) -> bool:
    """Examine torch and torchvision; False when they cannot be used together."""
    try:
        import torch
    except (ImportError, OSError) as error:
        report.trap(
            "torch", f"cannot be imported ({error}); reinstall both: pip install --force-reinstall torch torchvision"
        )
        return False
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        build = torch.__version__
        report.trap(
            "torchvision",
            f"cannot be imported beside torch {build} ({str(error).splitlines()[0]}). The two come from different builds, "
            "usually a CPU-only torch beside the registry's torchvision. Remedy: pip uninstall -y torch torchvision, then install "
            "both in one command from one place: pip install torch torchvision",
        )
        return False
    if torch.cuda.is_available():
        report.fact("device", f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})")
    else:
        from osad_bench.benchmark.cell.provenance import cpu_name

        report.fact(
            "device",
            f"cpu: {cpu_name()}, {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads; no GPU is needed for preset quick",
        )
    return True


def _weights(report: _Report) -> None:
    """Examine the weights of the two presets' backbones, without fetching any."""
    import torch

    from osad_bench.benchmark.features.backbones import efficientnet_lite0, resnet18
    from osad_bench.core.errors import InputError

    try:
        report.fact("weights", f"efficientnet_lite0 (preset quick), sha256 {_fitting(efficientnet_lite0())[:12]}")
    except InputError as error:
        report.trap("weights", str(error))
    cached = Path(torch.hub.get_dir()) / "checkpoints" / "resnet18-f37072fd.pth"
    if not cached.exists():
        report.note(
            "weights",
            "resnet18 (preset paper) is not in torch's cache: it is fetched at its first use, or given with --weights FILE",
        )
        return
    try:
        report.fact("weights", f"resnet18 (preset paper), sha256 {_fitting(resnet18())[:12]}")
    except InputError as error:
        report.trap("weights", str(error))


def _fitting(backbone: Backbone) -> str:
    """Load a backbone's weights into its network and return their digest."""
    backbone.module.eval()
    return backbone.weights


def _data(report: _Report, data_root: Path | None) -> None:
    from osad_bench.core.border import plugged
    from osad_bench.core.errors import InputError
    from osad_bench.core.places import default_data_root
    from osad_bench.core.registry import UnknownNameError, datasets
    from osad_bench.datasets.base import DatasetError
    from osad_bench.datasets.catalogue import open_dataset

    try:
        samples = open_dataset("elpv", data_root).samples
        report.fact(
            "data", f"elpv: {sum(s.label == 0 for s in samples)} normals, {sum(s.label for s in samples)} anomalies"
        )
    except DatasetError as error:
        report.note("data", str(error))
    root = data_root or default_data_root()
    here = []
    for name in datasets.names():
        try:
            with plugged(f"data set {name!r}", cls := datasets.get(name)):
                if cls.folders and cls.locate(root) is not None:
                    here.append(name)
        except (DatasetError, UnknownNameError):
            continue
        except InputError as error:
            report.trap("data", str(error))
    report.note(
        "data",
        f"downloads found in {root}: {', '.join(here) or 'none'}; osad-bench datasets list says where to get the others",
    )


def _plugins(report: _Report) -> None:
    """Import every registered method, data set, backbone and generator; name those that fail."""
    from osad_bench.core.registry import UnknownNameError, backbones, datasets, methods, pseudo_anomalies

    for registry in (methods, datasets, backbones, pseudo_anomalies):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            names = registry.names()
        for warning in caught:
            report.note(registry.noun, str(warning.message))
        good = []
        for name in names:
            try:
                registry.get(name)
                good.append(name)
            except UnknownNameError as error:
                report.trap(registry.noun, str(error))
        if good:
            report.fact(
                registry.noun.removesuffix("y") + ("ies" if registry.noun.endswith("y") else "s"), ", ".join(good)
            )


def _examine(data_root: Path | None, cache: Path | None) -> int:
    """Print the examination; returns the exit code (1 when a trap was found)."""
    from osad_bench.benchmark.cell.provenance import commit, package_versions
    from osad_bench.core.places import default_cache

    report = _Report()
    report.fact("python", f"{platform.python_version()} on {platform.platform()}")
    if sys.prefix == sys.base_prefix:
        report.note("python", "not a virtual environment; python -m venv .venv keeps this installation apart")
    report.fact("packages", ", ".join(f"{name} {version}" for name, version in package_versions().items()))
    report.fact("source", f"commit {commit() or 'unknown (installed from a package)'}")
    if _torch(report):
        _weights(report)
        _data(report, data_root)
        _plugins(report)
    folder = cache or default_cache()
    existing = next(parent for parent in [folder, *folder.parents] if parent.exists())
    free = shutil.disk_usage(existing).free / GIB
    (report.fact if free > 2 else report.trap)(
        "cache", f"{folder}, {free:.0f} GiB free" + ("" if free > 2 else "; features of one data set can need 1 GiB")
    )
    return 1 if report.traps else 0


def doctor(
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
) -> int:
    """Print the device, versions, weights and data found; known faults of an installation are marked TRAP.

    Exit code: 0 no fault, 1 a fault.
    """
    return _examine(data_root, cache)
