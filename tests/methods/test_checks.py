"""Every registered method meets the contract, and the check notices each way of breaking it."""

from __future__ import annotations

import pytest
import torch

from osad_bench.core.registry import methods
from osad_bench.methods.base import Method
from osad_bench.methods.checks import check_method


@pytest.mark.parametrize("name", methods.names())
def test_registered_methods_meet_the_contract(name):
    kind = methods.get(name)
    short = (
        {"outer_epochs": 2, "history": 1, "clusters": 2, "batch": 12}
        if "outer_epochs" in kind.Config.model_fields
        else {}
    )
    check_method(kind, kind.Config(**short))


class Mean(Method):
    """Mean of the features: meets the contract."""

    name, title, citation = "mean", "Mean", "nobody"

    def fit(self, train, context):
        pass

    def score(self, pyramid):
        return pyramid[0].mean(dim=(1, 2, 3))


class Column(Mean):
    """One column too many."""

    def score(self, pyramid):
        return super().score(pyramid)[:, None]


class Relative(Mean):
    """Scores relative to the batch."""

    def score(self, pyramid):
        return super().score(pyramid) - super().score(pyramid).mean()


class Unseeded(Mean):
    """Scores by a source of randomness of its own."""

    def score(self, pyramid):
        return super().score(pyramid) + torch.rand((), generator=torch.Generator().manual_seed(id(self) % 2**31))


class Infinite(Mean):
    """Divides by the spread of the known anomalies, which is not a number with a single one."""

    def fit(self, train, context):
        self.spread = train.seen()[0].var(dim=0, correction=0).mean()

    def score(self, pyramid):
        return super().score(pyramid) / self.spread


class InPlace(Mean):
    """Changes what it is given."""

    def score(self, pyramid):
        pyramid[0].sub_(1)
        return super().score(pyramid)


class Nameless(Mean):
    """A name that no command line can hold."""

    name = "My Method"


class Uncited(Mean):
    """No citation."""

    citation = ""


def test_a_sound_method_passes():
    check_method(Mean)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Column, r"shape \(7, 1\)"),
        (Relative, "depends on the images scored with it"),
        (Unseeded, "two fits from one seed"),
        (Infinite, "not finite with 1 known"),
        (InPlace, "changed the pyramid"),
        (Nameless, "use a-z"),
        (Uncited, "citation"),
    ],
)
def test_a_broken_one_fails_with_what_is_wrong(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_method(kind)
