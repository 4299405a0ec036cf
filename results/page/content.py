"""What the page shows, as plain values; the template and the script lay it out."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from osad_bench.results.aggregate import ROW, comparable, group_of, summary
from osad_bench.results.names import METHODS, in_order
from osad_bench.results.page.mistakes import worst_mistakes
from osad_bench.results.plots.style import finish
from osad_bench.results.tables import entry_of, row_name, without_variants
from osad_bench.results.titles import Titles, titles_of

MOST_SCORED = 500
"""Most cells whose scores are part of the page."""

KEY = 16
"""Digits of a key or fingerprint in the page: enough to find the record's file."""

VALUES = {
    "AUROC": "auroc", "average precision": "average_precision", "FPR at 95 % TPR": "fpr95",
    "pixel AUROC": "pixel_auroc", "AUPRO": "aupro",
    "seconds to fit": "fit_seconds", "seconds to score": "score_seconds", "peak memory, MB": "peak_memory_mb",
    "training normals": "train_normal", "training anomalies": "train_anomaly", "test normals": "test_normal",
    "test anomalies": "test_anomaly", "test images with a copy in training": "crossing_duplicates",
}  # fmt: skip
"""What a record's details list: title to column."""

_DIGITS = re.compile(rb"(\.\d\d)\d+")
_SPACE = re.compile(rb"\s*\n\s*")


def boards(frame: pd.DataFrame, places: Mapping[str, int]) -> list[dict[str, Any]]:
    """The tables: one per board, one line per data set, setting and M, with the records behind each number.

    As in `tables.tables`, variants of a method whose default settings have records are in tables of their own.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    places
        Key of each record to its index in the page's data.

    Returns
    -------
    list of dict
        ``title``, ``methods`` (titles) and ``rows`` of ``name, setting, shots, entries``; an entry has ``text``, ``value`` (the
        mean, for sorting), ``rank`` (0: none) and ``keys`` (indices of records).
    """
    plain, titles = without_variants(frame), titles_of(frame)
    result = _boards(plain, places, titles, "")
    for method in in_order(frame.loc[~frame["key"].isin(plain["key"]), "method"], METHODS):
        mine = frame[frame["method"] == method]
        result += _boards(mine, places, titles, f", variants of {titles.method(method)}", least=2)
    return result


def _boards(
    frame: pd.DataFrame, places: Mapping[str, int], titles: Titles, of: str, least: int = 1
) -> list[dict[str, Any]]:
    """`boards` of these records, only with lines in which at least `least` columns have a value."""
    tests = comparable(frame)
    tests["class_of"] = group_of(tests["dataset"])
    keys = {name: list(part["key"]) for name, part in tests.groupby([*ROW, "method"])}
    means = {
        name: list(part["key"]) for name, part in tests.groupby(["board", "class_of", "setting", "shots", "method"])
    }
    result = []
    for board, lines in summary(frame).groupby("board"):
        methods = in_order(lines["method"], METHODS)
        order = lines[["setting", "shots", "dataset"]].drop_duplicates()
        order = order.sort_values(["setting", "shots", "dataset"], ascending=[True, False, True])
        rows = []
        groups = dict(iter(lines.groupby(["setting", "shots", "dataset"])))
        for setting, shots, dataset in order.itertuples(index=False):
            cells = groups[setting, shots, dataset]
            if len(cells) < least:
                continue
            found = {line["method"]: line for line in cells.to_dict("records")}
            name = row_name(dataset, setting, int(cells["kinds"].max()), int(cells["classes"].max()), titles)
            entries = []
            for method in methods:
                if method not in found:
                    entries.append({"text": "–", "value": "", "rank": 0, "keys": []})
                    continue
                entry = entry_of(found[method])
                place = (board, dataset, setting, shots, method)
                records = keys.get(place) or means.get(place, [])
                entries.append(
                    {
                        "text": entry.text(),
                        "value": "" if entry.mean is None else f"{entry.mean:.6f}",
                        "rank": entry.rank or 0,
                        "keys": [places[key] for key in records],
                    }
                )
            rows.append({"name": name, "setting": setting, "shots": shots, "entries": entries})
        if rows:
            shown = [titles.method(name) for name in methods]
            result.append({"title": f"{board}{of}", "methods": shown, "rows": rows})
    return result


