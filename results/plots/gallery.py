"""Every figure that a frame gives."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from osad_bench.results.aggregate import comparable
from osad_bench.results.plots.ablation import ablation_bars, sensitivity, swept
from osad_bench.results.plots.cost import auc_against_cost
from osad_bench.results.plots.curves import learning_curves, roc_curves
from osad_bench.results.plots.kinds import kind_heatmap, score_histograms
from osad_bench.results.plots.ranks import critical_difference_diagram
from osad_bench.results.plots.seeds import seed_points
from osad_bench.results.plots.style import dataset_title
from osad_bench.results.ranking import dataset_means
from osad_bench.results.tables import DATASET_TITLES, ablation_lines, in_order

PRINTED = {"seeds": 12, "roc": 6, "kinds": 3, "cost": 12}
"""Panels that a printed page holds; with more, there is a figure a setting and M, of so many data sets."""


def sheets(frame: pd.DataFrame, most: int) -> dict[tuple[str, str], pd.DataFrame]:
    """(ending of the file's name, of the caption) to the records of one figure with at most `most` panels."""
    tests = comparable(frame)
    rows = tests[["board", "dataset", "setting", "shots"]].drop_duplicates()
    if len(rows) <= most:
        return {("", ""): frame}
    result = {}
    blocks = rows[["setting", "shots"]].drop_duplicates().sort_values(["setting", "shots"], ascending=[True, False])
    for setting, shots in blocks.itertuples(index=False):
        block = tests[(tests["setting"] == setting) & (tests["shots"] == shots)]
        names = in_order(block["dataset"], DATASET_TITLES)
        each = max(1, most // block["board"].nunique())
        for number, start in enumerate(range(0, len(names), each), 1):
            chosen = names[start : start + each]
            name, caption = f"-{setting}-{shots}", f" ({setting} setting, M = {shots}"
            if len(names) > each:
                name, caption = f"{name}-{number}", f"{caption}: {', '.join(map(dataset_title, chosen))}"
            keys = block.loc[block["dataset"].isin(chosen), "key"]
            result[name, f"{caption})"] = frame[frame["key"].isin(keys)]
    return result


def all_figures(frame: pd.DataFrame, scores: pd.DataFrame) -> dict[str, tuple[str, Figure]]:
    """File name to (caption, figure) of every figure that has something to show.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    scores
        As `osad_bench.results.scores.load_scores` returns it; empty for none of the figures made from scores.
    """
    figures = {}
    done = frame[(frame["status"] == "ok") & (frame["part"] == "test")]
    if done.empty:
        return {}
    studies = {
        method: (
            bool(len(ablation_lines(frame, method))) and (part["ablation"] != "").any(),
            bool(swept(frame, method)),
        )
        for method, part in done.groupby("method")
    }
    everything = frame
    if any(ablated or varied for ablated, varied in studies.values()):
        frame = frame[frame["variant"] == ""]  # variants have figures of their own below
        scores = scores[scores["key"].isin(frame["key"])]
        done = done[done["variant"] == ""]
    for (end, of), part in sheets(frame, PRINTED["seeds"]).items():
        figures[f"seeds{end}"] = (f"AUROC of every seed, and their mean{of}", seed_points(part))
    if len(scores):
        for (end, of), part in sheets(frame, PRINTED["roc"]).items():
            caption = f"ROC curves, mean over seeds and kinds; band: one standard deviation{of}"
            figures[f"roc{end}"] = (caption, roc_curves(part, scores[scores["key"].isin(part["key"])]))
        figures["scores"] = (
            "Scores of normals and of seen and unseen kinds of anomalies",
            score_histograms(frame, scores),
        )
    if any(done["per_kind"]):
        for (end, of), part in sheets(frame, PRINTED["kinds"]).items():
            figures[f"kinds{end}"] = (f"AUROC of each kind of anomaly against all test normals{of}", kind_heatmap(part))
    for (end, of), part in sheets(frame, PRINTED["cost"]).items():
        figures[f"cost{end}"] = (f"AUROC against the seconds a cell takes{of}", auc_against_cost(part))
    if done["curve"].map(bool).any():
        figures["learning"] = ("Training curves: every seed thin, their mean thick", learning_curves(frame))
    if any(matrix.shape[1] > 2 and matrix.shape[0] > 1 for matrix in dataset_means(frame).values()):
        figures["ranks"] = ("Mean ranks over data sets; bars join what Nemenyi's test does not tell apart", critical_difference_diagram(frame))  # fmt: skip
    for method, (ablated, varied) in sorted(studies.items()):
        if ablated:
            title = f"Ablations of {method}; whiskers: one standard deviation"
            figures[f"ablation-{method}"] = (title, ablation_bars(everything, method))
        if varied:
            title = f"Sensitivity of {method} to its settings; star: default"
            figures[f"sweep-{method}"] = (title, sensitivity(everything, method))
    return figures
