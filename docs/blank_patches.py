"""What AITEX's blank patches (no fabric in them, every pixel 255) are worth: AUROC with and without those of the test part.

Nothing is trained: the scores are those of stored records.

    python docs/blank_patches.py STORE --data-root DOWNLOADS

STORE is a folder of `osad-bench run --out`, or what `osad-bench merge results/reference/main.osad.zip --into STORE` made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

from osad_bench.datasets.catalogue import open_dataset
from osad_bench.results import load
from osad_bench.results.scores import load_scores


def main() -> None:
    """Print one line per method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--data-root", type=Path)
    given = parser.parse_args()

    dataset = open_dataset("aitex", given.data_root)
    normals = [sample for sample in dataset.samples if not sample.label]
    blank = {sample.id for sample in normals if dataset.read(sample).min() == 255}
    frame = load(given.store)
    frame = frame[
        (frame.dataset == "aitex") & (frame.part == "test") & (frame.setting == "general") & (frame.shots == 10)
    ]
    scores = load_scores(given.store, frame)
    tested = set(scores.image)
    print(f"{len(blank)} of {len(normals)} normal patches are blank, {len(blank & tested)} of them are tested")
    rows = []
    for key, cell in scores.groupby("key"):
        seen = cell[~cell.image.isin(blank)]
        rows.append((key, roc_auc_score(cell.label, cell.score), roc_auc_score(seen.label, seen.score)))
    table = pd.DataFrame(rows, columns=["key", "all", "without"]).merge(frame[["key", "method_title"]], on="key")
    table["worth"] = table["all"] - table["without"]
    for title, group in table.groupby("method_title"):
        print(
            f"{title}: {group['all'].mean():.3f} with them, {group['without'].mean():.3f} without,"
            f" worth {group.worth.mean():+.4f} (n = {len(group)})"
        )


if __name__ == "__main__":
    main()
