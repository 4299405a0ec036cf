"""By how much two results of the same computation may differ."""

ACROSS_MACHINES = 0.005
"""Two AUROCs of one cell that were computed on two machines or devices differ by less. On one machine they are identical.

Processors add numbers in different orders, so that last digits round differently, and training amplifies that. `check`
ignores falls up to this, and `verify` accepts a cell whose AUROC differs by no more when it is run again. Measured in
``docs/reliability.md``, tested by ``tests/end_to_end/test_machines.py``.
"""
