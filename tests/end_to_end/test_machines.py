"""The same cell elsewhere: on another machine within a tolerance, on this one identical after whatever else was run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from osad_bench.benchmark.cell.execute import execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.grid.plan import plan, read_grid
from osad_bench.core.registry import methods
from osad_bench.core.tolerance import ACROSS_MACHINES, TRAINED_CELL
from osad_bench.results.store import Store, load

OLDER = {
    "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
}  # fmt: skip
"""Makes torch, oneDNN, MKL and OpenBLAS compute as on a processor of 2008: in other orders, with other roundings."""
TINY = {"image_size": [32], "schedule.epochs": [1], "schedule.steps": [2]}
SLOW = {
    "ahl.outer_epochs": [1], "ahl.history": [1], "ahl.batch": [12],
    "ahl-devnet.outer_epochs": [1], "ahl-devnet.history": [1], "ahl-devnet.batch": [12],
}  # fmt: skip


@pytest.mark.nightly
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the variables are those of x86-64")
def test_another_processor_gives_the_same_aurocs_within_the_tolerance_and_passes_check(cli, tmp_path: Path):
    pytest.importorskip("elpv_dataset")  # 700 test images: AUROCs that a rounding can move, and none that is 1
    grid = ["run", "--methods", "dra,devnet,dpdl,whitened", "--datasets", "elpv", "--seeds", "2", "--jobs", "1",
            "--set", "image_size=64", "--set", "schedule.epochs=3", "--set", "schedule.steps=10"]  # fmt: skip
    for name, environment in (("here", {}), ("there", OLDER)):
        subprocess.run(
            [Path(sys.executable).with_name("osad-bench"), *grid, "--out", name, "--cache", f"cache-{name}"],
            cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, check=True, capture_output=True,
        )  # fmt: skip
    here, there = (load(tmp_path / name).set_index("key") for name in ("here", "there"))
    one, other = here["auroc"], there["auroc"]
    assert len(one) == 10
    apart = (one - other).abs()
    print(f"apart by {apart.max():.4f} at most, {apart.mean():.4f} on average")
    trained = here["method"].map(lambda name: methods.get(name).schedule is not None)
    assert trained.sum() == 6
    assert apart[trained].max() < TRAINED_CELL
    assert apart[~trained].max() < ACROSS_MACHINES
    assert (one - other).groupby(here["method"]).mean().abs().max() < ACROSS_MACHINES
    scores = (Store(tmp_path / name).scores(one.index[0]).scores for name in ("here", "there"))
    assert not np.array_equal(*scores), "the variables had no effect: nothing was tested"
    (tmp_path / "baseline.json").write_text(cli("baseline", "here").stdout)
    done = cli("check", "there", "--against", "baseline.json")
    assert done.returncode == 0, done.stdout


@pytest.mark.nightly
def test_every_methods_cell_has_identical_scores_in_any_order(cache: Path):
    names = methods.names()
    request = {"methods": names, "datasets": ["textures"], "shots": [2], "seeds": 1, "floor": None}
    cells = plan(read_grid(None, request | {"set": TINY | SLOW}), Machine(cache))
    assert len(cells) == len(names)
    first = {cell.key: execute(cell, Machine(cache))[1] for cell in cells}
    for cell in reversed(cells):
        again = execute(cell, Machine(cache))[1]
        np.testing.assert_array_equal(again.scores, first[cell.key].scores, cell.title)
