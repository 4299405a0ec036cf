"""FLOS, SAOE and MLEP against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import log_loss, roc_auc_score

from osad_bench.methods.base import PSEUDO, Batch
from osad_bench.methods.flos import FLOS
from osad_bench.methods.mlep import MLEP, AutoEncoder, margin_loss
from osad_bench.methods.saoe import SAOE


def fitted(kind, train, context, **config):
    method = kind(kind.Config(**config))
    method.fit(train(), context())
    return method


def test_flos_scores_are_the_logits_that_its_loss_sees(train, context, pyramid):
    method, maps = fitted(FLOS, train, context, gamma=0.0), pyramid(6)
    target = torch.tensor([0, 1, 0, 1, 1, 0])
    p = 1 / (1 + np.exp(-method.score(maps).double().numpy()))
    assert method.loss(Batch(maps, target))["focal"].item() == pytest.approx(log_loss(target.numpy(), p), rel=1e-5)


def test_saoe_treats_synthetic_anomalies_as_anomalies(train, context, pyramid):
    method, maps = fitted(SAOE, train, context), pyramid(6)
    target = torch.tensor([0, PSEUDO, 0, 1, 1, 0])
    p = 1 / (1 + np.exp(-method.score(maps).double().numpy()))
    expected = log_loss(target.numpy() > 0, p)
    assert method.loss(Batch(maps, target))["cross-entropy"].item() == pytest.approx(expected, rel=1e-5)


def test_the_margin_loss_runs_over_all_triplets():
    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.normalize(torch.randn(5, 3, generator=generator), dim=1)
    anomalous = torch.nn.functional.normalize(torch.randn(4, 3, generator=generator), dim=1)
    near, far = cdist(normal, normal) ** 2, cdist(normal, anomalous) ** 2
    terms = [max(0.0, near[a, p] - far[a, n] + 0.7) for a in range(5) for p in range(5) if p != a for n in range(4)]
    assert margin_loss(normal, anomalous, 0.7).item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_the_margin_loss_has_finite_gradients_between_equal_embeddings():
    normal = torch.ones(3, 2, requires_grad=True)
    margin_loss(normal, torch.ones(2, 2), 1.0).backward()
    assert torch.isfinite(normal.grad).all()


def test_the_margin_loss_gradient_agrees_with_finite_differences():
    generator = torch.Generator().manual_seed(1)
    cases = [torch.randn(n, 3, generator=generator, dtype=torch.float64, requires_grad=True) for n in (4, 3)]
    assert torch.autograd.gradcheck(lambda a, b: margin_loss(a, b, 1.0), cases)


def test_mleps_score_is_the_reconstruction_error_of_the_worst_positions(train, context, pyramid):
    method, maps = fitted(MLEP, train, context, topk=0.25, code=4), pyramid(5)
    head = method.network.heads["6"]
    (w1, b1), (w2, b2) = (
        (layer.weight.detach()[:, :, 0, 0].numpy(), layer.bias.detach().numpy())
        for layer in (head.encode[0], head.decode)
    )
    expected = 0
    for scale in maps:
        x = scale.permute(0, 2, 3, 1).numpy()
        error = np.square(np.maximum(x @ w1.T + b1, 0) @ w2.T + b2 - x).mean(-1).reshape(5, -1)
        expected = expected + np.sort(error, axis=1)[:, -max(error.shape[1] // 4, 1) :].mean(1) / 2
    np.testing.assert_allclose(method.score(maps).numpy(), expected, rtol=1e-4)


def test_mleps_reconstruction_sees_normals_only(train, context, pyramid):
    method, maps = fitted(MLEP, train, context), pyramid(6)
    target = torch.tensor([0, 0, 0, 1, 1, 1])
    before = method.loss(Batch(maps, target))
    changed = [torch.cat([scale[:3], scale[3:] * 7]) for scale in maps]
    after = method.loss(Batch(changed, target))
    assert torch.equal(before["reconstruction"], after["reconstruction"])
    assert not torch.equal(before["margin"], after["margin"])


@pytest.mark.parametrize("given", [False, True])
def test_mleps_target_takes_a_gradient_unless_it_is_given(given):
    """d/dx |W2 max(W1 x, 0) - x|^2 / C by hand, with and without the part that moves the target."""
    generator = np.random.default_rng(0)
    first, second, x = generator.normal(size=(3, 5)), generator.normal(size=(5, 3)), generator.normal(size=5)
    head = AutoEncoder(5, 3, 1.0, given).double()
    with torch.no_grad():
        head.encode[0].weight.copy_(torch.from_numpy(first[:, :, None, None]))
        head.decode.weight.copy_(torch.from_numpy(second[:, :, None, None]))
        for layer in (head.encode[0], head.decode):
            layer.bias.zero_()
    leaf = torch.from_numpy(x).requires_grad_()
    head(leaf.view(1, 5, 1, 1)).backward()
    residual = second @ np.maximum(first @ x, 0) - x
    through = second @ (first * (first @ x > 0)[:, None])
    expected = 2 / 5 * residual @ (through - (0 if given else np.eye(5)))
    np.testing.assert_allclose(leaf.grad, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", [FLOS, SAOE])
def test_classifiers_learn_what_is_separable(kind, train, context, pyramid):
    method = kind()
    method.fit(train(shift=2.0), context(epochs=10, steps=20, lr=0.02))
    scores = torch.cat([method.score(pyramid(50, 20)), method.score(pyramid(50, 21, 2.0))])
    assert roc_auc_score([0] * 50 + [1] * 50, scores) > 0.99
