"""How far the same computation may come out apart."""

ACROSS_MACHINES = 0.005
"""Two AUROCs of one cell, computed on two machines or devices, differ by less. On one machine they are identical.

Processors add up in different orders, so that single digits round differently, and training carries that on. `check` passes
over falls up to this, and `verify` over a cell that comes out so near when it is run again. Measured in
``docs/reliability.md``, tested by ``tests/end_to_end/test_machines.py``.
"""
