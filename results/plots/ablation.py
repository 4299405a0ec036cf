"""The effect of the parts and settings of one method: the DPDL paper's Figs. 2 and 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from osad_bench.results.aggregate import ROW, per_seed, summary, with_group_means
from osad_bench.results.names import DATASETS
from osad_bench.results.plots.letters import drawable
from osad_bench.results.plots.style import SMALL, labels_of, legend_below, name_boards, panels, styles, wrapped
from osad_bench.results.tables import ablation_lines

_ORDER = {name: place for place, name in enumerate(DATASETS)}


def ablation_bars(frame: pd.DataFrame, method: str = "dpdl") -> Figure:
    """AUROC bars of a method's ablations (Fig. 2), grouped by data set, one panel per setting and M; whiskers: one std."""
    lines = ablation_lines(frame, method).dropna(subset=["mean"])
    groups = list(lines.groupby(["board", "setting", "shots"]))
    variants = sorted(lines["variant"].unique(), key=lambda name: (name == "complete", name))
    style = styles(variants[::-1])
    bars = int(lines.groupby(["board", "setting", "shots"])["dataset"].nunique().max()) if len(lines) else 1
    figure, axes = panels(len(groups), max(3.4, 0.9 + bars * (0.3 + 0.17 * len(variants))), 2.6, across=1)
    boards, labels = name_boards(figure, lines["board"]), labels_of(frame)
    for one, ((board, setting, shots), part) in zip(axes, groups):
        datasets = sorted(part["dataset"].unique(), key=lambda name: (_ORDER.get(name, 99), name))
        width = 0.82 / len(variants)
        bottom = 0.5 if (part["mean"] - part["std"].fillna(0)).min() > 0.5 else 0.0
        for place, variant in enumerate(variants):
            values = part[part["variant"] == variant].set_index("dataset").reindex(datasets)
            at = np.arange(len(datasets)) + (place - (len(variants) - 1) / 2) * width
            look = style[variant]
            one.bar(
                at, values["mean"] - bottom, width * 0.92, bottom=bottom, yerr=values["std"].fillna(0), color=look.colour,
                edgecolor="white", hatch=look.hatch, linewidth=0.4, label=drawable(variant), error_kw={"linewidth": 0.8, "capsize": 1.5},
            )  # fmt: skip
        one.set_xticks(range(len(datasets)), [labels.dataset(name) for name in datasets])
        one.set_ylim(bottom, min(1.02, float((part["mean"] + part["std"].fillna(0)).max()) + 0.03))
        one.set_ylabel("AUROC" + (" (axis starts at chance)" if bottom else ""), fontsize=SMALL)
        title = f"{labels.method(method)}, {setting} setting, M = {shots}{boards[board]}"
        one.set_title(title, fontsize=SMALL + 0.5)
        one.grid(axis="x", visible=False)
    if axes:
        found = dict(pair for one in axes for pair in zip(*one.get_legend_handles_labels()[::-1]))
        legend_below(figure, list(found.values()), list(found))
    return figure


def swept(frame: pd.DataFrame, method: str) -> dict[str, pd.DataFrame]:
    """Setting to the records of `method` that change only this setting or none; the column ``value`` holds its value."""
    mine = frame[(frame["method"] == method) & (frame["status"] == "ok") & (frame["part"] == "test")]
    plain = mine[mine["variant"] == ""]
    if plain.empty:
        return {}
    default: dict[str, Any] = plain.sort_values("created").iloc[-1]["config"]
    changed = [[name for name in config if config[name] != default.get(name)] for config in mine["config"]]
    result = {}
    for name in sorted({names[0] for names in changed if len(names) == 1} & set(default)):
        chosen = mine[[names in ([], [name]) for names in changed]].copy()
        chosen["value"] = [config[name] for config in chosen["config"]]
        numeric = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in chosen["value"]]
        if all(numeric) and len(set(chosen["value"])) > 1:
            result[name] = chosen
    return result


