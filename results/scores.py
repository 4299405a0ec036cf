"""Test scores of many cells as one tidy frame, for statistics on images and several plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from osad_bench.core.progress import Tell, nobody
from osad_bench.results.store import Store

PARTS = ("normal", "seen", "unseen", "anomaly")
"""A test image is normal, an anomaly of a seen kind, of an unseen kind, or one for which the seen kinds are not stored."""


def load_scores(root: Path | str, frame: pd.DataFrame, tell: Tell = nobody) -> pd.DataFrame:
    """Test scores of the finished cells of `frame`.

    Parameters
    ----------
    root
        Folder of the store that `frame` was read from.
    frame
        Rows of `osad_bench.results.load`; failed ones are skipped.
    tell
        Called after each cell with the numbers of cells done and of all cells.

    Returns
    -------
    DataFrame
        One line per image and cell: ``key, image, label`` (0 normal, 1 anomaly), ``kind`` (empty for normals), ``score``
        (higher = more anomalous) and ``part`` (see `PARTS`), in the order of the split.

    Raises
    ------
    StoreError
        Scores are missing or damaged.
    """
    store, parts = Store(root), []
    shared: dict[str, str] = {}  # every name once in memory, not once per cell
    ok = frame[frame["status"] == "ok"]
    for done, key in enumerate(ok["key"], 1):
        test = store.scores(key)
        parts.append(
            pd.DataFrame(
                {
                    "key": pd.Series([key] * len(test.ids), dtype=object),
                    "image": pd.Series([shared.setdefault(name, name) for name in test.ids.tolist()], dtype=object),
                    "label": test.labels,
                    "kind": pd.Series([shared.setdefault(name, name) for name in test.kinds.tolist()], dtype=object),
                    "score": test.scores,
                }
            )
        )
        tell(done, len(ok))
    if not parts:
        parts = [pd.DataFrame(columns=["key", "image", "label", "kind", "score"])]
    scores: pd.DataFrame = pd.concat(parts, ignore_index=True)
    scores["part"] = _parts(scores, ok)
    return scores


def _parts(scores: pd.DataFrame, frame: pd.DataFrame) -> np.ndarray:
    """For each test image its part (`PARTS`).

    Records name the known anomalies but not their kinds, which are taken from cells that have these images in the test part.
    """
    result = np.where(scores["label"] == 0, "normal", "anomaly")
    rows = frame.set_index("key")[["fingerprint", "setting", "known_kind", "known"]]
    data = scores["key"].map(rows["fingerprint"])
    kinds = {
        name: dict(zip(part["image"], part["kind"]))
        for name, part in scores[scores["label"] == 1].drop_duplicates(["image", "kind"]).groupby(data)
    }
    for key, place in scores.groupby("key", sort=False).indices.items():
        line = rows.loc[key]
        if line["setting"] == "hard":
            known = {line["known_kind"]}
        else:
            known = {kinds.get(line["fingerprint"], {}).get(image) for image in line["known"]}
        if not known or None in known:
            continue
        mine = scores["kind"].to_numpy()[place]
        anomalous = result[place] == "anomaly"
        result[place] = np.where(anomalous, np.where(np.isin(mine, list(known)), "seen", "unseen"), "normal")
    return result
