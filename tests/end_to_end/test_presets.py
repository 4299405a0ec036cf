"""Both presets from the command line to the table, with real networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from osad_bench.results.store import Store


@pytest.fixture
def resnet_weights(tmp_path: Path) -> Path:
    """Weights in torchvision's layout; random ones are enough to test the way from the command to the table."""
    torch.manual_seed(0)
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("data", ["textures", pytest.param("elpv", marks=pytest.mark.nightly)])
def test_the_paper_preset_fine_tunes_with_all_three_methods(cli, resnet_weights: Path, tmp_path: Path, data):
    if data == "elpv":
        pytest.importorskip("elpv_dataset")
    done = cli(
        "run", "--preset", "paper", "--methods", "devnet,dra,dpdl", "--datasets", data, "--seeds", 1,
        "--set", "schedule.epochs=1", "--set", "schedule.steps=2", "--set", "schedule.batch=12", "--set", "image_size=64",
        "--weights", resnet_weights, "--out", "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = list(Store(tmp_path / "out"))
    assert {record.cell.method for record in records} == {"devnet", "dra", "dpdl", "mahalanobis"}
    assert all(record.status == "ok" for record in records)
    assert not records[0].cell.preset["frozen"]


def test_fine_tuning_changes_the_backbone_that_scores(tmp_path: Path, resnet_weights: Path):
    from osad_bench.benchmark import run

    changes = {"image_size": [32], "schedule.steps": [4], "schedule.batch": [8]}
    frames = [
        run(["devnet"], ["textures"], preset="paper", seeds=1, floor=None, out=tmp_path / name, weights=resnet_weights,
            precision="float32", set=changes | {"schedule.epochs": [epochs]})
        for name, epochs in (("one", 1), ("two", 2))
    ]  # fmt: skip
    assert frames[0]["auroc"].iloc[0] != frames[1]["auroc"].iloc[0]


@pytest.mark.nightly
def test_the_quick_preset_on_real_solar_cells_gives_an_honest_floor(cli, tmp_path: Path):
    """A tenth of the preset's pixels; still far above chance. `tox -e gate` holds all pixels against its baseline each time."""
    pytest.importorskip("elpv_dataset")
    done = cli(
        "run",
        "--methods",
        "mahalanobis",
        "--seeds",
        2,
        "--set",
        "image_size=96",
        "--set",
        "scales=[1.0]",
        "--out",
        "out",
    )
    assert done.returncode == 0, done.stderr
    frame = Store(tmp_path / "out").frame()
    assert frame["auroc"].between(0.75, 0.95).all()
    assert (frame["train_normal"] == 1131).all()
    assert (frame["test_normal"] == 377).all()
    assert (frame["test_anomaly"] == 705).all()
