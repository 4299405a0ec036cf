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

from osad_bench.methods.base import Context, Schedule, seed_of
from osad_bench.methods.evidence import (
    EvidenceSum,
    Images,
    Patches,
    Sorts,
    Usual,
    alike,
    direction,
    places,
    top_evidence,
)
from osad_bench.methods.mahalanobis import Mahalanobis
from osad_bench.methods.parts.coreset import patches
from osad_bench.methods.parts.whitening import Fold, Gaussian, Pooled, Units, Whitening, pooled
from osad_bench.methods.whitened import Whitened

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
    found = Pooled.of(Whitening.fit(pooled(normals)), pooled(anomalies))(pooled(test)).numpy()
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
    normals, known, fresh = (pooled(maps) for maps in (normal_maps(40), normal_maps(3, 1) + 1, normal_maps(4000, 5)))
    gaussian = Gaussian.fit(normals, Fold.divide(len(normals), 5, 512, seeded()))
    evidence = Pooled.of(gaussian.whiten, known)
    units = Units.of(gaussian.out_of_fold(lambda white, _: Pooled.of(white, known)))
    outside, inside = units(evidence(fresh)), units(evidence(normals))
    assert outside.mean(0).abs().max() < 0.35
    assert (outside.std(0) - 1).abs().max() < 0.35
    assert inside[:, 0].mean() < outside[:, 0].mean(), "normals that were fitted to lie too near their mean"


def test_held_out_normals_are_measured_by_evidence_of_the_others():
    normals, known = pooled(normal_maps(50)), pooled(normal_maps(2, 1) + 1)
    folds = Fold.divide(50, 5, 20, seeded())
    measures = Gaussian.fit(normals, folds).out_of_fold(lambda white, _: Pooled.of(white, known))
    assert [len(fold.held) for fold in folds] == [4] * 5
    assert [len(fold.others) for fold in folds] == [40] * 5
    assert all(not set(fold.held.tolist()) & set(fold.others.tolist()) for fold in folds)
    assert len({row for fold in folds for row in fold.held.tolist()}) == len(measures) == 20
    expected = Pooled.of(Whitening.fit(normals[folds[0].others]), known)(normals[folds[0].held])
    np.testing.assert_allclose(measures[:4].numpy(), expected.numpy(), rtol=1e-12)


def test_four_normals_are_enough():
    for kind in (Whitened, EvidenceSum):
        method = kind()
        method.fit(Parts(normal_maps(4), normal_maps(1, 1)), context_of_seed_0())
        assert torch.isfinite(method.score([normal_maps(3, 2)])).all()


@pytest.mark.parametrize("kind", [Whitened, EvidenceSum])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_constant_channels_and_constant_images_give_numbers(kind):
    normals = normal_maps(12)
    normals[:, 2] = 0
    for same in (normals, torch.ones(12, C, H, H)):
        method = kind()
        method.fit(Parts(same, normals[:2]), context_of_seed_0())
        assert torch.isfinite(method.score([torch.cat([same[:2], torch.zeros(1, C, H, H)])])).all()


class Parts:
    """A training set of given maps."""

    def __init__(self, normals, seen):
        self._normals, self._seen = [normals], [seen]

    def normals(self, index=None):
        return self._normals if index is None else [maps[index] for maps in self._normals]

    def seen(self):
        return self._seen


def context_of_seed_0() -> Context:
    return Context(0, torch.device("cpu"), Schedule())


def folds_of(context: Context) -> torch.Generator:
    """What Whitened draws its folds from."""
    return torch.Generator().manual_seed(seed_of(context.seed_of_normals, "gaussians/folds"))


def auroc(method, normals, seen, test_normals, test_anomalies):
    fitted = method()
    fitted.fit(Parts(normals, seen), context_of_seed_0())
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
    assert evidence > whitened + 0.05


def test_image_evidence_is_numpys():
    normals, test = normal_maps(50), normal_maps(7, 2)
    gaussian = LedoitWolf().fit(normals.double().mean((2, 3)).numpy())
    root = scipy.linalg.inv(scipy.linalg.sqrtm(gaussian.covariance_))
    z, n = ((x.double().mean((2, 3)).numpy() - gaussian.location_) @ root for x in (test, normals))
    near = np.argsort(cdist(z, n), axis=1)[:, :3]
    expected = [np.log(((one - n[index].mean(0)) ** 2).sum()) for one, index in zip(z, near)]
    normals, test = pooled(normals), pooled(test)
    found = Images.of(Whitening.fit(normals), normals, 3)(test).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_patch_evidence_is_numpys():
    normals, anomalies, test = normal_maps(5), normal_maps(2, 1) + 1, normal_maps(3, 2)
    config = EvidenceSum.Config()
    part = Patches.fit(places(normals), config, seeded())
    assert len(part.memory) == 80, "all patches are kept"

    def rows(maps):
        return maps.double().numpy().transpose(0, 2, 3, 1).reshape(len(maps), -1, C)

    gaussian = LedoitWolf().fit(rows(normals).reshape(-1, C))
    root = scipy.linalg.inv(scipy.linalg.sqrtm(gaussian.covariance_))

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    z = (rows(anomalies) - gaussian.location_) @ root
    far = np.array([one[np.argmax((one**2).sum(1))] for one in z])  # 10 % of 16 positions: one
    cosine = unit((rows(test) - gaussian.location_) @ root) @ unit(far).mean(0)
    memory = patches([normals]).double().numpy().reshape(-1, C)
    distance = np.array([cdist(one, memory).min(1) for one in patches([test]).double().numpy()])
    measured = part(places(test))
    length = np.linalg.norm((rows(test) - gaussian.location_) @ root, axis=2)
    np.testing.assert_allclose(measured.numpy(), np.stack([np.log(distance), length], axis=2), rtol=1e-3, atol=1e-4)
    found = alike(part.whiten, test, measured[..., 1], direction(part.whiten, anomalies, config.topk))
    np.testing.assert_allclose(found.numpy(), cosine, rtol=1e-3, atol=1e-4)