def sensitivity(frame: pd.DataFrame, method: str = "dpdl") -> Figure:
    """AUROC against each setting that was swept alone (Fig. 3), one line per data set; star: default.

    The band is one standard deviation, over seeds, of the paired difference to the default: what is the seed's alone is in
    neither. A band that holds the default's mean is no difference that could be seen.
    """
    curves = swept(frame, method)
    panel = [
        (name, key, part) for name, chosen in curves.items()
        for key, part in _sweep_lines(chosen).groupby(["board", "setting", "shots"])
        if part["value"].min() < part["value"].max()
    ]  # fmt: skip
    datasets = sorted({name for *_, part in panel for name in part["dataset"]}, key=lambda n: (_ORDER.get(n, 99), n))
    style = styles(datasets)
    figure, axes = panels(len(panel), 3.3, 2.5, across=2)
    boards, labels = name_boards(figure, (board for _, (board, *_), _ in panel)), labels_of(frame)
    for one, (name, (board, setting, shots), part) in zip(axes, panel):
        values = sorted(part["value"].unique())
        for dataset, line in part.groupby("dataset"):
            look, line = style[str(dataset)], line.sort_values("value")
            std = line["paired"].fillna(0)
            one.plot(
                line["value"], line["mean"], color=look.colour, marker=look.marker, linestyle=look.line, markersize=4,
                linewidth=1.2, label=labels.dataset(str(dataset)),
            )  # fmt: skip
            one.fill_between(
                line["value"], line["mean"] - std, line["mean"] + std, color=look.colour, alpha=0.13, linewidth=0
            )
            usual = line[line["default"]]
            one.plot(
                usual["value"], usual["mean"], "*", markersize=10, color=look.colour, markeredgecolor="black",
                markeredgewidth=0.6, zorder=3,
            )  # fmt: skip
        above = [value for value in values if value > 0]
        if min(values) >= 0 and max(above) / min(above) > 4:
            # A linear part near zero, so that zero can be shown too.
            one.set_xscale("log") if min(values) > 0 else one.set_xscale("symlog", linthresh=min(above))
            one.xaxis.set_minor_locator(NullLocator())
            one.xaxis.set_minor_formatter(NullFormatter())
        one.set_xticks(values, [f"{value:g}" for value in values])
        plain = drawable(name.replace("_", " "))
        one.set_xlabel(plain, fontsize=SMALL + 0.5)
        one.set_ylabel("AUROC", fontsize=SMALL)
        one.set_title(
            wrapped(f"{plain} of {labels.method(method)}, {setting}, M = {shots}", 2.6) + boards[board], fontsize=SMALL
        )
    for row in {row for _, row, _ in panel}:  # one scale, so that what hardly matters looks so
        alike = [one for one, (_, other, _) in zip(axes, panel) if other == row]
        lows, highs = zip(*(one.get_ylim() for one in alike))
        for one in alike:
            one.set_ylim(min(lows), max(highs))
    if axes:
        found = dict(pair for one in axes for pair in zip(*one.get_legend_handles_labels()[::-1]))
        legend_below(figure, list(found.values()), list(found))
    return figure


def _sweep_lines(chosen: pd.DataFrame) -> pd.DataFrame:
    """`aggregate.summary` of the records at each ``value``.

    ``default`` says whether it is that of the default settings, ``paired`` is the standard deviation over seeds of the
    difference to them.
    """

    def by_seed(part: pd.DataFrame) -> pd.Series[float]:
        return with_group_means(per_seed(part)).set_index([*ROW, "seed"])["value"]

    parts, usual = [], by_seed(chosen[chosen["variant"] == ""])
    for value, part in chosen.groupby("value"):
        apart = by_seed(part) - usual
        paired = apart.groupby(ROW).std().rename("paired").reset_index()
        lines = summary(part).merge(paired, on=ROW, how="left")
        parts.append(lines.assign(value=value, default=bool((part["variant"] == "").any())))
    lines = pd.concat(parts, ignore_index=True).dropna(subset=["mean"])
    result: pd.DataFrame = lines[lines.groupby(ROW)["value"].transform("size") > 1]
    return result