def as_svg(figure: Figure) -> str:
    """The figure as an SVG in a ``data:`` address for ``<img>``; places are rounded to a hundredth of a point, for size."""
    stream = io.BytesIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "osad-bench"}):
        finish(figure).savefig(stream, format="svg", metadata={"Date": None})
    text = _SPACE.sub(b" ", _DIGITS.sub(rb"\1", stream.getvalue()))
    return "data:image/svg+xml;base64," + base64.b64encode(text).decode()


def details(frame: pd.DataFrame, scores: pd.DataFrame, thumbnails: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """The details of every record, with scores and worst mistakes of those in `scores`.

    A page of 100,000 records has to stay small. So texts, names and lists of images are stored once and referred to by number;
    `recordAt` in page.js puts a record together again.

    Parameters
    ----------
    frame, scores, thumbnails
        As in `osad_bench.results.page.render_page`.
    """
    names: dict[str, int] = {}
    groups: dict[tuple[Any, ...], int] = {}
    images: list[dict[str, Any]] = []
    scored: dict[str, dict[str, Any]] = {}
    mistakes = dict(iter(worst_mistakes(scores).groupby("key")))
    for key, cell in scores.groupby("key", sort=False):
        ids = tuple(names.setdefault(name, len(names)) for name in cell["image"])
        if ids not in groups:
            groups[ids] = len(images)
            kinds = sorted(set(cell["kind"]))
            places = {kind: place for place, kind in enumerate(kinds)}
            images.append(
                {
                    "ids": ids,
                    "labels": cell["label"].tolist(),
                    "kinds": kinds,
                    "kind": [places[kind] for kind in cell["kind"]],
                }
            )
        worst = mistakes.get(key)
        scored[str(key)] = {
            "images": groups[ids],
            "scores": [float(f"{value:.5g}") for value in cell["score"]],
            "worst": []
            if worst is None
            else [[int(p), round(float(s), 4)] for p, s in zip(worst["place"], worst["share"])],
        }
    used: dict[str, str] = {}
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    records, titles = [], titles_of(frame)
    for line in frame.to_dict("records"):
        protocol = f"{line['setting']} setting, M = {line['shots']}, seed {line['seed']}"
        if not pd.isna(line["known_kind"]):
            protocol += f", known kind {line['known_kind']}"
        records.append(
            [
                line["key"][:KEY],
                number(titles.method(f"{line['method']} {line['variant']}".strip())),
                number(titles.dataset(line["dataset"])),
                number(protocol),
                number(line["error"]) if line["status"] == "failed" else -1,
                [None if pd.isna(line[column]) else float(f"{line[column]:.4g}") for column in VALUES.values()],
                [part for kind, value in line["per_kind"].items() for part in (number(kind), round(value, 4))],
                number(json.dumps(line["config"], sort_keys=True, default=str)),
                number(line["fingerprint"][:KEY]),
                scored.get(line["key"], 0),
            ]
        )
    fingerprints = dict(zip(frame["key"], frame["fingerprint"]))
    wanted = {(fingerprints[key], image) for key, part in mistakes.items() for image in part["image"]}
    for (fingerprint, image), address in thumbnails.items():
        if (fingerprint, image) in wanted:
            used[f"{fingerprint[:KEY]}/{image}"] = address
    return {
        "names": list(names), "images": images, "texts": list(texts), "values": list(VALUES), "records": records,
        "thumbs": used,
    }  # fmt: skip


def provenance(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per combination of versions, device and preset, with the number of records that it made."""
    lines = []
    for line in frame.to_dict("records"):
        source = line["provenance"]
        lines.append(
            {
                "osad-bench": source.project_version,
                "commit": (source.commit or "")[:12] + "+" * (source.commit or "").endswith("+"),
                "Python": source.python,
                "device": source.device,
                "deterministic": "yes" if source.deterministic else "no",
                "packages": ", ".join(f"{name} {version}" for name, version in sorted(source.packages.items())),
                "weights": ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(source.weights.items())),
                "preset": line["preset"],
            }
        )
    table = pd.DataFrame(lines)
    result: pd.DataFrame = table.groupby(list(table.columns), sort=False).size().rename("records").reset_index()
    return result


def presets(frame: pd.DataFrame) -> dict[str, str]:
    """Label of each preset to its complete settings as JSON."""
    return {
        str(name): json.dumps(part.iloc[0]["preset_config"], indent=1, sort_keys=True, default=str)
        for name, part in frame.groupby("preset")
    }
