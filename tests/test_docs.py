"""The programs in docs/ run: what they print stands in the documents beside them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from osad_bench.benchmark.features.extractor import PyramidExtractor
from osad_bench.benchmark.preset import load_preset
from osad_bench.core.tolerance import ACROSS_MACHINES, TRAINED_CELL
from osad_bench.results import load
from osad_bench.results.baseline import make_baseline, read_baseline
from osad_bench.results.merge import merge
from tests.conftest import code_blocks

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = sorted((ROOT / "docs").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_every_program_says_how_it_is_used(run_script, program: Path):
    assert f"usage: {program.name}" in run_script(program, "--help")


@pytest.fixture
def brainmri(tmp_path: Path) -> Path:
    """Data root with a small BrainMRI: 16 normals, two of them twice, and six anomalies."""
    generator = np.random.default_rng(0)
    for folder, count in (("no", 16), ("yes", 6)):
        (tmp_path / "brainmri" / folder).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "brainmri" / folder / f"{index} {folder}.jpg")
    for index in (1, 2):
        original = tmp_path / "brainmri" / "no" / f"{index} no.jpg"
        original.with_name(f"{index}0 copy.jpg").write_bytes(original.read_bytes())
    return tmp_path


def test_the_worth_of_brainmris_copies_is_measured_over_many_splits(run_script, root: Path, brainmri: Path):
    printed = run_script(root / "docs" / "brainmri_duplicates.py", "--data-root", brainmri, "--splits", 4).splitlines()
    assert [line.split(":")[0] for line in printed] == [
        "all files", "same training, test images with a copy in it left out", "--dedup",
        "effect of the copies in the test part, paired",
    ]  # fmt: skip


@pytest.mark.nightly
def test_the_worth_of_brainmris_copies_is_measured_on_the_real_images(run_script, root: Path, real_data: Path):
    printed = run_script(root / "docs" / "brainmri_duplicates.py", "--data-root", real_data, "--splits", 3)
    assert printed.startswith("all files: AUROC 0.8")


@pytest.fixture(scope="module")
def check_numbers() -> ModuleType:
    """docs/check_numbers.py as a module; it reads each file of results/reference once."""
    spec = importlib.util.spec_from_file_location("check_numbers", ROOT / "docs" / "check_numbers.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["check_numbers"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_number_of_readme_and_docs_is_what_the_reference_records_give(check_numbers):
    found = {
        path.name: check_numbers.check(path) for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    }
    assert [str(problem) for _, problems in found.values() for problem in problems] == []
    assert all(
        found[name][0] > 20 for name in ("README.md", "findings.md", "deviations.md", "claims-and-experiments.md")
    )


TABLE = """
<!-- records first: general, M = 10 -->
| | DRA | DPDL | Mahalanobis | published |
|---|---|---|---|---|
| ELPV | {} | 0.887±0.016 | 0.888±0.001 | |
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TABLE.format("0.874±0.017"), ""),
        (TABLE.format("0.875±0.017"), "0.875±0.017 is printed, and the records give 0.874±0.017 (n = 5)"),
        (TABLE.format("0.874±0.018"), "0.874±0.018 is printed"),
        (TABLE.format("0.874±0.017 (4)"), "0.874±0.017 (4) is printed"),
        (TABLE.format("0.874±0.017").replace("ELPV", "HeadCT"), "'HeadCT' is no method, data set or column"),
        (TABLE.format("0.874±0.017").replace("M = 10", "M = 1"), "no record has setting = general, shots = 1"),
        (TABLE.format("0.874±0.017").replace("first", "last"), "there is no results/reference/last.osad.zip"),
        ("DPDL gains +0.013<!-- first: [DPDL] - [DRA], ELPV -->.", ""),
        ("DPDL gains −0.013<!-- first: [DPDL] - [DRA], ELPV -->.", "−0.013 is printed, and the records give 0.013"),
        ("DPDL has 0.887±0.016.", "the records of 0.887±0.016 are not named"),
        ("Mean 0.887<!-- first: ELPV -->", "records of several method fit: say which"),
    ],
)  # fmt: skip
def test_a_number_that_the_records_do_not_give_is_found(check_numbers, tmp_path, text: str, problem: str):
    (tmp_path / "README.md").write_text(text, "utf-8")
    problems = [str(found) for found in check_numbers.check(tmp_path / "README.md")[1]]
    assert any(problem in line for line in problems) if problem else problems == []


@pytest.mark.parametrize(
    ("method", "one", "other"),
    [("dpdl", "first", "sweeps"), ("dpdl", "main", "first"), ("dra", "main", "first"), ("devnet", "main", "oracle")],
)
def test_cells_computed_on_several_machines_are_within_the_tolerance(check_numbers, method, one, other):
    wanted = {"method": method, "dataset": "elpv", "shots": "10", "preset": "quick"}
    frames = [check_numbers.selected(check_numbers.records(name), wanted).set_index("key") for name in (one, other)]
    assert set(frames[0].device).isdisjoint(frames[1].device)
    apart = (frames[0].auroc - frames[1].auroc).dropna()
    assert len(apart) == 5
    assert apart.abs().max() < TRAINED_CELL
    assert abs(apart.mean()) < ACROSS_MACHINES


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.stem
)
def test_no_formula_is_taken_for_a_tag(page: Path):
    """Markdown swallows ``<x, y>`` outside code as an unknown tag."""
    text = page.read_text("utf-8")
    for hidden in (r"<!--.*?-->", r"```.*?```", r"`[^`]*`"):
        text = re.sub(hidden, "", text, flags=re.DOTALL)
    assert re.findall(r"<(?!img |/?a\b|br\b|https?:)[A-Za-z_/][^>]*>?", text) == []


def test_the_gates_baseline_comes_from_the_reference_records(tmp_path):
    merge([ROOT / "results" / "reference" / "gate.osad.zip"], tmp_path)
    made = make_baseline(tmp_path, load(tmp_path))
    assert made.cells == read_baseline(ROOT / ".ci" / "baseline.json").cells


def test_the_backbone_and_the_pseudo_anomaly_of_the_page_are_such(tmp_path):
    scope: dict[str, Any] = {}
    for block in code_blocks(ROOT / "docs" / "backbones.md", "python"):
        exec(block, scope)
    torch.save(scope["Stages"]().state_dict(), tmp_path / "weights.pth")
    backbone = scope["tiny"](tmp_path / "weights.pth")
    maps = PyramidExtractor(backbone.module.eval(), backbone.mean, backbone.std, load_preset("quick", {})[1])(
        torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    )
    assert [tuple(scale.shape) for scale in maps] == [(2, 32, 8, 8), (2, 32, 4, 4)]
    image = np.full((20, 30, 3), 200, dtype=np.uint8)
    changed, mask = scope["scratch"](image, np.random.default_rng(0))
    assert mask.sum() == 30
    assert (changed[mask] == 50).all()
    assert (changed[~mask] == 200).all()
