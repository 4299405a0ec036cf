"""Heads against NumPy on random input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from osad_bench.methods.parts.heads import HolisticHead, OverScales, PatchHead, ResidualHead, top_mean


def numpy_patch(head: PatchHead, x: torch.Tensor, top: float) -> np.ndarray:
    weight, bias = (p.detach().double().numpy() for p in head.score.parameters())
    scores = np.abs(np.einsum("bchw,c->bhw", x.double().numpy(), weight[0, :, 0, 0]) + bias).reshape(len(x), -1)
    return np.sort(scores, axis=1)[:, ::-1][:, : max(int(scores.shape[1] * top), 1)].mean(axis=1)


@pytest.mark.parametrize(("share", "k"), [(0.1, 3), (1.0, 30), (0.001, 1)])
def test_the_mean_of_the_top_share_takes_at_least_one(share, k):
    scores = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    expected = np.sort(scores.numpy(), axis=1)[:, -k:].mean(axis=1)
    np.testing.assert_allclose(top_mean(scores, share).numpy(), expected, rtol=1e-5)


def test_a_patch_head_averages_the_largest_magnitudes(pyramid):
    (x, _), head = pyramid(7), PatchHead(6, 0.25)
    np.testing.assert_allclose(head(x).detach().numpy(), numpy_patch(head, x, 0.25), rtol=1e-4)


def test_a_holistic_head_is_two_layers_on_the_pooled_map(pyramid):
    (x, _), head = pyramid(7), HolisticHead(6, 8)
    w1, b1, w2, b2 = (p.detach().numpy() for p in head.parameters())
    hidden = np.maximum(x.numpy().mean(axis=(2, 3)) @ w1.T + b1, 0)
    np.testing.assert_allclose(head(x).detach().numpy(), np.abs(hidden @ w2.T + b2)[:, 0], rtol=1e-4, atol=1e-6)


def test_a_residual_head_convolves_normalises_and_pools(pyramid):
    x, head = pyramid(3)[0].double(), ResidualHead(6, 0.25).double().eval()
    conv, norm, _ = head.mix
    norm.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    weight, bias = (p.detach().numpy() for p in conv.parameters())
    mixed = np.zeros((3, 6, 4, 4))
    for b in range(3):
        for c in range(6):
            planes = [correlate(np.pad(x[b, i].numpy(), 1), weight[c, i], mode="valid") for i in range(6)]
            mixed[b, c] = np.sum(planes, axis=0) + bias[c]
    mean, var = (v.numpy()[:, None, None] for v in (norm.running_mean, norm.running_var))
    mixed = np.maximum((mixed - mean) / np.sqrt(var + norm.eps), 0)
    expected = numpy_patch(head.head, torch.from_numpy(mixed), 0.25)
    np.testing.assert_allclose(head(x).detach().numpy(), expected, rtol=1e-6)


def test_scales_share_one_head_and_are_averaged(pyramid):
    maps = pyramid(4)
    head = OverScales([(6, 4, 4), (6, 2, 2)], lambda channels: PatchHead(channels, 0.25))
    assert len(head.heads) == 1
    one = head.heads["6"]
    np.testing.assert_allclose(
        head(maps).detach().numpy(), (numpy_patch(one, maps[0], 0.25) + numpy_patch(one, maps[1], 0.25)) / 2, rtol=1e-4
    )


def test_scales_of_different_depth_get_heads_of_their_own():
    head = OverScales([(6, 4, 4), (3, 2, 2)], PatchHead)
    assert head([torch.ones(2, 6, 4, 4), torch.ones(2, 3, 2, 2)]).shape == (2,)


def test_nested_gradients_of_the_top_positions_are_those_of_the_whole_map():
    """In evaluation mode the residual head visits only the positions that make the score: score and AHL's outer gradient stay."""
    generator = torch.Generator().manual_seed(0)
    x, start = (torch.randn(4, 6, 5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    head = ResidualHead(6, 0.2).double()
    head(start)  # batch norm's statistics are no longer 0 and 1
    head.eval()

    def whole_map(x):
        return head.head(head.mix(x))

    def outer_gradient(score):
        """Gradient of the loss after one inner step, with respect to where the step began."""
        parameters = list(head.parameters())
        kept = [p.detach().clone() for p in parameters]
        inner = torch.autograd.grad(score(x).square().sum(), parameters, create_graph=True)
        # d/dtheta of <inner, v> for a fixed v: the part of a nested gradient that asks for second derivatives
        return torch.autograd.grad(sum((g * v).sum() for g, v in zip(inner, kept)), parameters)

    torch.testing.assert_close(head(x), whole_map(x), rtol=1e-12, atol=0)
    for got, expected in zip(outer_gradient(head), outer_gradient(whole_map)):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
