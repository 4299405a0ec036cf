"""`run --pixels`: heat maps measured against masks, kept in the record, shown in tables of their own."""

from __future__ import annotations

import json

import pytest

SMALL = ["--datasets", "textures", "--set", "image_size=128", "--shots", "3", "--seeds", "1", "--jobs", "1"]


def test_pixel_metrics_are_measured_once_stored_and_shown_where_they_are(cli, tmp_path):
    run = ["run", "--methods", "patchcore", *SMALL, "--out", "store"]
    assert "pixel AUROC" not in cli(*run).stdout
    done = cli(*run, "--pixels")
    assert done.returncode == 0, done.stderr
    assert "0 done, 2 to do" in done.stderr, "records without them are computed again"
    records = [json.loads(path.read_text()) for path in (tmp_path / "store").glob("records/??/*.json")]
    metrics = {record["cell"]["method"]: record["metrics"] for record in records}
    about = {record["cell"]["method"]: record["diagnostics"]["pixels"] for record in records}
    assert about["patchcore"] == {"images": 24 + 69, "without_mask": 0}
    assert metrics["patchcore"]["pixel_auroc"] > 0.85
    assert 0.5 < metrics["patchcore"]["aupro"] <= 1
    assert "pixel_auroc" not in metrics["mahalanobis"]
    assert about["mahalanobis"]["missing"] == "the method has no heat maps"
    assert "2 done, 0 to do" in cli(*run, "--pixels").stderr
    table = cli("report", "store", "--no-figures").stdout
    assert "pixel AUROC" in table
    assert "AUPRO" in table
    assert f"{metrics['patchcore']['aupro']:.3f}" in table
    assert table.count("Mahalanobis") == 1, "which has none and is in no table of them"
    assert cli("report", "store", "--metric", "aupro", "--no-figures").returncode == 0


def test_a_submission_says_that_pixel_metrics_cannot_be_recomputed(cli, tmp_path):
    cli("run", "--methods", "patchcore", *SMALL, "--floor", "none", "--pixels", "--out", "store")
    cli("submit", "store", "--title", "Mine", "--out", "mine.osad.zip")
    done = cli("verify", "mine.osad.zip")
    assert "not checked: pixels: pixel metrics of 1 cells of patchcore cannot be recomputed" in done.stdout
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["blot", "scratch"])
def test_the_generated_textures_have_masks_where_they_differ(kind):
    from osad_bench.datasets.catalogue import open_dataset

    textures = open_dataset("textures")
    sample = next(one for one in textures.samples if one.kind == kind)
    mask, image = textures.mask(sample), textures.read(sample)
    assert mask.any()
    assert len({tuple(pixel) for pixel in image[mask].tolist()}) == 1, "one colour"
    assert not textures.mask(textures.by_id["normal/000"]).any()
