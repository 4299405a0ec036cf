"""The feature cache: what it holds does not depend on who asked, when, or what interrupted it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from osad_bench.benchmark.features import cache as features
from osad_bench.benchmark.features import rows as features_rows
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache, in_threads
from osad_bench.benchmark.features.extractor import PyramidExtractor, as_tensor
from osad_bench.benchmark.features.views import CLEAN, View, resized, shown
from osad_bench.benchmark.preset import Preset, load_preset
from osad_bench.datasets.catalogue import open_dataset

QUICK = load_preset("quick", {"image_size": 64})[1]


@pytest.fixture(scope="module")
def textures():
    return open_dataset("textures")


@pytest.fixture(scope="module")
def lite0():
    return load_backbone("efficientnet_lite0")


def rows(root: Path, textures, lite0, ids: Sequence[str], view: View = CLEAN, preset: Preset = QUICK):
    return FeatureCache(root).rows(textures, preset, lite0, ids, view)


def test_rows_are_the_backbones_maps_in_half_precision(tmp_path: Path, textures, lite0):
    ids = [textures.samples[3].id, textures.samples[100].id]
    found = rows(tmp_path, textures, lite0, ids)
    images = as_tensor(np.stack([resized(textures, name, 64) for name in ids]))
    with torch.no_grad():
        expected = PyramidExtractor(lite0.module.eval(), lite0.mean, lite0.std, QUICK)(images)
    assert [scale.shape for scale in found] == [(168, 320, 2, 2), (168, 320, 1, 1)]
    for scale, right in zip(found, expected):
        assert scale.dtype == np.float16
        np.testing.assert_allclose(scale[[3, 100]].astype(float), right.numpy(), rtol=5e-3, atol=5e-3)


def test_rows_do_not_depend_on_what_was_asked_for_before(tmp_path: Path, textures, lite0):
    names = [sample.id for sample in textures.samples[:20]]
    together = rows(tmp_path / "a", textures, lite0, names)
    for part in (names[13:], names[:5], names):
        piecewise = rows(tmp_path / "b", textures, lite0, part)
    for one, other in zip(together, piecewise):
        np.testing.assert_array_equal(one[:20], other[:20])


def test_a_second_visit_reads_no_image(tmp_path: Path, textures, lite0, monkeypatch: pytest.MonkeyPatch):
    names = [sample.id for sample in textures.samples[:6]]
    first = [scale[:6].copy() for scale in rows(tmp_path, textures, lite0, names)]
    monkeypatch.setattr(features, "resized", lambda *_: pytest.fail("an image was read again"))
    for one, other in zip(first, rows(tmp_path, textures, lite0, names)):
        np.testing.assert_array_equal(one, other[:6])


def test_an_image_is_read_once_for_all_views_and_for_fine_tuning(
    tmp_path: Path, textures, lite0, monkeypatch: pytest.MonkeyPatch
):
    names = [sample.id for sample in textures.samples[:4]]
    fresh = rows(tmp_path / "fresh", textures, lite0, names, View("cutmix", 1))[0][:4].copy()
    rows(tmp_path, textures, lite0, names)
    monkeypatch.setattr(features, "resized", lambda *_: pytest.fail("an image was read again"))
    np.testing.assert_array_equal(rows(tmp_path, textures, lite0, names, View("cutmix", 1))[0][:4], fresh)
    (images,) = rows(tmp_path, textures, lite0, names, preset=QUICK.model_copy(update={"frozen": False}))
    np.testing.assert_array_equal(images[2], resized(textures, names[2], 64))


def test_an_interrupted_visit_is_taken_up_where_it_stopped(
    tmp_path: Path, textures, lite0, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(features_rows, "FLUSH", 8)
    names = [sample.id for sample in textures.samples[:32]]
    calls: list[str] = []

    def read_some(dataset, name, size, tiles):
        calls.append(name)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return resized(dataset, name, size, tiles)

    monkeypatch.setattr(features, "resized", read_some)
    with pytest.raises(KeyboardInterrupt):
        rows(tmp_path, textures, lite0, names)
    before = len(calls)
    found = rows(tmp_path, textures, lite0, names)
    assert 0 < len(calls) - before < 32, "nothing was kept"
    for one, other in zip(found, rows(tmp_path / "fresh", textures, lite0, names)):
        np.testing.assert_array_equal(one[:32], other[:32])


@pytest.mark.parametrize("file", ["meta.json", "done.u8", "part0.float16"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"{"), lambda path: path.unlink()])
def test_a_damaged_view_is_made_anew(tmp_path: Path, textures, lite0, file, damage):
    names = [sample.id for sample in textures.samples[:3]]
    first = [scale[:3].copy() for scale in rows(tmp_path, textures, lite0, names)]
    (path,) = tmp_path.glob(f"features/*/{file}")
    damage(path)
    for one, other in zip(first, rows(tmp_path, textures, lite0, names)):
        np.testing.assert_array_equal(one, other[:3])


def test_a_full_disk_is_an_error_and_marks_nothing_done(
    tmp_path: Path, textures, lite0, monkeypatch: pytest.MonkeyPatch
):
    names = [sample.id for sample in textures.samples[:8]]

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(features_rows.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            rows(tmp_path, textures, lite0, names)
    (marks,) = tmp_path.glob("features/*/done.u8")
    assert not any(marks.read_bytes())
    rows(tmp_path, textures, lite0, names)
    assert sum(marks.read_bytes()) == 8


def test_pseudo_anomalies_of_one_draw_are_the_same_and_of_two_draws_differ(textures):
    name = textures.samples[-1].id
    image = resized(textures, name, 64)
    first, again, second = (shown(image, name, View("cutmix", draw)) for draw in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    assert (first != image).any()


@pytest.mark.parametrize("change", [{"image_size": 96}, {"scales": [1.0]}, {"stages": [-2]}])
def test_another_preset_has_features_of_its_own(tmp_path: Path, textures, lite0, change):
    names = [textures.samples[0].id]
    one = rows(tmp_path, textures, lite0, names)
    other = rows(tmp_path, textures, lite0, names, preset=load_preset("quick", {"image_size": 64} | change)[1])
    assert [s.shape for s in one] != [s.shape for s in other]
    assert len(list(tmp_path.glob("features/*/meta.json"))) == 2


def test_rows_do_not_depend_on_the_number_of_threads(tmp_path: Path, textures, lite0):
    names = [sample.id for sample in textures.samples[:20]]
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(rows(tmp_path / str(threads), textures, lite0, names))
        assert torch.get_num_threads() == threads, "the caller's setting is left as it was"
    torch.set_num_threads(1)
    for one, other in zip(*found):
        np.testing.assert_array_equal(one[:20], other[:20])


def test_stopping_in_the_middle_does_not_wait_for_parts_that_have_begun():
    go_on, finished = threading.Event(), threading.Event()

    def compute(part: int) -> int:
        if part:
            go_on.wait(60)
            finished.set()
        return part

    values = in_threads(range(4), compute)
    assert next(values) == (0, 0)
    values.close()
    assert not finished.is_set()
    go_on.set()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_folder_that_nobody_can_make_is_an_error_and_not_tried_for_ever(textures, lite0):
    with pytest.raises(FileNotFoundError):
        rows(Path("/proc/osad-bench"), textures, lite0, [textures.samples[0].id])
