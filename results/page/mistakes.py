"""The test images that a cell ranks worst."""

from __future__ import annotations

import numpy as np
import pandas as pd

from osad_bench.results.paired import placements

WORST = 10
"""Mistakes of a cell that the page shows."""


def worst_mistakes(scores: pd.DataFrame, count: int = WORST) -> pd.DataFrame:
    """The `count` worst mistakes of each cell.

    Parameters
    ----------
    scores
        As `osad_bench.results.scores.load_scores` returns it.

    Returns
    -------
    DataFrame
        ``key, place`` (index in the cell), ``image, label, kind, score, share``: for an anomaly the share of normals
        scored above it, for a normal the share of anomalies scored below it (ties count half). Worst first, none with
        share 0.
    """
    parts = []
    for _, cell in scores.groupby("key", sort=False):
        labels = cell["label"].to_numpy()
        above, below = placements(labels, cell["score"])
        share = np.empty(len(cell))
        share[labels == 1], share[labels == 0] = 1 - above, 1 - below
        share = share.round(12)  # equal shares stay in the split's order
        order = np.argsort(-share, kind="stable")[:count]
        order = order[share[order] > 0]
        parts.append(cell.iloc[order].assign(place=order, share=share[order]))
    columns = ["key", "place", "image", "label", "kind", "score", "share"]
    result: pd.DataFrame = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
    return result
