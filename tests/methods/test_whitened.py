"""Whitened and Evidence: against NumPy and SciPy, against the model they are derived from, and on what they are for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from osad_bench.methods.evidence import EvidenceSum, Images, Patches
from osad_bench.methods.mahalanobis import Mahalanobis
from osad_bench.methods.patchcore import patches
from osad_bench.methods.whitened import Calibrated, Pooled, Whitened, Whitening

C, H = 6, 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


MIX = torch.randn(C, C, generator=seeded(99)) * torch.tensor([0.1, 0.3, 1, 1, 3, 10])[:, None]


def normal_maps(n, seed=0, side=H):
    """Correlated channels of very different scales: MIX times white noise, plus 2."""
    return torch.einsum("ij,njhw->nihw", MIX, torch.randn(n, C, side, side, generator=seeded(seed))) + 2


def test_whitening_is_the_inverse_root_of_the_shrunk_covariance():
    rows = normal_maps(300).mean((2, 3)).double()
    expected = scipy.linalg.inv(scipy.linalg.sqrtm(LedoitWolf().fit(rows.numpy()).covariance_))
    np.testing.assert_allclose(Whitening.fit(rows).root.numpy(), expected, rtol=1e-6, atol=1e-8)


def test_pooled_evidence_is_numpys():
    normals, anomalies, test = normal_maps(50), normal_maps(3, 1) + 1, normal_maps(7, 2)
    gaussian = LedoitWolf().fit(normals.double().mean((2, 3)).numpy())
    root = scipy.linalg.inv(scipy.linalg.sqrtm(gaussian.covariance_))
    z, a = ((x.double().mean((2, 3)).numpy() - gaussian.location_) @ root for x in (test, anomalies))
    cosines = [[np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other) for other in a] for one in z]
    found = Pooled(normals, anomalies, seeded())(test).numpy()
    np.testing.assert_allclose(found[:, 0], np.log((z**2).sum(1)), rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], np.mean(cosines, axis=1), rtol=1e-6)


def test_mean_cosine_orders_as_the_von_mises_fisher_mixture_where_the_concentration_is_small():
    """The first-order expansion of the docstring, against SciPy's densities."""
    random = np.random.default_rng(0)
    centres, points = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in random.normal(size=(2, 40, 8)))
    kappa = 1e-3
    mixture = np.mean([scipy.stats.vonmises_fisher(centre, kappa).pdf(points) for centre in centres], axis=0)
    ratio = np.log(mixture)  # to the uniform density, a constant
    mean_cosine = (points @ centres.T).mean(1)
    np.testing.assert_allclose((ratio - ratio.mean()) / kappa, mean_cosine - mean_cosine.mean(), atol=1e-3)


def test_units_are_out_of_fold_new_normals_have_mean_0_and_spread_1():
    normals, fresh = normal_maps(40), normal_maps(4000, 5)
    part = Calibrated(Pooled, normals, normal_maps(3, 1) + 1, 5, 512, seeded())
    outside = (part.evidence(fresh) - part.mean) / part.std
    assert outside.mean(0).abs().max() < 0.35
    assert (outside.std(0) - 1).abs().max() < 0.35
    inside = (part.evidence(normals) - part.mean) / part.std
    assert inside[:, 0].mean() < outside[:, 0].mean(), "normals that were fitted to lie too near their mean"


def test_at_most_so_many_normals_are_measured_and_few_are_enough():
    counted = []

    class Counting(Pooled):
        def __call__(self, maps):
            counted.append(len(maps))
            return super().__call__(maps)

    Calibrated(Counting, normal_maps(50), normal_maps(1, 1), 5, 20, seeded())
    assert sum(counted) == 20
    part = Calibrated(Pooled, normal_maps(4), normal_maps(1, 1), 5, 512, seeded())
    assert torch.isfinite(part(normal_maps(3, 2))).all()


@pytest.mark.parametrize("kind", [Pooled, Images, Patches])
def test_constant_channels_and_constant_images_give_numbers(kind):
    normals = normal_maps(12)
    normals[:, 2] = 0
    part = Calibrated(kind, normals, normals[:2], 3, 512, seeded())
    assert torch.isfinite(part(torch.cat([normals[:2], torch.zeros(1, C, H, H)]))).all()


class Parts:
    """A training set of given maps."""

    def __init__(self, normals, seen):
        self._normals, self._seen = [normals], [seen]

    def normals(self):
        return self._normals

    def seen(self):
        return self._seen


class Ctx:
    def __init__(self):
        self.generator = seeded()


def auroc(method, normals, seen, test_normals, test_anomalies):
    fitted = method()
    fitted.fit(Parts(normals, seen), Ctx())
    scores = fitted.score([torch.cat([test_normals, test_anomalies])])
    return roc_auc_score([0] * len(test_normals) + [1] * len(test_anomalies), scores.numpy())


