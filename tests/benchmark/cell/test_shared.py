"""What depends on the training normals alone is computed once, and scores are the same whether it was kept or is computed now."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from osad_bench.benchmark.cell.execute import PlannedCell, execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.shared import VALUE, Shelf
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.core.registry import methods

CLOSED = ("evidence", "patchcore", "whitened", "mahalanobis")


def cells(**grid) -> list[PlannedCell]:
    settings = {"methods": list(CLOSED), "datasets": ["textures"], "seeds": 1, "set": {"image_size": 64}, "floor": None}
    return plan(Grid(**(settings | grid)), Machine(cache=Path()))


def scores(cell: PlannedCell, cache: Path) -> np.ndarray:
    record, found = execute(cell, Machine(cache=cache))
    assert record.error is None, record.error
    assert found is not None
    return found.scores


def of_method(cache: Path, name: str) -> set[Path]:
    return {path.parent for path in cache.glob("shared/*/meta.json") if f'"method": "{name}"' in path.read_text()}


@pytest.mark.parametrize("name", CLOSED)
def test_a_second_seed_computes_nothing_of_the_normals_and_scores_as_without_a_cache(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    first, second = cells(methods=[name], seeds=2, shots=[5])
    scores(first, tmp_path / "warm")
    before = of_method(tmp_path / "warm", name)
    assert before
    warm = scores(second, tmp_path / "warm")
    assert of_method(tmp_path / "warm", name) == before, "the other seed has the same normals"
    again = scores(second, tmp_path / "warm")
    shutil.copytree(tmp_path / "warm" / "features", tmp_path / "cold" / "features")
    cold = scores(second, tmp_path / "cold")
    assert (warm == again).all()
    assert (warm == cold).all()
    monkeypatch.setattr(Shelf, "of_normals", lambda *_: Shelf(None, {}))
    assert (warm == scores(second, tmp_path / "cold")).all(), "kept or not, the same numbers"


def test_other_normals_settings_presets_and_versions_have_values_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (cell,) = cells(methods=["whitened"])
    scores(cell, tmp_path)
    assert len(of_method(tmp_path, "whitened")) == 1
    others = [
        *cells(methods=["whitened"], validate=True),
        *cells(methods=["whitened"], set={"image_size": 64, "whitened.folds": 3}),
        *cells(methods=["whitened"], set={"image_size": 96}),
    ]
    for count, other in enumerate(others, 2):
        scores(other, tmp_path)
        assert len(of_method(tmp_path, "whitened")) == count
    monkeypatch.setattr(methods.get("whitened"), "version", 99)
    scores(cell, tmp_path)
    assert len(of_method(tmp_path, "whitened")) == len(others) + 2


def test_settings_that_concern_the_known_anomalies_share_what_is_known_of_the_normals(tmp_path: Path):
    one, other = cells(methods=["whitened"], set={"image_size": 64, "whitened.direction": [0.5, 1.0]})
    assert (scores(one, tmp_path) != scores(other, tmp_path)).any()
    assert len(of_method(tmp_path, "whitened")) == 1


def test_a_damaged_value_is_computed_anew(tmp_path: Path):
    (cell,) = cells(methods=["whitened"])
    first = scores(cell, tmp_path)
    for path in tmp_path.glob(f"shared/*/{VALUE}"):
        path.write_bytes(path.read_bytes()[:100])
    assert (scores(cell, tmp_path) == first).all()


def test_a_cache_that_may_only_be_read_serves_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As root may write anywhere, the system's refusal is raised where a folder would be made."""
    one, other = cells(methods=["patchcore"], seeds=2)
    right = scores(other, tmp_path / "free")
    scores(one, tmp_path / "cache")
    scores(other, tmp_path / "features")
    shutil.copytree(tmp_path / "features" / "features", tmp_path / "cache" / "features", dirs_exist_ok=True)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refused)
    monkeypatch.setattr(Path, "mkdir", refused)
    assert (scores(other, tmp_path / "cache") == right).all()
    shutil.rmtree(tmp_path / "cache" / "shared")
    assert (scores(other, tmp_path / "cache") == right).all()


def test_the_normals_seed_is_the_same_for_all_seeds_and_shots_and_no_other(tmp_path: Path):
    from osad_bench.benchmark.cell.seeds import seed_of_normals

    one, other, few = cells(methods=["evidence"], seeds=2, shots=[5, 3])[:3]
    assert len({seed_of_normals(c.cell, c.division.train_normal) for c in (one, other, few)}) == 1
    validation = cells(methods=["evidence"], validate=True)[0]
    assert seed_of_normals(validation.cell, validation.division.train_normal) != seed_of_normals(
        one.cell, one.division.train_normal
    )
    assert seed_of_normals(replace(one, cell=cells(methods=["whitened"])[0].cell).cell, ("a",)) != seed_of_normals(
        one.cell, ("a",)
    )


def test_a_training_set_whose_features_are_trained_keeps_nothing(tmp_path: Path):
    (cell,) = cells(methods=["devnet"])
    preset = cell.preset
    normals = cell.division.train_normal
    device = torch.device("cpu")
    assert preset.adapter == "linear"
    assert Shelf.of_normals(tmp_path, "f", normals, preset, "w", device).root is None
    plain = preset.model_copy(update={"adapter": "none"})
    assert Shelf.of_normals(tmp_path, "f", normals, plain, "w", device).root == tmp_path


def test_a_kept_value_is_on_the_shelfs_device_whether_computed_or_read(tmp_path: Path):
    """A file's tensors are read to the CPU; a method on a GPU needs them where its features are. The device here holds no data."""
    shelf = Shelf(tmp_path, {}, torch.device("meta"))
    for _ in range(2):
        (value,) = shelf.keep("value", {}, lambda: {"value": torch.arange(3)}).values()
        assert value.device.type == "meta"
