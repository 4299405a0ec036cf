"""The page's HTML from its content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from osad_bench.results.page import content
from osad_bench.results.tables import left_out

CITATION = (
    "DPDL: Distribution Prototype Diffusion Learning for Open-set Supervised Anomaly Detection.",
    "osad-bench: the benchmark for open-set supervised anomaly detection in images; name its version and commit (see"
    " Provenance), the preset, the seeds and the number of data sets.",
)


def for_script(value: object) -> Markup:
    """JSON that is safe inside a ``<script>`` element, whatever texts it holds; no NaN or infinity in it (ValueError)."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def render_page(
    frame: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    title: str = "osad-bench results",
    figures: Mapping[str, Figure | str] | None = None,
    sentences: Sequence[str] = (),
    more: Mapping[str, pd.DataFrame] | None = None,
    thumbnails: Mapping[tuple[str, str], str] | None = None,
    citations: Sequence[str] = (),
) -> str:
    """The text of one self-contained HTML file that needs no network.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    scores
        As `osad_bench.results.scores.load_scores` returns it, of all cells or of some; the page shows no scores of the others.
    title
        Title of the page.
    figures
        Caption to figure, or to its address from `content.as_svg`.
    sentences
        The statistics in words.
    more
        Heading to a frame of short texts: further tables.
    thumbnails
        (fingerprint of the data set, image id) to a ``data:`` address of a small picture.
    citations
        What to cite besides this benchmark and the DPDL paper.
    """
    folder = files("osad_bench.results.page")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("page.html.jinja").read_text("utf-8"))
    tests = frame[frame["part"] == "test"]
    carried = scores["key"].nunique()
    return template.render(
        title=title,
        style=Markup(folder.joinpath("page.css").read_text("utf-8")),
        script=Markup(folder.joinpath("page.js").read_text("utf-8")),
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        counts={
            name if name == "failed" or count == 1 else f"{name}s": count
            for name, count in {
                "record": len(frame),
                "failed": int((frame["status"] == "failed").sum()),
                "method": tests["method"].nunique(),
                "data set": tests["dataset"].nunique(),
                "split": tests["split_digest"].nunique(),
            }.items()
        },
        carried=carried,
        omitted=int((tests["status"] == "ok").sum()) - carried,
        boards=content.boards(frame, {key: place for place, key in enumerate(tests["key"])}),
        notes=left_out(frame),
        sentences=sentences,
        more={
            name: {"columns": list(table.columns), "rows": table.astype(str).to_numpy().tolist()}
            for name, table in (more or {}).items()
        },
        sections=_sections(more or {}),
        figures={
            caption: figure if isinstance(figure, str) else content.as_svg(figure)
            for caption, figure in (figures or {}).items()
        },
        provenance=content.provenance(frame),
        presets=content.presets(frame),
        citations=[*CITATION, *citations],
        data=for_script(content.details(tests, scores, thumbnails or {})),
    )


def _sections(more: Mapping[str, object]) -> dict[str, int]:
    """Links to the further tables: a heading without what follows \":\" or \", preset\", to the number of its first table."""
    found: dict[str, int] = {}
    for place, name in enumerate(more, 1):
        found.setdefault(name.partition(":")[0].partition(", preset")[0], place)
    return found
