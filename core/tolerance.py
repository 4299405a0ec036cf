"""By how much two results of the same computation may differ. On one machine they are identical.

Processors add numbers in different orders, so that last digits round differently, and training amplifies that. Measured in
``docs/reliability.md``, tested by ``tests/end_to_end/test_machines.py``.
"""

ACROSS_MACHINES = 0.005
"""Two mean AUROCs over seeds that were computed on two machines or devices differ by less, and so do two AUROCs of one cell
whose method is not trained. `check` ignores falls up to this."""

TRAINED_CELL = 0.015
"""Two AUROCs of one cell of a trained method differ by less. `verify` accepts a cell that does when it is run again."""
