"""Figures: one function per figure, from a frame to a matplotlib figure; `save` writes it as vector PDF and as PNG."""

from osad_bench.results.plots.ablation import ablation_bars, sensitivity
from osad_bench.results.plots.cost import auc_against_cost
from osad_bench.results.plots.curves import learning_curves, roc_curves
from osad_bench.results.plots.gallery import all_figures, each_figure
from osad_bench.results.plots.kinds import kind_heatmap, score_histograms
from osad_bench.results.plots.ranks import critical_difference_diagram
from osad_bench.results.plots.seeds import seed_points
from osad_bench.results.plots.shots import shots_curves
from osad_bench.results.plots.style import save

__all__ = [
    "ablation_bars",
    "all_figures",
    "auc_against_cost",
    "critical_difference_diagram",
    "each_figure",
    "kind_heatmap",
    "learning_curves",
    "roc_curves",
    "save",
    "score_histograms",
    "seed_points",
    "sensitivity",
    "shots_curves",
]
