"""Methods that go wrong, and methods of one's own, for the tests of cells, grids and the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def own_methods() -> Iterator[None]:
    """What a test registers in this process is gone after it."""
    from osad_bench.core.registry import methods

    before = dict(methods._added)
    yield
    methods._added.clear()
    methods._added.update(before)
