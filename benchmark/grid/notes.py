"""What a user should know of the data before a run: images not read, contradicting labels, a test part that is too small."""

from __future__ import annotations

from collections.abc import Sequence

from osad_bench.benchmark.cell.execute import PlannedCell, dataset_of
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.datasets.duplicates import contradictions

OWN = ("folder:", "csv:")
"""Prefixes of the names of a user's own data sets, which nobody has audited."""
WORTH_HAVING = 5
"""Number of test anomalies below which a smaller M is suggested."""
SHOWN = 3
"""Largest number of sentences per data set; `osad-bench datasets verify` prints all."""


def notes_on(cells: Sequence[PlannedCell], machine: Machine) -> list[str]:
    """Sentences on the data sets of a plan; empty if there is nothing to say.

    Raises
    ------
    DatasetError
        An image of a user's own data set cannot be read; the message names it.
    """
    notes = []
    for source in dict.fromkeys(cell.source for cell in cells):
        dataset = dataset_of(source, machine.data_root)
        passed = [f"{dataset.full_name}: {problem}" for problem in dataset.passed_over]
        if source.startswith(OWN):
            passed += [
                f"{dataset.full_name}: {' and '.join(group)} are the same picture, labelled both normal and anomalous; correct "
                "the label, or leave them out with --dedup"
                for group in contradictions(dataset)
            ]
        notes += passed[:SHOWN]
        if len(passed) > SHOWN:
            notes.append(f"… and {len(passed) - SHOWN} more: osad-bench datasets verify {source}")
    tested: dict[tuple[str, int], tuple[int, int]] = {}
    for cell in cells:
        protocol, division = cell.cell.protocol, cell.division
        if protocol.part == "test":
            size = len(division.test_anomaly), len(division.train_anomaly)
            tested.setdefault((cell.cell.dataset, protocol.shots), size)
    for (name, shots), (left, known) in tested.items():
        if left < WORTH_HAVING and left + known >= 2:
            better = max(1, (left + known) // 2)
            remedy = f"; --shots {better} leaves {left + known - better}" if better < known else ""
            notes.append(
                f"{name}: M = {shots} of {left + known} anomalies leaves {left} to test on, which tells little{remedy}"
            )
    return notes
