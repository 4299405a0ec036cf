"""A cell that fills a GPU's memory is computed once more with less of it, and gives the same scores."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from osad_bench.benchmark.cell.execute import execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.offload import KeptInMainMemory
from osad_bench.benchmark.cell.state import TimeLimitError, time_limited
from osad_bench.benchmark.features import held
from osad_bench.benchmark.grid.plan import plan, read_grid
from osad_bench.methods.base import Method
from osad_bench.methods.dra import DRA

TINY = {"image_size": [64], "schedule.epochs": [1], "schedule.steps": [1], "schedule.batch": [5]}


class OnSmallGPU(DRA):
    """DRA where autograd can keep only so many bytes on the device: what is kept in main memory does not count."""

    name, title = "small", "DRA on a small GPU"
    room: ClassVar[float] = float("inf")
    kept: ClassVar[int] = 0
    starts: ClassVar[int] = 0

    def fit(self, train: Any, context: Any) -> None:
        cls = OnSmallGPU
        cls.kept, cls.starts = 0, cls.starts + 1

        def keep(tensor: Tensor) -> Tensor:
            cls.kept += tensor.nbytes
            if cls.kept > cls.room:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            super().fit(train, context)


def carried_out(
    room: float, device: str = "cpu", method: type[Method] = OnSmallGPU, time_limit: float | None = None, **changes: Any
) -> tuple[Any, Any]:
    OnSmallGPU.room, OnSmallGPU.starts = room, 0
    machine = Machine(Path(os.environ["OSAD_BENCH_CACHE"]), device=device, time_limit=time_limit)
    given = {"methods": [method], "datasets": ["textures"], "shots": [2], "seeds": 1, "floor": None, **changes}
    return execute(plan(read_grid(None, given), machine)[0], machine)


FINE = {"set": TINY | {"frozen": [False], "augment": ["rotate"]}}
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.usefixtures("own_methods")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_GPU)])
def test_a_cell_that_fills_a_gpu_is_computed_with_less_of_it_and_gives_the_same_scores(device: str):
    fine = FINE | {"device": device}
    record, scores = carried_out(float("inf"), **fine)
    whole = OnSmallGPU.kept
    assert record.status == "ok"
    assert not record.diagnostics

    spared, same = carried_out(whole / 2, **fine)
    assert (spared.status, OnSmallGPU.starts) == ("ok", 2)
    assert spared.diagnostics == {"spared_gpu_memory": True}
    assert whole / 10 > OnSmallGPU.kept > 0, "nearly all of it is the backbone's"
    np.testing.assert_array_equal(same.scores, scores.scores)

    failed, none = carried_out(1, **fine)
    assert (failed.status, OnSmallGPU.starts, none) == ("failed", 2, None), "tried twice, not for ever"
    assert "smaller image_size or schedule.batch" in failed.error.message

    frozen, _ = carried_out(1, device, set=TINY)
    assert (frozen.status, OnSmallGPU.starts) == ("failed", 1), "no backward pass goes through a frozen backbone"


class Filling(Method):
    """A method that fills a GPU's memory whatever is spared."""

    name, title, citation = "filling", "Filling", "none"
    left: ClassVar[list[float]] = []

    def fit(self, train: Any, context: Any) -> None:
        Filling.left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        raise (torch.cuda.OutOfMemoryError if len(Filling.left) == 1 else RuntimeError)("CUDA out of memory.")

    def score(self, pyramid: Any) -> Tensor:
        return pyramid[0].mean((1, 2, 3))


@pytest.mark.usefixtures("own_methods")
def test_both_times_share_the_time_limit_and_the_first_failure_is_told():
    record, _ = carried_out(0, method=Filling, time_limit=1000, **FINE)
    first, second = Filling.left
    assert 1000 > first > second > 0, "the second time has what the first left"
    assert record.error.type == "OutOfMemoryError", "not the failure of the second"


def test_a_limit_of_which_all_is_spent_still_ends_what_it_limits():
    with pytest.raises(TimeLimitError, match="--time-limit 2 s"), time_limited(2, spent=5):
        time.sleep(30)


def test_no_image_stays_on_the_device_of_a_cell_that_must_spare_its_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(held, "_kept", {("of the last cell", torch.device("cuda")): None})
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    held.HeldImages(images, np.arange(2), torch.device("cpu"))
    assert held._kept
    held.HeldImages(images, np.arange(2), torch.device("cpu"), spare=True)
    assert not held._kept


def test_gradients_are_the_same_and_channels_stay_last():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).to(
        memory_format=torch.channels_last
    )
    images = torch.randn(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    images.requires_grad_()
    orders = []

    class Watched(KeptInMainMemory):
        def __init__(self) -> None:
            super().__init__()
            pack = self.pack_hook
            self.pack_hook = lambda tensor: orders.append((tensor.stride(), pack(tensor)[1].stride())) or pack(tensor)

    def gradients(kept: Any) -> list[Tensor]:
        network.zero_grad()
        images.grad = None
        with kept:
            found = network(images)
        found.square().sum().backward()
        return [images.grad.clone(), *(one.grad.clone() for one in network.parameters())]

    there, back = gradients(torch.enable_grad()), gradients(Watched())
    for one, same in zip(there, back, strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert len(orders) > 5
    assert all(one == same for one, same in orders)
