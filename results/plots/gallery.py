"""Every figure that a frame gives."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from osad_bench.results.plots.ablation import ablation_bars, sensitivity, swept
from osad_bench.results.plots.cost import auc_against_cost
from osad_bench.results.plots.curves import learning_curves, roc_curves
from osad_bench.results.plots.kinds import kind_heatmap, score_histograms
from osad_bench.results.plots.ranks import critical_difference_diagram
from osad_bench.results.plots.seeds import seed_points
from osad_bench.results.ranking import dataset_means
from osad_bench.results.tables import ablation_lines


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
    figures["seeds"] = ("AUROC of every seed, and their mean", seed_points(frame))
    if len(scores):
        figures["roc"] = (
            "ROC curves, mean over seeds and kinds; band: one standard deviation",
            roc_curves(frame, scores),
        )
        figures["scores"] = (
            "Scores of normals and of seen and unseen kinds of anomalies",
            score_histograms(frame, scores),
        )
    if any(done["per_kind"]):
        figures["kinds"] = ("AUROC of each kind of anomaly against all test normals", kind_heatmap(frame))
    figures["cost"] = ("AUROC against the seconds a cell takes", auc_against_cost(frame))
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