def test_what_the_known_anomalies_share_adds_to_the_distance():
    shift = MIX.sum(1)[:, None, None] * 0.15  # 1.5 standard deviations of the average
    parts = normal_maps(300), normal_maps(10, 1) + shift, normal_maps(300, 2), normal_maps(300, 3) + shift
    assert auroc(Whitened, *parts) > auroc(Mahalanobis, *parts) + 0.05


def test_patches_find_a_small_defect_that_the_average_hides():
    def noise(n, seed):
        return torch.randn(n, 40, 8, 8, generator=seeded(seed))

    def defect(n, seed):
        maps = noise(n, seed)
        maps[:, :10, 2:4, 2:4] += 1.2  # 3.8 standard deviations there, 1.9 of the average
        return maps

    parts = noise(200, 0), defect(5, 1), noise(200, 2), defect(200, 3)
    alike = EvidenceSum.Config(direction=Whitened.Config().direction)  # weighed as in Whitened
    whitened, evidence = auroc(Whitened, *parts), auroc(lambda: EvidenceSum(alike), *parts)
    assert evidence > 0.85
    assert evidence > whitened + 0.1


def test_image_evidence_is_numpys():
    normals, anomalies, test = normal_maps(50), normal_maps(3, 1) + 1, normal_maps(7, 2)
    gaussian = LedoitWolf().fit(normals.double().mean((2, 3)).numpy())
    root = scipy.linalg.inv(scipy.linalg.sqrtm(gaussian.covariance_))
    z, n = ((x.double().mean((2, 3)).numpy() - gaussian.location_) @ root for x in (test, normals))
    near = np.argsort(cdist(z, n), axis=1)[:, :3]
    expected = [np.log(((one - n[index].mean(0)) ** 2).sum()) for one, index in zip(z, near)]
    found = Images(normals, anomalies, seeded(), nearest=3)(test).numpy()
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], Pooled(normals, anomalies, seeded())(test)[:, 1].numpy(), rtol=1e-12)


def test_patch_evidence_is_numpys():
    normals, anomalies, test = normal_maps(5), normal_maps(2, 1) + 1, normal_maps(3, 2)
    part = Patches(normals, anomalies, seeded())  # 80 patches: all are kept

    def rows(maps):
        return maps.double().numpy().transpose(0, 2, 3, 1).reshape(len(maps), -1, C)

    gaussian = LedoitWolf().fit(rows(normals).reshape(-1, C))
    root = scipy.linalg.inv(scipy.linalg.sqrtm(gaussian.covariance_))

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    z = (rows(anomalies) - gaussian.location_) @ root
    far = np.array([one[np.argmax((one**2).sum(1))] for one in z])  # 10 % of 16 positions: one
    alike = unit((rows(test) - gaussian.location_) @ root) @ unit(far).mean(0)
    averaged, memory = (patches(maps).double().numpy() for maps in (test, normals))
    distance = cdist(averaged.reshape(-1, C), memory.reshape(-1, C)).min(1).reshape(3, -1)
    expected = np.stack([np.log(distance.max(1)), alike.max(1)], axis=1)
    np.testing.assert_allclose(part(test).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_normals_of_several_sorts_are_each_compared_with_their_own():
    """An anomaly between all sorts is nearer to their common mean than any normal is."""

    def noise(n, seed):
        return 0.3 * torch.randn(n, C, H, H, generator=seeded(seed))

    sorts = 3 * torch.eye(C).repeat(40, 1)[:, :, None, None]
    normals, fresh, between = sorts + noise(40 * C, 0), sorts + noise(40 * C, 1), 0.5 + noise(50, 2)
    scores = {}
    for kind in (Pooled, Images):
        measured = kind(normals, between[:1], seeded())(torch.cat([fresh, between]))
        scores[kind] = roc_auc_score([0] * len(fresh) + [1] * 50, measured[:, 0].numpy())
    assert scores[Pooled] < 0.1
    assert scores[Images] > 0.95


def test_direction_weighs_the_likeness_to_the_known_anomalies():
    normals, anomalies, test = normal_maps(60), normal_maps(3, 1) + 1, normal_maps(9, 2)

    def scores(weight):
        method = Whitened(Whitened.Config(direction=weight))
        method.fit(Parts(normals, anomalies), Ctx())
        return method.score([test]).numpy()

    none, half, whole = scores(0), scores(0.5), scores(1)
    np.testing.assert_allclose(half, (none + whole) / 2, rtol=1e-9)
    alike = Calibrated(Pooled, normals, anomalies, 5, 512, seeded())
    measured = ((alike.evidence(test) - alike.mean) / alike.std).numpy()
    np.testing.assert_allclose(whole - none, measured[:, 1], rtol=1e-9)


def test_the_same_generator_gives_the_same_scores():
    parts = normal_maps(60), normal_maps(3, 1) + 1, normal_maps(9, 2), normal_maps(9, 3) + 1
    scores = []
    for _ in range(2):
        method = EvidenceSum()
        method.fit(Parts(*parts[:2]), Ctx())
        scores.append(method.score([parts[2]]))
    assert torch.equal(*scores)
