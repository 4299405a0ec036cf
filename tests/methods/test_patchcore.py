"""PatchCore against SciPy, and what its coreset covers."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import map_coordinates, uniform_filter
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from osad_bench.methods.parts.coreset import coreset, nearest, patches
from osad_bench.methods.patchcore import PatchCore


def test_a_patch_is_the_mean_of_its_neighbourhood(pyramid):
    x = pyramid(2)[0].double()
    got = patches([x]).reshape(2, 4, 4, 6)
    inside = uniform_filter(x.numpy(), size=(1, 1, 3, 3))[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(got[:, 1:-1, 1:-1].permute(0, 3, 1, 2), inside, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[:, 0, 0], x[:, :, :2, :2].mean(dim=(2, 3)), rtol=1e-5, atol=1e-6)


def test_the_coreset_is_greedy_k_centre():
    points = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    chosen = coreset(points, 12, 3, torch.Generator().manual_seed(1)).tolist()
    distances = cdist(points, points)
    for count in range(1, 12):
        gaps = distances[:, chosen[:count]].min(axis=1)
        assert gaps[chosen[count]] == gaps.max()


def test_the_nearest_in_memory_are_those_of_cdist_to_the_last_bit():
    points, memory = (
        torch.randn(*shape, generator=torch.Generator().manual_seed(0)) for shape in ((7, 90, 24), (130, 24))
    )
    distance, index = nearest(points, memory)  # 630 patches: more than a chunk
    whole = torch.cdist(points.flatten(0, 1), memory).min(dim=1)
    assert torch.equal(distance.flatten(), whole.values)
    assert torch.equal(index.flatten(), whole.indices)


def test_a_coreset_as_large_as_the_points_keeps_them_all():
    points = torch.randn(5, 3)
    assert coreset(points, 9, 2, torch.Generator()).tolist() == [0, 1, 2, 3, 4]


def test_identical_points_are_not_chosen_twice():
    assert len(set(coreset(torch.ones(9, 3), 6, 3, torch.Generator().manual_seed(0)).tolist())) == 6


def two_stages(maps):
    """Both stages in NumPy and SciPy: smoothed, the coarse one enlarged bilinearly, channels side by side."""
    fine, coarse = (patches([stage]).reshape(len(stage), *stage.shape[2:], -1).numpy() for stage in maps)
    centre = (np.arange(fine.shape[1]) + 0.5) * coarse.shape[1] / fine.shape[1] - 0.5  # in the coarse map's pixels
    rows, columns = np.meshgrid(centre, centre, indexing="ij")
    enlarged = [
        [map_coordinates(one[..., c], [rows, columns], order=1, mode="nearest") for c in range(one.shape[-1])]
        for one in coarse
    ]
    return np.concatenate([fine, np.moveaxis(enlarged, 1, -1)], axis=-1).reshape(len(fine), -1, 12)


def test_stages_are_aligned_and_put_together(pyramid):
    np.testing.assert_allclose(patches(pyramid(3)), two_stages(pyramid(3)), rtol=1e-4, atol=1e-5)


def fitted(train, context, **config):
    method = PatchCore(PatchCore.Config(**config))
    method.fit(train(), context())
    return method


def test_the_memory_is_of_patches_of_all_training_normals(train, context, monkeypatch):
    monkeypatch.setattr("osad_bench.methods.patchcore.CHUNK", 7)
    every = set(map(tuple, patches(train().normal).flatten(0, 1).tolist()))
    memory = fitted(train, context, memory=10_000).memory
    assert set(map(tuple, memory.tolist())) == every
    few = fitted(train, context, memory=30, candidates=200).memory
    assert len(set(map(tuple, few.tolist())) & every) == 30


def test_the_score_is_equations_6_and_7(train, context, pyramid):
    method, maps = fitted(train, context, memory=30, neighbours=4), pyramid(5)
    memory = method.memory.numpy()
    expected = []
    for points in two_stages(maps):
        distance = cdist(points, memory)
        patch = distance.min(1).argmax()
        entry = distance[patch].argmin()
        beside = np.argsort(cdist(memory[entry : entry + 1], memory)[0])[:4]
        largest = distance[patch, entry]
        expected.append((1 - np.exp(largest) / np.exp(distance[patch, beside]).sum()) * largest)
    np.testing.assert_allclose(method.score(maps), expected, rtol=1e-4)


def test_the_mean_of_the_top_share_can_take_their_place(train, context, pyramid):
    method, maps = fitted(train, context, memory=30, topk=0.25), pyramid(5)
    closest = np.sort([cdist(points, method.memory).min(1) for points in two_stages(maps)], axis=1)
    np.testing.assert_allclose(method.score(maps), closest[:, -4:].mean(1), rtol=1e-4)


def test_it_finds_what_is_far_from_the_normals(train, context, pyramid):
    method = PatchCore(PatchCore.Config(memory=100))
    method.fit(train(), context())
    scores = torch.cat([method.score(pyramid(40, 20)), method.score(pyramid(40, 21, 2.0))])
    assert roc_auc_score([0] * 40 + [1] * 40, scores) > 0.99
