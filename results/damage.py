"""What is wrong with a store, and what to do about it."""

from __future__ import annotations

from osad_bench.core.text import printable

REMEDY = "Delete the file and run the same command again: only this cell is computed anew."


class StoreError(ValueError):
    """A store or one of its records is missing, damaged or cannot be written; the message names the file."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class NewerError(StoreError):
    """A record was made by a newer osad-bench: it is neither read nor overwritten."""
