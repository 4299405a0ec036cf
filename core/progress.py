"""How work on many records tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Tell = Callable[[int, int], None]
"""Called now and then with how much is done, and of how much."""


def nobody(done: int, total: int) -> None:
    """Hear it and say nothing."""


class Steps(Protocol):
    """The steps of a command, one after the other."""

    def step(self, what: str) -> AbstractContextManager[Tell]:
        """Context manager; yields ``tell(done, total)``."""


class Silent:
    """Steps that show nothing."""

    @contextmanager
    def step(self, what: str) -> Iterator[Tell]:  # noqa: ARG002
        """Context manager; yields `nobody`."""
        yield nobody