def test_calibration_is_numpys():
    """Units, weighted sum, mean of the top share, and the shrunk mean of each sort, from the measures alone."""
    random = np.random.default_rng(0)
    normals, test, sort = random.normal(size=(40, 12, 2)), random.normal(size=(7, 12, 2)), random.integers(0, 3, 40)
    config = EvidenceSum.Config(direction=0.7, topk=0.25, prior=4)
    one_hot = torch.eye(3, dtype=torch.float64)
    part = Usual.fit(torch.from_numpy(normals), one_hot[sort], config)

    def sums(measures):
        units = (measures - normals.mean((0, 1))) / normals.std((0, 1))
        return np.sort(units @ [1, 0.7], axis=1)[:, -3:].mean(1)

    usual = [(sums(normals)[sort == s].sum() + 4 * sums(normals).mean()) / ((sort == s).sum() + 4) for s in range(3)]
    spread = (sums(normals) - np.take(usual, sort)).std()
    measured = top_evidence(part.units, torch.from_numpy(test), config)
    found = EvidenceSum._compared(measured, one_hot[[0, 1, 2, 0, 1, 2, 0]], part)
    np.testing.assert_allclose(found.numpy(), (sums(test) - np.take(usual, [0, 1, 2, 0, 1, 2, 0])) / spread, rtol=1e-9)


def test_sorts_are_clusters_of_averages():
    rows = torch.eye(3, dtype=torch.float64).repeat_interleave(20, 0) + 0.01 * torch.randn(60, 3, generator=seeded())
    sorts = Sorts.fit(rows, 3, seeded())
    found = sorts(rows).argmax(1).view(3, 20)
    assert (found == found[:, :1]).all()
    assert len(set(found[:, 0].tolist())) == 3
    assert sorts(rows).sum(1).eq(1).all()
    assert Sorts.fit(rows[:2], 4, seeded())(rows[:2]).shape == (2, 2)


def test_what_is_usual_for_a_sort_is_not_anomalous():
    """Two sorts, one of them varied: compared with all normals, its normals hide the tame sort's anomalies."""

    def noise(n, seed):
        return torch.randn(n, 8, H, H, generator=seeded(seed))

    centre = 5 * torch.eye(8)[0][:, None, None]

    def images(n, seed, defect=0.0):
        tame, varied = noise(n, seed) + defect * torch.eye(8)[1][:, None, None], 3 * noise(n, seed + 1) + centre
        return tame, varied

    tame, varied = images(150, 0)
    fresh_tame, fresh_varied = images(150, 2)
    defective, _ = images(150, 4, defect=1.5)
    parts = torch.cat([tame, varied]), defective[:1], torch.cat([fresh_tame, fresh_varied]), defective[1:]
    one, two = (auroc(lambda k=k: EvidenceSum(EvidenceSum.Config(sorts=k, direction=0)), *parts) for k in (1, 2))
    assert two > one + 0.1


def test_normals_of_several_sorts_are_each_compared_with_their_own():
    """An anomaly between all sorts is nearer to their common mean than any normal is."""

    def noise(n, seed):
        return 0.3 * torch.randn(n, C, H, H, generator=seeded(seed))

    sorts = 3 * torch.eye(C).repeat(40, 1)[:, :, None, None]
    normals, fresh, between = sorts + noise(40 * C, 0), sorts + noise(40 * C, 1), 0.5 + noise(50, 2)
    rows, test = pooled(normals), pooled(torch.cat([fresh, between]))
    whiten, labels = Whitening.fit(rows), [0] * len(fresh) + [1] * 50
    assert roc_auc_score(labels, Pooled.of(whiten, pooled(between[:1]))(test)[:, 0].numpy()) < 0.1
    assert roc_auc_score(labels, Images.of(whiten, rows, 5)(test).numpy()) > 0.95


def test_direction_weighs_the_likeness_to_the_known_anomalies():
    normals, anomalies, test = normal_maps(60), normal_maps(3, 1) + 1, normal_maps(9, 2)

    def scores(weight):
        method = Whitened(Whitened.Config(direction=weight))
        method.fit(Parts(normals, anomalies), context_of_seed_0())
        return method.score([test]).numpy()

    none, half, whole = scores(0), scores(0.5), scores(1)
    np.testing.assert_allclose(half, (none + whole) / 2, rtol=1e-9)
    rows, known = pooled(normals), pooled(anomalies)
    whiten = Whitening.fit(rows)
    folds = Fold.divide(60, 5, 512, folds_of(context_of_seed_0()))
    units = Units.of(Gaussian.fit(rows, folds).out_of_fold(lambda white, _: Pooled.of(white, known)))
    measured = units(Pooled.of(whiten, known)(pooled(test))).numpy()
    np.testing.assert_allclose(whole - none, measured[:, 1], rtol=1e-9)


def test_the_same_generator_gives_the_same_scores():
    parts = normal_maps(60), normal_maps(3, 1) + 1, normal_maps(9, 2), normal_maps(9, 3) + 1
    scores = []
    for _ in range(2):
        method = EvidenceSum()
        method.fit(Parts(*parts[:2]), context_of_seed_0())
        scores.append(method.score([parts[2]]))
    assert torch.equal(*scores)
