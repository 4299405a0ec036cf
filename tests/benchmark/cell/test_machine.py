"""The number format of fine-tuning."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from osad_bench.benchmark.cell.execute import execute
from osad_bench.benchmark.cell.machine import Machine, multiplies_bfloat16, precision_of
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.grid.plan import plan, read_grid


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\nbugs\t\t: amx_bf16\n", False),
        ("Features\t: fp asimd\n", False),
    ],
)
def test_what_linux_tells_of_a_processor_decides(tmp_path: Path, text: str, found: bool):
    (tmp_path / "cpuinfo").write_text(text)
    assert multiplies_bfloat16(tmp_path / "cpuinfo") is found
    assert not multiplies_bfloat16(tmp_path / "no such file")


def test_a_cpu_fine_tunes_in_bfloat16_where_it_is_faster(tmp_path: Path):
    plain, grouped = resnet18(weights=None), load_backbone("efficientnet_lite0").module
    machine = Machine(Path("cache"))
    about = tmp_path / "cpuinfo"
    for flags, expected in (("amx_bf16", torch.bfloat16), ("avx2", torch.float32)):
        about.write_text(f"flags\t\t: fpu {flags}\n")
        assert precision_of(machine, plain, about) == expected
        assert precision_of(machine, grouped, about) == torch.float32, "grouped convolutions are slow in it"
        for name in ("float32", "bfloat16"):
            assert precision_of(Machine(Path("cache"), precision=name), grouped, about) == getattr(torch, name)


def test_a_cell_in_bfloat16_says_so_and_gives_the_same_scores_again(tmp_path: Path):
    torch.manual_seed(0)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    cache = Path(os.environ["OSAD_BENCH_CACHE"])

    def cell(precision: str) -> tuple[str, np.ndarray]:
        machine = Machine(cache, weights=tmp_path / "resnet18.pth", precision=precision)
        small = {"image_size": [64], "schedule.epochs": [1], "schedule.steps": [2], "schedule.batch": [8]}
        given = {"methods": ["devnet"], "datasets": ["textures"], "shots": [2], "seeds": 1, "floor": None}
        (planned,) = plan(read_grid(None, {**given, "preset": "paper", "set": small}), machine)
        record, scores = execute(planned, machine)
        assert scores is not None, record.error
        return record.provenance.precision, scores.scores

    (name, first), (_, again), (other, fine) = cell("bfloat16"), cell("bfloat16"), cell("float32")
    assert (name, other) == ("bfloat16", "float32")
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, fine)
