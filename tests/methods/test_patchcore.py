"""PatchCore against SciPy, and what its coreset covers."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from osad_bench.methods.parts.coreset import coreset, patches
from osad_bench.methods.patchcore import PatchCore


def test_a_patch_is_the_mean_of_its_neighbourhood(pyramid):
    x = pyramid(2)[0].double()
    got = patches(x).reshape(2, 4, 4, 6)
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


def test_a_coreset_as_large_as_the_points_keeps_them_all():
    points = torch.randn(5, 3)
    assert coreset(points, 9, 2, torch.Generator()).tolist() == [0, 1, 2, 3, 4]


def test_identical_points_are_not_chosen_twice():
    assert len(set(coreset(torch.ones(9, 3), 6, 3, torch.Generator().manual_seed(0)).tolist())) == 6


def test_the_score_is_the_mean_of_the_largest_distances_to_the_memory(train, context, pyramid):
    method, data, maps = PatchCore(PatchCore.Config(memory=30, topk=0.25)), train(), pyramid(5)
    method.fit(data, context())
    expected = 0
    for scale, normal, memory in zip(maps, data.normal, method.memory):
        assert len(memory) == 30
        assert set(map(tuple, memory.tolist())) <= set(map(tuple, patches(normal).flatten(0, 1).tolist()))
        nearest = cdist(patches(scale).flatten(0, 1), memory).min(axis=1).reshape(5, -1)
        expected = expected + np.sort(nearest, axis=1)[:, -max(nearest.shape[1] // 4, 1) :].mean(1) / 2
    np.testing.assert_allclose(method.score(maps), expected, rtol=1e-4)


def test_it_finds_what_is_far_from_the_normals(train, context, pyramid):
    method = PatchCore(PatchCore.Config(memory=100))
    method.fit(train(), context())
    scores = torch.cat([method.score(pyramid(40, 20)), method.score(pyramid(40, 21, 2.0))])
    assert roc_auc_score([0] * 40 + [1] * 40, scores) > 0.99
