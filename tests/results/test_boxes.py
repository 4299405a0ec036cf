"""Rendered figures: every name and legend is whole, inside the figure, and lies on no other."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from osad_bench.results.paired import differences
from osad_bench.results.plots import (
    auc_against_cost,
    critical_difference_diagram,
    kind_heatmap,
    learning_curves,
    roc_curves,
    score_histograms,
    seed_points,
    sensitivity,
    shots_curves,
)
from osad_bench.results.plots.letters import drawable
from osad_bench.results.plots.power import power_curve
from osad_bench.results.plots.stress import stress_curves, transfer_matrix
from osad_bench.results.plots.style import DPI, finish, labels_of
from osad_bench.results.scores import load_scores

LONG = "student-teacher-with-texture-memory-ablation"
TITLES = [f"{LONG}-{place}" for place in range(4)] + ["表面缺陷检测", "$x_{$", "Mahalanobis", "e\u0301tude α²"]
TITLES += [f"Method {place}" for place in range(6)]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, records_at):
    """Fourteen methods, some with long and odd names, on two data sets with odd kinds, two seeds."""
    records = records_at(tmp_path_factory.mktemp("crowd"))
    from tests.results.conftest import draw_scores

    for dataset in ("elpv", "folder/表面 photographs of the left side"):
        for place, title in enumerate(TITLES):
            for seed in range(2):
                scores = draw_scores(
                    0.8 + 0.1 * place, 50 * place + seed, kinds=("mono", "$x_{$", "裂纹", "a kind of long name")
                )
                records.add(
                    f"m{place}", seed=seed, dataset=dataset, method_title=title, scores=scores, total=1.0 + place,
                    curve={"loss": [1, 0.5, None], "a $b_{$ term": [3, 2, 1]},
                )  # fmt: skip
    frame = records.frame()
    return frame, load_scores(records.store.root, frame)


FIGURES = {
    "seeds": lambda frame, scores: seed_points(frame),
    "roc": roc_curves,
    "scores": lambda frame, scores: score_histograms(frame[frame["method"].isin(["m0", "m4"])], scores),
    "kinds": lambda frame, scores: kind_heatmap(frame),
    "cost": lambda frame, scores: auc_against_cost(frame),
    "learning": lambda frame, scores: learning_curves(frame[frame["method"].isin(["m0", "m4"])]),
    "ranks": lambda frame, scores: critical_difference_diagram(frame),
    "power": lambda frame, scores: power_curve(differences(frame, scores), labels_of(frame)),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error:.*constrained_layout.*")
def test_names_and_legends_are_whole_inside_the_figure_and_apart(crowd, name):
    assert_whole(finish(FIGURES[name](*crowd)))


def assert_whole(figure) -> None:
    """Names inside the figure, and beside each other."""
    assert figure.dpi == DPI, "what is measured here is what is saved"
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    whole = figure.bbox
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    for text in texts:
        box = text.get_window_extent(renderer)
        if not np.isfinite(box.extents).all() or _hidden_tick(text, figure):
            continue
        assert box.x0 >= whole.x0 - 1, text.get_text()
        assert box.x1 <= whole.x1 + 1, text.get_text()
        assert box.y0 >= whole.y0 - 1, text.get_text()
        assert box.y1 <= whole.y1 + 1, text.get_text()
    for axes in (one for one in figure.get_axes() if one.axison):
        labels = [text.get_window_extent(renderer) for text in axes.get_yticklabels() if text.get_text()]
        for lower, upper in pairwise(sorted(labels, key=lambda box: box.y0)):
            assert lower.y1 <= upper.y0 + 2.5
        upright = [text for text in axes.get_xticklabels() if text.get_text() and text.get_rotation() == 90]
        for left, right in pairwise(text.get_window_extent(renderer) for text in upright):
            assert left.x1 <= right.x0 + 2.5
    for legend in figure.legends:
        boxes = [text.get_window_extent(renderer) for text in legend.get_texts()]
        assert not any(one.overlaps(other) and _area(one, other) > 4 for one, other in combinations(boxes, 2))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, records_at):
    """Every way in which two panels can differ: options of the protocol, settings of a preset, files of a data set, M."""
    records = records_at(tmp_path_factory.mktemp("zoo"))
    stress = [{}, {"contamination": 0.1}, {"contamination": 0.1, "mislabelled": 0.4}, {"mislabelled": 0.4}]
    groups = [{"train_group": one, "test_group": other} for one in ("east", "west") for other in ("east", "west")]
    protocols = [{"reserve": 292, **one} for one in (*stress, *groups)]
    protocols += [
        {"mislabelled": 0.4, "dedup": True},
        {"dedup": True},
        {"reserve": 10},
        {"reserve": 10, "mislabelled": 0.4},
    ]
    protocols += [{"reserve": 50, "shots": shots} for shots in (1, 5, 10)]
    protocols += [
        {**groups[0], **more} for more in ({"contamination": 0.1}, {"test_group": "west", "contamination": 0.1})
    ]
    rows = [{"options": one} for one in protocols] + [{"preset_config": {"image_size": 64}}, {"fingerprint": "e" * 64}]
    rows += [{"setting": "hard", "known_kind": "mono"}, {"dataset": "aitex"}, {}]
    for place, row in enumerate(rows):
        for method, seed in ((method, seed) for method in ("dra", "whitened") for seed in range(2)):
            records.add(method, 1.5 + 0.1 * (method == "dra"), noise=place, seed=seed, **row)
    for name, values in (("topk", (0.2, 0.3)), ("references", (6, 7))):
        for value, seed in ((value, seed) for value in values for seed in range(2)):
            config = {"topk": 0.1, "references": 5} | {name: value}
            records.add("devnet", seed=seed, variant=f"{name}={value}", config=config)
    for seed in range(2):
        records.add("devnet", seed=seed, config={"topk": 0.1, "references": 5})
    frame = records.frame()
    return frame, load_scores(records.store.root, frame)


def test_panels_that_differ_in_one_option_have_titles_that_differ(zoo):
    frame, scores = zoo
    plain = frame[frame["variant"] == ""]
    figures = {
        "contamination": stress_curves(plain, "contamination"), "mislabelled": stress_curves(plain, "mislabelled"),
        "groups": transfer_matrix(plain), "shots": shots_curves(plain, scores), "sweep": sensitivity(frame, "devnet"),
        "seeds": seed_points(plain),
    }  # fmt: skip
    for name, figure in figures.items():
        titles = [axes.get_title() for axes in figure.get_axes()]
        assert len(titles) == len(set(titles)) > 1, name


def test_titles_that_tell_many_options_are_whole(zoo):
    frame, _ = zoo
    longest = sorted(set(frame["options"]), key=len)[-3:]
    assert_whole(finish(seed_points(frame[frame["options"].isin(longest)])))


def test_a_heat_map_with_a_place_left_over_stays_small(crowd):
    """The colour bar is no panel: a figure that grows for it would never end."""
    frame = crowd[0]
    three = pd.concat([frame, frame[frame["dataset"] == "elpv"].assign(dataset="third", fingerprint="3" * 64)])
    assert max(finish(kind_heatmap(three[three["method"].isin(["m4", "m7"])])).get_size_inches()) < 12


def _area(one, other) -> float:
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, wide) * max(0.0, high)


def _hidden_tick(text, figure) -> bool:
    """Whether it labels a tick beyond the axis' limits or of an axis that is off: matplotlib keeps it and does not draw it."""
    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            if not axes.axison and text in (axis.label, *axis.get_ticklabels(which="both")):
                return True
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    return not low <= tick.get_loc() <= high or text is tick.label2
    return False


def test_a_letter_that_no_font_here_has_is_told_by_its_number_and_dollars_are_no_mathematics():
    assert drawable("a\N{COPTIC SMALL LETTER KHEI}\U000e0041$b$").startswith("a")
    assert "$" not in drawable("$b$").replace(r"\$", "")
    assert drawable("\U0010fffd") == "\\U0010fffd"
