"""All figures that can be made of a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from osad_bench.core.progress import Tell, nobody
from osad_bench.core.text import file_name
from osad_bench.results.aggregate import ROW, comparable
from osad_bench.results.names import DATASETS, in_order
from osad_bench.results.plots.ablation import ablation_bars, sensitivity, swept
from osad_bench.results.plots.cost import auc_against_cost
from osad_bench.results.plots.curves import learning_curves, roc_curves
from osad_bench.results.plots.kinds import kind_heatmap, score_histograms
from osad_bench.results.plots.ranks import critical_difference_diagram
from osad_bench.results.plots.seeds import seed_points
from osad_bench.results.plots.shots import shots_curves
from osad_bench.results.plots.stress import LABELS, Share, levels, stress_curves, transfer_matrix, transfers
from osad_bench.results.ranking import dataset_means
from osad_bench.results.shots import curves
from osad_bench.results.tables import ablation_lines
from osad_bench.results.titles import titles_of

PRINTED = {"seeds": 12, "roc": 6, "scores": 18, "kinds": 3, "cost": 12, "learning": 18}
"""Kind of figure to the panels that fit on a printed page; with more, there are figures by setting and M with so many."""


def sheets(frame: pd.DataFrame, most: int, panel: Sequence[str] = ROW) -> dict[tuple[str, str], pd.DataFrame]:
    """Divide records among figures with at most `most` panels: (ending of file name, ending of caption) to records.

    There is one panel for each combination of values of the columns `panel`. A data set's panels stay in one figure where they
    fit.
    """
    tests, titles = comparable(frame), titles_of(frame)
    tests = tests.assign(panel=tests.groupby(list(panel)).ngroup())
    if tests["panel"].nunique() <= most:
        return {("", ""): frame}
    result = {}
    blocks = tests[["setting", "shots"]].drop_duplicates().sort_values(["setting", "shots"], ascending=[True, False])
    for setting, shots in blocks.itertuples(index=False):
        block = tests[(tests["setting"] == setting) & (tests["shots"] == shots)]
        chosen: list[list[int]] = []
        for dataset in in_order(block["dataset"], DATASETS):
            mine = sorted(block.loc[block["dataset"] == dataset, "panel"].unique())
            if chosen and len(chosen[-1]) + len(mine) <= most:
                chosen[-1] += mine
            else:
                chosen += [mine[start : start + most] for start in range(0, len(mine), most)]
        for number, places in enumerate(chosen, 1):
            part = block[block["panel"].isin(places)]
            name, caption = f"-{setting}-{shots}", f" ({setting} setting, M = {shots}"
            if len(chosen) > 1:
                names = ", ".join(map(titles.dataset, in_order(part["dataset"], DATASETS)))
                name, caption = f"{name}-{number}", f"{caption}: {names}; sheet {number} of {len(chosen)}"
            result[name, f"{caption})"] = frame[frame["key"].isin(part["key"])]
    return result


def each_figure(frame: pd.DataFrame, scores: pd.DataFrame, tell: Tell = nobody) -> Iterator[tuple[str, str, Figure]]:
    """Yield file name, caption and figure one by one, as all figures of a large store together would fill the memory.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    scores
        As `osad_bench.results.scores.load_scores` returns it; empty to leave out figures made from scores.
    tell
        Called after each figure with the numbers of figures done and of all figures.
    """
    wanted = _wanted(frame, scores)
    for number, (name, (caption, draw)) in enumerate(wanted.items(), 1):
        yield name, caption, draw()
        tell(number, len(wanted))


def all_figures(frame: pd.DataFrame, scores: pd.DataFrame) -> dict[str, tuple[str, Figure]]:
    """File name to (caption, figure) of every figure that has something to show; see `each_figure`."""
    return {name: (caption, figure) for name, caption, figure in each_figure(frame, scores)}


def _wanted(frame: pd.DataFrame, scores: pd.DataFrame) -> dict[str, tuple[str, Callable[[], Figure]]]:
    """File name to the caption and a function that draws the figure."""
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
    wanted: dict[str, tuple[str, Callable[[], Figure]]] = {}

    def add(kind: str, caption: str, draw: Callable[[pd.DataFrame], Figure], shown: pd.DataFrame) -> None:
        panel = [*ROW, "method"] if kind in {"scores", "learning"} else ROW
        for (end, of), part in sheets(shown, PRINTED[kind], panel).items():
            wanted[f"{kind}{end}"] = f"{caption}{of}", partial(draw, part)

    def of_scores(draw: Callable[[pd.DataFrame, pd.DataFrame], Figure]) -> Callable[[pd.DataFrame], Figure]:
        return lambda part: draw(part, scores[scores["key"].isin(part["key"])])

    add("seeds", "AUROC of every seed, and their mean", seed_points, frame)
    if len(scores):
        scored = frame[frame["key"].isin(scores["key"].unique())]
        caption = "ROC curves, mean over seeds and kinds; band: one standard deviation"
        add("roc", caption, of_scores(roc_curves), scored)
        caption = "Scores of normals and of seen and unseen kinds of anomalies"
        add("scores", caption, of_scores(score_histograms), scored)
    if len(scores) and len(curves(scored)):
        caption = (
            "AUROC over the number of known anomalies; filled: differs from each method that learns nothing from them"
        )
        wanted["shots"] = caption, partial(shots_curves, scored, scores)
    shares: tuple[Share, ...] = ("contamination", "mislabelled")
    for share in shares:
        if len(levels(frame, share)):
            wanted[share] = f"AUROC over the {LABELS[share]}".replace("\n", " "), partial(stress_curves, frame, share)
    if len(transfers(frame)):
        wanted["groups"] = (
            "AUROC with training on one group of images and testing on one",
            partial(transfer_matrix, frame),
        )
    if any(done["per_kind"]):
        add("kinds", "AUROC of each kind of anomaly against all test normals", kind_heatmap, frame)
    add("cost", "AUROC against the seconds that one cell takes", auc_against_cost, frame)
    trained = done[done["curve"].map(bool)]
    if len(trained):
        add("learning", "Training curves: every seed thin, their mean thick", learning_curves, trained)
    if any(matrix.shape[1] > 2 and matrix.shape[0] > 1 for matrix in dataset_means(frame).values()):
        caption = "Mean ranks over data sets; bars join methods that Nemenyi's test does not show to differ"
        wanted["ranks"] = caption, partial(critical_difference_diagram, frame)
    titles = titles_of(everything)
    for method, (ablated, varied) in sorted(studies.items()):
        if ablated:
            caption = f"Ablations of {titles.method(method)}; whiskers: one standard deviation"
            wanted[f"ablation-{file_name(method)}"] = caption, partial(ablation_bars, everything, method)
        if varied:
            caption = f"Sensitivity of {titles.method(method)} to its settings; star: default"
            wanted[f"sweep-{file_name(method)}"] = caption, partial(sensitivity, everything, method)
    return wanted
