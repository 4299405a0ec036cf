"""Records of finished cells: storing, averaging, comparing them; tables, statistics, plots. Never imports torch."""

from osad_bench.results.record import Cell, Protocol, Record
from osad_bench.results.store import Store, StoreError, load

__all__ = ["Cell", "Protocol", "Record", "Store", "StoreError", "load"]
