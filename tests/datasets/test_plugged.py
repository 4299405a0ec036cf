"""What plug-ins do when they are asked for a data set, a backbone or a pseudo-anomaly ends in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from osad_bench.core import registry
from osad_bench.core.errors import InputError
from osad_bench.datasets.base import Dataset, Sample
from osad_bench.datasets.catalogue import open_dataset


def breaks() -> None:
    raise RuntimeError("broken")


WAYS: list[Callable] = [sys.exit, breaks, lambda: None]


class Odd(Dataset):
    """A data set that goes wrong where a test says."""

    name = title = "odd"
    way: Callable

    def scan(self):
        return self.way() or [5]

    def load(self, sample):
        return type(self).way()

    def digest(self, sample):
        return self.way()


Odd.__module__ = "a_package_of_a_stranger"


@pytest.fixture
def added(monkeypatch):
    def add(kind: str, name: str, thing: object) -> None:
        monkeypatch.setitem(getattr(registry, kind)._added, name, thing)

    return add


@pytest.mark.parametrize("way", WAYS, ids=["exits", "breaks", "odd"])
def test_a_data_set_that_goes_wrong_is_named(added, way):
    added("datasets", "odd", type("Odd", (Odd,), {"way": staticmethod(way)}))
    with pytest.raises(InputError, match="data set 'odd' fails in the code that registers it"):
        len(open_dataset("odd").samples)
    with pytest.raises(ValueError, match=r"cannot read image 'a' of data set 'odd'|'a' was read as NoneType"):
        open_dataset("odd").read(Sample("a", 0))


def test_what_is_registered_as_a_data_set_and_is_none_is_refused(added):
    added("datasets", "odd", breaks)
    with pytest.raises(registry.UnknownNameError, match="no class that derives from"):
        open_dataset("odd")


@pytest.mark.parametrize("way", WAYS, ids=["exits", "breaks", "odd"])
def test_a_backbone_that_goes_wrong_is_named(added, way):
    from osad_bench.benchmark.features.backbones import load_backbone

    added("backbones", "odd", lambda weights: way())
    load_backbone.cache_clear()
    with pytest.raises(InputError, match="backbone 'odd'"):
        load_backbone("odd")


@pytest.mark.parametrize("way", [*WAYS, lambda: (np.zeros(3), None)], ids=["exits", "breaks", "odd", "shape"])
def test_a_pseudo_anomaly_that_goes_wrong_is_named(added, way):
    from osad_bench.benchmark.features.views import View, shown

    added("pseudo_anomalies", "odd", lambda image, random: way())
    with pytest.raises(InputError, match="pseudo-anomaly 'odd'"):
        shown(np.zeros((4, 4, 3), np.uint8), "a", View("odd", 0))
