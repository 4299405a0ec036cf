"""Losses against NumPy and SciPy on random input, and their gradients in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.utils._python_dispatch import TorchDispatchMode

from osad_bench.methods.devnet import DevNet
from osad_bench.methods.dpdl.model import DPDL
from osad_bench.methods.dra import DRA
from osad_bench.methods.flos import FLOS
from osad_bench.methods.mlep import MLEP
from osad_bench.methods.parts.losses import Deviation, binary_focal
from osad_bench.methods.saoe import SAOE


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(40, generator=generator, dtype=torch.float64) * 4
    return scores, torch.rand(40, generator=generator) < 0.4


def test_the_deviation_loss_is_that_of_its_paper(case):
    scores, anomalous = case
    z = (scores.numpy() - 0.3) / 1.7
    y = anomalous.numpy().astype(float)
    expected = np.mean((1 - y) * np.abs(z) + y * np.maximum(0, 2.5 - z))
    assert Deviation(0.3, 1.7, 2.5)(scores, anomalous).item() == pytest.approx(expected, rel=1e-12)


def test_the_reference_scores_are_five_thousand_draws_of_a_standard_normal():
    deviation = Deviation.draw(torch.Generator().manual_seed(11))
    draws = torch.randn(5000, generator=torch.Generator().manual_seed(11)).double().numpy()
    assert deviation.mean == pytest.approx(draws.mean(), abs=1e-6)
    assert deviation.std == pytest.approx(draws.std(ddof=1), rel=1e-6)
    assert deviation.margin == 5


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_loss_is_that_of_its_paper(case, gamma):
    logits, anomalous = case
    p = np.where(anomalous.numpy(), expit(logits.numpy()), 1 - expit(logits.numpy()))
    assert binary_focal(logits, anomalous, gamma).item() == pytest.approx(np.mean(-((1 - p) ** gamma) * np.log(p)))


def test_gradients_agree_with_finite_differences(case):
    scores, anomalous = case
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: Deviation(0.3, 1.7)(s, anomalous), scores)
    assert torch.autograd.gradcheck(lambda s: binary_focal(s, anomalous), scores)


def test_the_focal_loss_stays_finite_far_out():
    logits = torch.tensor([500.0, -500.0], requires_grad=True)
    loss = binary_focal(logits, torch.tensor([False, True]))
    loss.backward()
    assert loss.item() == pytest.approx(500)
    assert torch.isfinite(logits.grad).all()


class Waits(TorchDispatchMode):
    """Notes each operation for which a GPU's results are waited for: its shape or its branch depends on them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation, types, given=(), named=None):
        name = operation.name().removeprefix("aten::").split(".")[0]
        by_mask = name.startswith("index") and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool
            for one in (given[1] if isinstance(given[1], list | tuple) else ())
        )
        if by_mask or name in {"nonzero", "masked_select", "_local_scalar_dense", "_unique2", "bincount", "equal"}:
            self.found.append(name)
        return operation(*given, **(named or {}))


@pytest.mark.parametrize("cls", [DevNet, DRA, FLOS, SAOE, MLEP, DPDL])
def test_a_step_never_waits_for_the_device(cls, train, context):
    method, data = cls(), train()
    method.fit(data, context(epochs=1, steps=1))
    batch = data.batch(12, method.mix, ("cutmix",), method.references(data))
    with Waits() as waits:
        torch.stack(list(method.loss(batch).values())).sum().backward()
        assert waits.found == []
        batch.pyramid[0][batch.target == 0]
    assert waits.found == ["index"], "it sees what it is to see"
