"""Heat maps point at a planted defect, and what a fitted method learned survives a file to the last bit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save

from osad_bench.core.registry import methods
from osad_bench.methods.base import Method
from osad_bench.methods.checks import check_method
from osad_bench.methods.devnet import DevNet
from osad_bench.methods.in_memory import InMemory
from osad_bench.methods.saving import UnsavableError, pack, unpack
from osad_bench.methods.whitened import Part, Whitened

SHAPES = ((6, 8, 8), (6, 4, 4))
MAPPED = ("ahl", "ahl-devnet", "devnet", "dpdl", "dra", "evidence", "flos", "mlep", "patchcore", "saoe")


def images(count: int, seed: int, defect: tuple[int, int] | None = None, size: float = 5.0) -> list[torch.Tensor]:
    """Noise in channels of mean 1; a defect is one channel that stands out at one place, at both scales."""
    generator = torch.Generator().manual_seed(seed)
    maps = [1 + 0.3 * torch.randn(count, *shape, generator=generator) for shape in SHAPES]
    if defect:
        row, column = defect
        maps[0][:, 2, row : row + 2, column : column + 2] += size
        maps[1][:, 2, row // 2, column // 2] += size
    return maps


def at_random_places(count: int, seed: int, size: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    places = (2 * torch.randint(0, 4, (count, 2), generator=generator)).tolist()
    each = [images(1, seed + i, (row, column), size) for i, (row, column) in enumerate(places)]
    return [torch.cat(scale) for scale in zip(*each)]


@pytest.fixture(scope="module", params=methods.names())
def method(request) -> Method:
    """Each method, fitted to defects at random places."""
    from osad_bench.methods.base import Context, Schedule

    kind = methods.get(request.param)
    short = {"outer_epochs": 3, "history": 1, "batch": 12} if "outer_epochs" in kind.Config.model_fields else {}
    fitted = kind(kind.Config(**short))
    train = InMemory(images(60, 1), at_random_places(8, 100, 5.0), at_random_places(60, 300, 4.0))
    # A seed with which the logits of FLOS and SAOE start positive on the defect's channel: otherwise their top share leaves
    # the defect out and no gradient ever reaches it.
    fitted.fit(train, Context(2, torch.device("cpu"), Schedule(epochs=10, steps=20, batch=24, lr=0.01)))
    return fitted


def test_a_planted_defect_is_where_the_map_is_largest(method):
    if method.name not in MAPPED:
        assert method.score_map(images(2, 5)) is None
        return
    normal = method.score_map(images(3, 6))
    assert normal.shape == (3, 8, 8)
    for row, column in ((0, 0), (2, 4), (6, 2)):
        found = method.score_map(images(4, 7 + row, (row, column)))
        place = found.flatten(1).argmax(1)
        assert ((place // 8 - row).clamp(0, 1) == place // 8 - row).all(), "the row of the defect"
        assert ((place % 8 - column).clamp(0, 1) == place % 8 - column).all(), "its column"
        assert found.amax((1, 2)).min() > normal.max()


def test_a_file_of_tensors_gives_the_same_scores_and_maps_to_the_last_bit(method):
    maps = images(5, 9, (2, 2))
    stored = load(save({name: value.contiguous() for name, value in method.state().items()}))
    other = type(method)(method.config)
    other.restore(stored, list(SHAPES))
    assert torch.equal(other.score(maps), method.score(maps))
    if method.name in MAPPED:
        assert torch.equal(other.score_map(maps), method.score_map(maps))


class Keeps(Method):
    """Keeps tensors, and perhaps something else."""

    name, title, citation = "keeps", "Keeps", "nobody"
    kept: object = None

    def fit(self, train, context):
        self.centre = train.normals()[0].mean()
        self.many = [torch.full((), float(i)) for i in range(12)]
        if self.kept is not None:
            self.thing = self.kept

    def score(self, pyramid):
        return (pyramid[0].mean(dim=(1, 2, 3)) - self.centre) * self.many[2] + self.many[10]


class Model(Keeps):
    kept = object()


class Forgets(Keeps):
    """Its state lacks a tensor that the score reads."""

    def restore(self, state, shapes):
        super().restore(state | {"centre": torch.zeros(())}, shapes)


def test_attributes_that_are_tensors_and_lists_of_them_need_no_code(context, train):
    method, other = Keeps(), Keeps()
    method.fit(train(), context())
    other.restore(dict(sorted(method.state().items())), [])
    assert torch.equal(other.score(train().normal), method.score(train().normal))
    assert [int(one) for one in other.many] == list(range(12))
    check_method(Keeps)


def test_what_cannot_be_saved_is_named_and_allowed(context, train):
    method = Model()
    method.fit(train(), context())
    with pytest.raises(UnsavableError, match="thing is a object: keep what fit learns in tensors"):
        method.state()
    check_method(Model)


def test_the_contract_check_notices_a_state_that_lacks_something():
    with pytest.raises(AssertionError, match="restored from state"):
        check_method(Forgets)


def test_the_contract_check_says_so_where_a_restored_method_cannot_score():
    class Settles(DevNet):
        """Scores with something that is no part of the network."""

        def settle(self, train):
            self.centre = train.normals()[0].mean()

        def forward_score(self, pyramid):
            return super().forward_score(pyramid) - self.centre

    with pytest.raises(AssertionError, match=r"cannot score .*centre.*write state and restore"):
        check_method(Settles)


def test_dataclasses_are_taken_apart_and_put_together(context, train):
    method = Whitened()
    method.fit(train(), context())
    state = pack(method.parts, "parts")
    assert "parts.1.evidence.whiten.root" in state
    again = unpack(list[Part], state, "parts")
    assert len(again) == 2
    assert torch.equal(again[1].units.std, method.parts[1].units.std)
