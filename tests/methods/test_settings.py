"""Every setting of a published method reaches what is learned."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from osad_bench.core.registry import methods
from osad_bench.methods.base import Context, Mix, MixedConfig, Schedule

# ahl-devnet has the very settings of ahl.
PUBLISHED = [name for name in methods.names() if methods.get(name).kind == "published" and name != "ahl-devnet"]

SHARES = {"seen_share": {"seen_share": 0.4}, "pseudo_share": {"pseudo_share": 0.4}}
META = {"clusters": 2, "inner_steps": 1, "batch": 12, "outer_epochs": 3, "history": 1, "judged": 8, "pool": 8}
CHANGES: dict[str, dict[str, dict[str, object]]] = {
    "devnet": {"topk": {"topk": 0.5}, "margin": {"margin": 2.0}, "draws": {"draws": 10}},
    "dra": SHARES
    | {
        "topk": {"topk": 0.5},
        "margin": {"margin": 2.0},
        "draws": {"draws": 10},
        "width": {"width": 8},
        "references": {"references": 2},
        "seen": {"seen": False},
        "pseudo": {"pseudo": False},
        "residual": {"residual": False},
        "normality": {"normality": False},
    },
    "dpdl": SHARES
    | {
        "reading": {"reading": "shrunk"},
        "prototypes": {"prototypes": 2},
        "per_prototype": {"per_prototype": 20},
        "eps": {"eps": 0.1},
        "variance": {"reading": "printed", "variance": 0.5},
        "variance_range": {"reading": "printed", "variance_range": 1.001},
        "shrinkage": {"shrinkage": 0.5},
        "kappa": {"kappa": 2.0},
        "dispersion": {"dispersion": 1.0},
        "transport": {"transport": "sample"},
        "steps": {"transport": "sde", "steps": 3},
        "bound": {"bound": "hinge"},
        "margin": {"bound": "hinge", "margin": 3.0},
        "anomaly_weight": {"anomaly_weight": 0.5},
        "loss": {"loss": "bce"},
        "deviation_margin": {"deviation_margin": 2.0},
        "draws": {"draws": 10},
        "gamma": {"loss": "focal", "gamma": 0.5},
        "topk": {"topk": 0.5},
        "width": {"width": 8},
        "dpl": {"dpl": False},
        "dfl": {"dfl": False},
        "anomaly_head": {"anomaly_head": False},
        "normal_head": {"normal_head": False},
        "residual_head": {"residual_head": False},
    },
    "flos": {"topk": {"topk": 0.5}, "gamma": {"gamma": 0.5}},
    "saoe": SHARES | {"topk": {"topk": 0.5}},
    "mlep": {
        "code": {"code": 8},
        "margin": {"margin": 0.1},
        "weight": {"weight": 0.1},
        "given": {"given": True},
        "topk": {"topk": 0.5},
    },
    "ahl": SHARES
    | {
        "clusters": {"clusters": 3},
        "inner_lr": {"inner_lr": 0.05},
        "inner_steps": {"inner_steps": 2},
        "outer_lr": {"outer_lr": 0.01},
        "outer_weight_decay": {"outer_weight_decay": 0.1},
        "outer_epochs": {"outer_epochs": 2},
        "outer_decay_every": {"outer_decay_every": 1},
        "outer_decay": {"outer_decay": 0.5, "outer_decay_every": 1},
        "outer_clip": {"outer_clip": 1e-4},
        "batch": {"batch": 16},
        "history": {"history": 2},
        "weighting": {"weighting": False},
        "reward_normal": {"reward_normal": 40.0},
        "reward_pseudo": {"reward_pseudo": 40.0},
        "reward_seen": {"reward_seen": 40.0},
        "sequence_layers": {"sequence_layers": 1},
        "sequence_lr": {"sequence_lr": 0.1},
        "sequence_weight_decay": {"sequence_weight_decay": 1.0},
        "judged": {"judged": 4},
        "pool": {"pool": 16},
        "first_order": {"first_order": True, "inner_lr": 0.05},
    },
}
BASE: dict[str, dict[str, object]] = {"dpdl": {"prototypes": 4, "eps": 0.05}, "ahl": META, "ahl-devnet": META}


LIGHTER = {"ahl": "ahl-devnet"}
"""A method of the same class and the same settings whose fit takes a fifth of the time..."""
NOT_LIGHTER = {"first_order", "seen_share", "pseudo_share"}
"""... except for settings that act through the base."""


@pytest.fixture
def outcome(train, pyramid):
    """What a fit leaves: its training curve and the scores of six images."""

    def fit(name: str, changes: dict[str, object]) -> tuple[list[float], torch.Tensor]:
        kind = methods.get(name)
        curve: list[float] = []
        context = Context(
            0, torch.device("cpu"), Schedule(epochs=2, steps=3, batch=20, lr=0.02),
            progress=lambda _epoch, _epochs, values: curve.extend(values.values()),
        )  # fmt: skip
        data = train()
        with context.initialised("below"):
            data.below = torch.nn.Conv2d(6, 6, 1)
        method = kind(kind.Config(**BASE.get(name, {}) | changes))
        method.fit(data, context)
        return curve, method.score(pyramid(6, 50))

    return fit


def differ(one: tuple[list[float], torch.Tensor], other: tuple[list[float], torch.Tensor]) -> bool:
    return one[0] != other[0] or not torch.equal(one[1], other[1])


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_change_of_any_setting_changes_what_is_learned_or_its_score(name, outcome):
    settings = set(methods.get(name).Config.model_fields)
    assert settings == CHANGES[name].keys(), "say here how each is changed"
    assert not differ(outcome(name, {}), outcome(name, {})), "two fits of one seed"
    same = {kind: outcome(kind, {}) for kind in {name, LIGHTER.get(name, name)}}
    for setting, changes in CHANGES[name].items():
        kind = name if setting in NOT_LIGHTER else LIGHTER.get(name, name)
        # Against the same fit without the setting: some act only along with another.
        beside = {key: value for key, value in changes.items() if key != setting}
        assert differ(outcome(kind, changes), outcome(kind, beside) if beside else same[kind]), setting


def test_first_order_changes_nothing_where_second_derivatives_are_zero(outcome):
    """DevNet's head is piecewise linear in its weights and the deviation loss in the score."""
    assert not differ(
        outcome("ahl-devnet", {"inner_lr": 1e-4}), outcome("ahl-devnet", {"inner_lr": 1e-4, "first_order": True})
    )


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.5, 0.5), (0.9, 0.3)])
def test_a_batch_without_normals_or_without_anomalies_is_refused(shares):
    with pytest.raises(ValidationError, match="above 0 and below 1"):
        MixedConfig(seen_share=shares[0], pseudo_share=shares[1])


def test_a_batch_too_small_for_its_shares_is_refused_in_words():
    assert Mix(0.25, 0.5, 0.25).counts(48) == (12, 24, 12)
    with pytest.raises(ValueError, match="a batch of 4 with 2 known and 2 pseudo-anomalies has no normal"):
        Mix(0.1, 0.5, 0.4).counts(4)
