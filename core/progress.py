"""How work on many records reports its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Tell = Callable[[int, int], None]
"""``tell(done, total)``, called from time to time with how many items are done, and of how many."""


def nobody(done: int, total: int) -> None:
    """Ignore the progress."""


class Steps(Protocol):
    """The steps of a command, one after the other."""

    def step(self, what: str) -> AbstractContextManager[Tell]:
        """Context manager for a step, which the user sees as `what`; yields ``tell(done, total)``."""


class Silent:
    """Steps that show nothing."""

    @contextmanager
    def step(self, what: str) -> Iterator[Tell]:  # noqa: ARG002
        """Context manager; yields `nobody`."""
        yield nobody
