"""Figures show the numbers of the frame, save as vector PDF and PNG, and stay apart for the colour-blind."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import auc

from osad_bench.results import plots
from osad_bench.results.aggregate import summary
from osad_bench.results.plots.curves import GRID, mean_roc
from osad_bench.results.plots.kinds import kind_means
from osad_bench.results.plots.style import COLOURS, finish, styles
from osad_bench.results.scores import load_scores


@pytest.fixture
def several(records):
    for seed in range(3):
        for place, method in enumerate(("dra", "dpdl", "devnet")):
            for dataset in ("elpv", "aitex"):
                records.add(method, separation=1 + place, seed=seed, dataset=dataset, total=10.0 * (place + 1))
            for kind in ("mono", "poly"):
                records.add(method, separation=1 + place, seed=seed, setting="hard", known_kind=kind)
    records.add("dra", seed=3, error="boom")
    return records


@pytest.fixture
def study(records):
    """DPDL complete, with two ablations and a sweep of one setting, on two data sets."""
    base = {"prototypes": 32, "residual": True}
    for seed in range(3):
        for dataset in ("elpv", "aitex"):
            common = {"seed": seed, "dataset": dataset}
            records.add("dpdl", separation=3.0, config=base, **common)
            records.add("dpdl", separation=1.0, config=base | {"residual": False}, variant="residual=False", **common)
            for value in (8, 16):
                label = f"prototypes={value}"
                records.add("dpdl", separation=2.0, config=base | {"prototypes": value}, variant=label, **common)
    records.store.name_ablations("dpdl", {"without M_r": "residual=False"})
    return records


def _all(records):
    frame = records.frame()
    scores = load_scores(records.store.root, frame)
    return {
        "seeds": plots.seed_points(frame),
        "ablation": plots.ablation_bars(frame),
        "sensitivity": plots.sensitivity(frame),
        "roc": plots.roc_curves(frame, scores),
        "learning": plots.learning_curves(frame),
        "kinds": plots.kind_heatmap(frame),
        "histograms": plots.score_histograms(frame, scores),
        "cost": plots.auc_against_cost(frame),
        "ranks": plots.critical_difference_diagram(frame),
    }


def test_every_figure_saves_as_vector_pdf_and_as_png(several, tmp_path):
    for name, figure in _all(several).items():
        assert isinstance(figure, Figure)
        pdf, png = plots.save(figure, tmp_path / name)
        assert pdf.read_bytes().startswith(b"%PDF")
        if name != "kinds":  # a heat map's colour bar is the one picture in a figure
            assert b"/Subtype /Image" not in pdf.read_bytes(), name
        with Image.open(png) as image:
            assert min(image.size) > 100


def test_no_figure_fails_where_there_is_nothing_to_show(records):
    records.add("dra", error="boom")
    for name, figure in _all(records).items():
        texts = [text.get_text() for text in figure.texts]
        assert any("no complete cells" in text or "ranks need" in text for text in texts), name


def test_every_seed_is_a_point_at_its_auc(several):
    frame = several.frame()
    figure = plots.seed_points(frame[(frame["dataset"] == "aitex") & (frame["method"] == "dra")])
    (points,) = [one for one in figure.axes[0].collections if len(one.get_offsets()) == 3]
    stored = frame[(frame["dataset"] == "aitex") & (frame["method"] == "dra")]["auroc"]
    assert sorted(np.asarray(points.get_offsets())[:, 1]) == pytest.approx(sorted(stored))


def test_ablation_bars_end_at_the_means(study):
    figure = plots.ablation_bars(study.frame())
    bars = [one for one in figure.axes[0].containers if isinstance(one, BarContainer)]
    assert [one.get_label() for one in bars] == ["without M_r", "complete"]
    means = summary(study.frame()).set_index(["method", "dataset"])["mean"]
    tops = [bar.get_y() + bar.get_height() for bar in bars[1]]
    assert tops == pytest.approx([means["dpdl", "aitex"], means["dpdl", "elpv"]])


def test_the_gallery_keeps_variants_out_of_the_figures_that_compare_methods(study):
    study.add("dra")
    study.add("devnet")
    frame = study.frame()
    figures = plots.all_figures(frame, load_scores(study.store.root, frame))
    assert {"ablation-dpdl", "sweep-dpdl", "seeds", "roc", "scores", "kinds", "cost", "learning"} <= set(figures)
    ticks = [label.get_text() for label in figures["seeds"][1].axes[1].get_xticklabels()]
    assert ticks == ["DevNet", "DPDL", "DRA"]


def test_a_large_store_loses_no_panel_it_gets_further_figures(records):
    sets = ["aitex", "elpv", "a set with a name that is longer than a panel is wide & <b>", "d", "e", "f", "g"]
    for dataset in sets:
        for shots in (10, 1):
            records.add("dra", dataset=dataset, shots=shots)
    frame = records.frame()
    figures = plots.all_figures(frame, load_scores(records.store.root, frame))
    titles = {
        name: [axes.get_title() for axes in figure.axes if axes.get_title()] for name, (_, figure) in figures.items()
    }
    assert [name for name in figures if name.startswith("roc")] == [
        "roc-general-10-1", "roc-general-10-2", "roc-general-1-1", "roc-general-1-2"
    ]  # fmt: skip
    for kind in ("seeds", "roc", "kinds", "cost"):
        shown = [title.replace("\n", " ") for name in titles if name.split("-")[0] == kind for title in titles[name]]
        assert len(shown) == len(set(shown)) == 2 * len(sets), kind
    assert max(len(line) for title in titles["seeds-general-10"] for line in title.splitlines()) <= 40
    assert "(general setting, M = 10: AITEX, ELPV" in figures["roc-general-10-1"][0]


def test_histograms_and_learning_curves_get_further_figures_too(records):
    for dataset, methods in (("aitex", 2), ("elpv", 20), ("sdd", 3)):
        for place in range(methods):
            records.add(f"method{place:02}", dataset=dataset)
    frame = records.frame()
    told = []
    each = plots.each_figure(
        frame, load_scores(records.store.root, frame), lambda done, total: told.append((done, total))
    )
    figures = {name: (caption, figure) for name, caption, figure in each}
    assert told == [(number, len(figures)) for number in range(1, len(figures) + 1)]
    for kind in ("scores", "learning"):
        mine = {name: figure for name, (_, figure) in figures.items() if name.split("-")[0] == kind}
        assert list(mine) == [f"{kind}-general-10-{number}" for number in (1, 2, 3)]
        shown = [axes.get_title() for figure in mine.values() for axes in figure.axes]
        assert len(shown) == len(set(shown)) == 25
        assert [len(figure.axes) for figure in mine.values()] == [5, 18, 2]
        assert not any("panels" in figure.get_suptitle() for figure in mine.values())
    captions = [caption for caption, _ in figures.values()]
    assert len(captions) == len(set(captions))
    first = figures["scores-general-10-1"][0]
    assert first.endswith("; sheet 1 of 3)")
    assert all(name in first for name in ("AITEX", "SDD"))


def test_a_long_list_of_methods_does_not_lie_on_the_roc_curves(records):
    for place in range(8):
        records.add(f"method{place}", separation=1 + place / 8)
    frame = records.frame()
    figure = plots.roc_curves(frame, load_scores(records.store.root, frame))
    (axes,) = figure.axes
    finish(figure)
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 < axes.get_window_extent().y0


def test_zero_has_a_place_of_its_own_on_a_logarithmic_axis(records):
    for value in (0, 0.001, 0.01, 0.1):
        records.add("dpdl", config={"dispersion": value}, variant=f"dispersion={value}" * (value != 0.01))
    figure = plots.sensitivity(records.frame())
    (axes,) = figure.axes
    figure.canvas.draw()
    places = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.001", "0.01", "0.1"]
    assert all(left.x1 < right.x0 for left, right in pairwise(places))


def test_sensitivity_draws_the_swept_setting_with_its_default_and_nothing_else(study):
    figure = plots.sensitivity(study.frame())
    (axes,) = figure.axes
    assert axes.get_xlabel() == "prototypes"
    line = axes.get_lines()[0]
    means = summary(study.frame()).set_index(["method", "dataset"])["mean"]
    assert list(line.get_xdata()) == [8, 16, 32]
    expected = [means[f"dpdl{name}", "aitex"] for name in (" prototypes=8", " prototypes=16", "")]
    assert list(line.get_ydata()) == pytest.approx(expected)
    star = axes.get_lines()[1]
    assert list(star.get_xdata()) == [32]


def test_the_band_of_a_sweep_is_the_paired_difference_to_the_default(records):
    for seed, separation in enumerate((0.5, 1.5, 2.5)):
        for value, shift in ((5, 0.4), (10, 0.0)):
            records.add("devnet", seed=seed, separation=separation + shift, config={"margin": value},
                        variant=f"margin={value}" * (value != 10))  # fmt: skip
    frame = records.frame()
    (axes,) = plots.sensitivity(frame, "devnet").axes
    by = frame.pivot_table(index="seed", columns="variant", values="auroc")
    (band,) = axes.collections
    edge = band.get_paths()[0].vertices
    heights = {x: np.ptp(edge[edge[:, 0] == x, 1]) for x in (5, 10)}
    assert heights[5] == pytest.approx(2 * (by["margin=5"] - by[""]).std())
    assert heights[10] == pytest.approx(0, abs=1e-12)
    assert by[""].std() > 2 * (by["margin=5"] - by[""]).std()


def test_the_panels_of_a_sweep_have_one_scale(records):
    usual = {"margin": 10, "topk": 0.1}
    for separation, config, variant in (
        (1.5, usual, ""), (0.2, usual | {"margin": 5}, "margin=5"), (1.4, usual | {"topk": 0.2}, "topk=0.2"),
    ):  # fmt: skip
        records.add("devnet", separation=separation, config=config, variant=variant)
    one, other = plots.sensitivity(records.frame(), "devnet").axes
    assert one.get_ylim() == other.get_ylim()


def test_the_mean_roc_encloses_the_mean_auc(several):
    frame = several.frame()
    cells = frame[(frame["method"] == "dra") & (frame["dataset"] == "aitex") & (frame["status"] == "ok")]
    mean, _ = mean_roc(load_scores(several.store.root, cells))
    assert auc(GRID, mean) == pytest.approx(cells["auroc"].mean(), abs=0.01)


def test_the_heat_map_holds_the_stored_per_kind_aucs(several):
    frame = several.frame()
    lines = kind_means(frame).set_index(["dataset", "setting", "method", "kind"])
    cells = frame[(frame["dataset"] == "aitex") & (frame["method"] == "dra")]
    expected = np.mean([kinds["mono"] for kinds in cells["per_kind"]])
    assert lines.loc[("aitex", "general", "dra", "mono"), "mean"] == pytest.approx(expected)


def test_cost_is_the_time_of_fit_and_score(several):
    figure = plots.auc_against_cost(several.frame())
    found = {
        bar.get_label(): bar.lines[0].get_xdata()[0]
        for bar in figure.axes[0].containers
        if isinstance(bar, ErrorbarContainer)
    }
    assert found == {"DevNet": pytest.approx(30), "DPDL": pytest.approx(20), "DRA": pytest.approx(10)}


def test_seen_and_unseen_kinds_are_told_apart(records):
    """In the general setting kinds of the known images count as seen; in the hard setting the tested ones are unseen."""
    first = records.add("dra", seed=0)
    records.add("dra", seed=1, setting="hard", known_kind="other")
    ids = records.store.scores(first.key)
    poly = ids.ids[ids.kinds == "poly"][0]
    marked = first.model_copy(update={"split": first.split.model_copy(update={"known": (str(poly),)})})
    records.store.put(marked, ids)
    frame = records.frame()
    scores = load_scores(records.store.root, frame)
    general = scores[scores["key"] == first.key]
    assert set(general.loc[general["kind"] == "poly", "part"]) == {"seen"}
    assert set(general.loc[general["kind"] == "mono", "part"]) == {"unseen"}
    assert set(general.loc[general["label"] == 0, "part"]) == {"normal"}
    assert set(scores.loc[scores["key"] != first.key, "part"]) == {"normal", "unseen"}


def test_known_images_of_unknown_kind_leave_the_part_open(records):
    record = records.add("dra")
    records.store.put(
        record.model_copy(update={"split": record.split.model_copy(update={"known": ("elsewhere.png",)})}),
        records.store.scores(record.key),
    )
    assert set(load_scores(records.store.root, records.frame())["part"]) == {"normal", "anomaly"}


# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as protanopes, deuteranopes and tritanopes see it.
MACHADO = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _lab(linear):
    xyz = (
        np.clip(linear, 0, 1)
        @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    )
    f = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 1e-6))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", list(MACHADO))
def test_neighbouring_colours_stay_apart_for_the_colour_blind(sight):
    linear = [
        np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in map(np.array, map(to_rgb, COLOURS[:7]))
    ]
    seen = [_lab(np.array(MACHADO[sight]) @ colour) for colour in linear]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 9


def test_nine_names_differ_without_colour():
    looks = styles([str(place) for place in range(9)]).values()
    assert len({(look.marker, str(look.line)) for look in looks}) == 9
