"""Write tables, statistics, figures and a page of a folder of records to files: `write_report`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from osad_bench.core.errors import InputError
from osad_bench.core.files import clear_forgotten, write_named
from osad_bench.core.progress import Silent, Steps
from osad_bench.results.aggregate import Metric
from osad_bench.results.record import storable
from osad_bench.results.registered import FrozenPlan, registered_in_words
from osad_bench.results.store import load
from osad_bench.results.tables import METRIC_TITLES, Table, tables
from osad_bench.results.titles import citations_of, titles_of

if TYPE_CHECKING:
    Tests = Callable[[pd.DataFrame, int], pd.DataFrame]

Pictures = Callable[[dict[str, str], list[tuple[str, str]]], tuple[dict[tuple[str, str], str], list[str]]]
"""Where a page's pictures come from.

Takes a map from fingerprint to data set, and the wanted (fingerprint, image id), most important first. Returns a map from these
to ``data:`` addresses, and the names of what has no pictures here, with the reason.
"""

FORMATS = ("md", "tex", "csv", "html")
"""Endings of the table files."""

BESIDE, DIFFERENCES, LETTERS = "Beside the published numbers", "Differences between methods", "Which methods differ"
OPERATING = "Operating points"

SLUGS = {BESIDE: "published", DIFFERENCES: "differences", LETTERS: "letters", OPERATING: "operating-points"}
"""Heading of a further table to the last part of its files' names."""

MISSING = {
    1: "run --setting general",
    2: "run --setting hard",
    3: "osad-bench ablate dpdl --out DIR makes them, with M = 10",
}
"""Number of a table of the DPDL paper to the command or option that makes its records."""

MANY = 10_000
"""With more cells, figures and tests of single images are made on demand only; all methods and data sets have 6,000."""
LONG = 1000
"""With more cells, they take minutes."""


@dataclass
class Sheet:
    """The content of one table file and of the files that go with it.

    Attributes
    ----------
    name
        Stem of its files.
    tables, sentences
        The tables, and the statistics in words.
    more
        Heading to a further table, a frame of short texts.
    """

    name: str
    tables: list[Table]
    sentences: list[str] = field(default_factory=list)
    more: dict[str, pd.DataFrame] = field(default_factory=dict)


@dataclass
class Report:
    """What `write_report` made.

    Attributes
    ----------
    folder
        Where the files are.
    sheets
        The content of the table files.
    written
        What was written, in words, such as ``report as md, tex`` or ``figures``.
    """

    folder: Path
    sheets: list[Sheet] = field(default_factory=list)
    written: list[str] = field(default_factory=list)


def no_pictures(names: dict[str, str], wanted: list[tuple[str, str]]) -> tuple[dict[tuple[str, str], str], list[str]]:  # noqa: ARG001
    """`Pictures` for a page without any."""
    return {}, []


def write_report(
    directory: Path | str,
    *,
    out: Path | str | None = None,
    methods: str | None = None,
    datasets: str | None = None,
    setting: str | None = None,
    shots: str | None = None,
    table: str | None = None,
    formats: Sequence[str] = ("md", "tex", "csv"),
    compare: bool = False,
    html: Path | str | None = None,
    metric: Metric = "auroc",
    percent: bool = False,
    statistics: bool | None = None,
    figures: bool | None = None,
    plan: FrozenPlan | None = None,
    pictures: Pictures = no_pictures,
    steps: Steps | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Write the tables of a folder of records with their statistics and figures to files; print nothing.

    Parameters
    ----------
    directory
        Folder that `osad-bench run --out` wrote.
    out
        Folder for the files; None for `directory` itself.
    methods, datasets, setting, shots
        Only these, separated by commas; a data set's name stands for its classes too. None for all.
    table
        ``1``, ``2``, ``3`` or ``all``: in the form of the DPDL paper's tables; None for one report of everything.
    formats
        Some of `FORMATS`.
    compare
        Put our numbers beside the published ones.
    html
        File for a page with everything; None for no page.
    metric
        What tables show: ``auroc``, ``average_precision``, ``fpr95``, ``pixel_auroc`` or ``aupro``.
    percent
        88.9 instead of 0.889.
    statistics, figures
        Whether to test differences between methods, and to draw figures; None for up to `MANY` cells.
    plan
        A frozen plan: the report says which records follow it and which are exploratory. None for no plan.
    pictures
        Finds the page's pictures (see `Pictures`), as data sets are not read here.
    steps
        Shows the progress; None to show nothing.
    say
        Called with a sentence for what a user should know, such as records that are missing.

    Raises
    ------
    InputError
        An option has an impossible value, or chooses no record.
    StoreError
        The folder holds no records, or one is damaged.
    OSError
        A file cannot be written.
    """
    from osad_bench.results.paper import paper_records, paper_table

    _check(table, formats, metric)
    directory, steps = Path(directory), steps or Silent()
    with steps.step("reading records") as tell:
        frame = load(directory, tell, say)
    registered = [] if plan is None else registered_in_words(frame, plan)
    frame = chosen_records(frame, methods=methods, datasets=datasets, setting=setting, shots=shots)
    report = Report(Path(out) if out is not None else directory)
    done = frame[(frame["status"] == "ok") & (frame["part"] == "test")]
    small = len(done) <= MANY
    paired, drawn = (small if wish is None else wish for wish in (statistics, figures))
    if not small and None in (statistics, figures):
        say(f"{len(done)} cells: tests of single images and figures are made only with --statistics and --figures")
    elif len(done) > LONG and (paired or drawn):
        say(f"{len(done)} cells: tests and figures take some minutes (--no-statistics, --no-figures leave them out)")

    numbers = [1, 2, 3] if table == "all" else [int(table)] if table else []
    parts = [(f"table{number}", paper_records(frame, number), paper_table(frame, number), number) for number in numbers]
    tests = tests_of(directory, frame, bool(parts) and html is not None, steps) if paired else None
    judged = partial(judge, directory, tests=tests, metric=metric, compare=compare, words=statistics is not False)
    for name, records, shown, number in parts or [("report", frame, tables(frame, metric), 0)]:
        if not shown and number:
            say(f"no records for {name}: {MISSING[number]}")
            continue
        sheet = Sheet(name, shown)
        sheet.more, sentences = judged(records, number=number)
        sheet.sentences = [*registered, *sentences]
        write(report.folder / name, sheet, formats, records, metric, percent)
        report.sheets.append(sheet)
    if report.sheets:
        report.written.append(f"{', '.join(sheet.name for sheet in report.sheets)} as {', '.join(formats)}")
    images: dict[str, str] = {}
    if drawn or (html is not None and small):
        scored = done if small else done.head(0)
        images = draw(directory, frame, scored, report.folder / "figures" if drawn else None, html is not None, steps)
    if drawn:
        report.written.append("figures")
    if html is not None:
        more, sentences = judged(frame, number=0) if parts or not report.sheets else (
            report.sheets[0].more, report.sheets[0].sentences[len(registered) :]
        )  # fmt: skip
        sentences = [*registered, *sentences]
        write_page(Path(html), directory, frame, images, sentences, more, pictures, say)
        report.written.append(str(html))
    return report


def _check(table: str | None, formats: Sequence[str], metric: str) -> None:
    for option, value, known in (
        *(("format", name, FORMATS) for name in formats),
        ("metric", metric, tuple(METRIC_TITLES)),
        ("table", table, (None, "1", "2", "3", "all")),
    ):
        if value not in known:
            raise InputError(f"--{option} {value}: expected one of {', '.join(filter(None, known))}")
    if table and metric != "auroc":
        raise InputError(f"--table {table} shows AUROC as the paper does: leave out --metric {metric} or --table")


def chosen_records(frame: pd.DataFrame, **wishes: str | None) -> pd.DataFrame:
    """The records that the options `wishes` choose; a data set's name stands for its classes too.

    Raises
    ------
    InputError
        No record has one of these names.
    """
    columns = {"methods": "method", "datasets": "dataset", "setting": "setting", "shots": "shots"}
    for option, wish in wishes.items():
        if wish is None:
            continue
        values = frame[columns[option]].astype(str)
        wish = storable(wish)  # bytes that are no UTF-8
        whole = values == wish.strip()  # a name may hold a comma
        if whole.any():
            frame = frame[whole]
            continue
        found = values == ""
        for name in (part.strip() for part in wish.split(",")):
            match = (values == name) | ((option == "datasets") & values.str.startswith(f"{name}/"))
            if not match.any():
                raise InputError(
                    f"--{option} {name}: no such records; the records have {', '.join(sorted(set(values)))}"
                )
            found = found | match
        frame = frame[found]
    return frame


def tests_of(directory: Path, frame: pd.DataFrame, share: bool, steps: Steps) -> Tests:
    """Return ``test(records, table_number)``, which computes `paired.differences` of some records of `frame`.

    With `share` (a page needs those of all records too), they are computed once, and Tables 1 and 2 select from these.
    """
    from functools import cache

    from osad_bench.results.aggregate import ROW, comparable
    from osad_bench.results.paired import differences
    from osad_bench.results.scores import load_scores

    def test(records: pd.DataFrame) -> pd.DataFrame:
        with steps.step("testing differences, cells") as tell:
            return differences(records, partial(load_scores, directory), tell=tell)

    @cache
    def once() -> tuple[pd.DataFrame, pd.DataFrame]:
        return comparable(frame), test(frame)

    def of(records: pd.DataFrame, number: int) -> pd.DataFrame:
        if number == 3:
            return test(
                records.assign(variant=records["ablation"].where(records["ablation"] != "", records["variant"]))
            )
        if not share:
            return test(records)
        lines, pairs = once()
        lines = lines[lines["key"].isin(records["key"])]
        shown = pd.MultiIndex.from_frame(lines[[*ROW, "method"]])
        both = [pd.MultiIndex.from_frame(pairs[[*ROW, one]]).isin(shown) for one in ("first", "second")]
        return pairs[both[0] & both[1]]

    return of


def judge(
    directory: Path, records: pd.DataFrame, *, tests: Tests | None, metric: Metric, number: int, compare: bool,
    words: bool,
) -> tuple[dict[str, pd.DataFrame], list[str]]:  # fmt: skip
    """What goes with one table: heading to further table (a frame of short texts), and the statistics in words."""
    from osad_bench.results.aggregate import ROW
    from osad_bench.results.compare import compare_published, compared_for_print
    from osad_bench.results.letters import matrices
    from osad_bench.results.operating import operating_points, points_for_print
    from osad_bench.results.ranking import dataset_means
    from osad_bench.results.scores import load_scores
    from osad_bench.results.shots import shots_in_words
    from osad_bench.results.words import differences_for_print, in_words

    titles = titles_of(records)
    more: dict[str, pd.DataFrame] = {}
    if compare:
        comparison = compare_published(records)
        more[BESIDE] = compared_for_print(comparison[comparison["table"] == number] if number else comparison, titles)
    pairs = pd.DataFrame(columns=ROW)
    if tests is not None:
        pairs = tests(records, number)
        if number != 3:
            more |= {f"{LETTERS}: {name}": frame for name, frame in matrices(pairs, records, titles).items()}
        more[DIFFERENCES] = differences_for_print(pairs, titles)
        points = operating_points(records, partial(load_scores, directory))
        more[OPERATING] = points_for_print(points, titles)
    sentences = in_words(pairs, {} if number == 3 else dataset_means(records, metric), records) if words else []
    if words and tests is not None and number == 0:
        sentences += shots_in_words(records, pairs)
    return more, sentences


def alike(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Frames for narrow pages: a preset that all rows share is moved from its column to the heading; empty frames go."""
    result = {}
    for name, frame in frames.items():
        if len(frame) and "preset" in frame and len(set(frame["preset"])) == 1:
            name, frame = f"{name}, preset {frame['preset'].iloc[0]}", frame.drop(columns="preset")
        if len(frame):
            result[name] = frame
    return result


def write(
    stem: Path, sheet: Sheet, formats: Sequence[str], records: pd.DataFrame, metric: Metric, percent: bool
) -> None:
    """Write one table and what goes with it in each format, to `stem` with the format as ending."""
    from html import escape

    from osad_bench.results import latex, letters, render

    stem.parent.mkdir(parents=True, exist_ok=True)
    clear_forgotten(stem.parent)
    narrow = alike(sheet.more)
    notes = [letters.NOTE] * any(name.startswith(LETTERS) for name in narrow)
    sentences = [*sheet.sentences, *notes]
    texts = {
        "md": lambda: "\n".join(
            [
                render.to_markdown(sheet.tables, percent=percent),
                *(["### In words\n", *(f"{render.escape_markdown(one)}\n" for one in sentences)] if sentences else []),
                *(
                    f"### {render.escape_markdown(name)}\n\n{render.frame_to_markdown(frame)}"
                    for name, frame in narrow.items()
                ),
            ]
        ),
        "tex": lambda: latex.to_latex(sheet.tables, percent=percent),
        "html": lambda: render.html_document(
            stem.name,
            "\n".join(
                [
                    render.to_html(sheet.tables, percent=percent),
                    *(f"<p>{escape(one)}</p>" for one in sentences),
                    *(render.frame_to_html(frame, name) for name, frame in narrow.items()),
                ]
            ),
        ),
        "csv": lambda: render.to_csv(records, metric),
    }
    for one in formats:
        write_named(stem.with_name(f"{stem.name}.{one}"), texts[one]())
    # In files of their own: a paper takes the table in and not a thousand lines of tests.
    for heading, slug in SLUGS.items():
        frames = {name: frame for name, frame in sheet.more.items() if name.startswith(heading)}
        if "tex" in formats and frames:
            text = "\n".join(latex.frame_to_latex(frame, name) for name, frame in alike(frames).items())
            write_named(stem.with_name(f"{stem.name}-{slug}.tex"), text)
        if "csv" in formats and heading in frames:
            write_named(stem.with_name(f"{stem.name}-{slug}.csv"), render.frame_to_csv(frames[heading]))


def draw(
    directory: Path, frame: pd.DataFrame, scored: pd.DataFrame, folder: Path | None, page: bool, steps: Steps
) -> dict[str, str]:
    """Draw all figures, save them into `folder` (None: nowhere), and for a page return caption to image.

    Figures made of scores use the scores of the records `scored`.
    """
    from osad_bench.results.page.content import as_svg
    from osad_bench.results.plots import each_figure, save
    from osad_bench.results.scores import load_scores

    with steps.step("reading scores") as tell:
        scores = load_scores(directory, scored, tell)
    drawn = {}
    with steps.step("drawing figures") as tell:
        for name, caption, figure in each_figure(frame, scores, tell):
            if folder is not None:
                save(figure, folder / name)
            if page:
                drawn[caption] = as_svg(figure)
    return drawn


def write_page(
    path: Path, directory: Path, frame: pd.DataFrame, drawn: dict[str, str], sentences: list[str],
    more: dict[str, pd.DataFrame], pictures: Pictures, say: Callable[[str], None],
) -> None:  # fmt: skip
    """Write everything as one HTML file."""
    from osad_bench.results import letters
    from osad_bench.results.page import render_page, worst_mistakes
    from osad_bench.results.page.content import MOST_SCORED
    from osad_bench.results.scores import load_scores

    done = frame[(frame["status"] == "ok") & (frame["part"] == "test")]
    order = done.sort_values(["seed", "setting", "dataset", "method"]).head(MOST_SCORED)
    scores = load_scores(directory, order)
    worst = worst_mistakes(scores).sort_values("share", ascending=False)
    fingerprints = dict(zip(done["key"], done["fingerprint"]))
    wanted = [(fingerprints[key], image) for key, image in zip(worst["key"], worst["image"])]
    thumbnails, absent = pictures(dict(zip(frame["fingerprint"], frame["dataset"])), wanted)
    for sentence in absent:
        say(f"no pictures of {sentence}")
    narrow = alike(more)
    notes = [letters.NOTE] * any(name.startswith(LETTERS) for name in narrow)
    page = render_page(
        frame, scores, figures=drawn, sentences=[*sentences, *notes], more=narrow, thumbnails=thumbnails,
        citations=citations_of(frame),
    )  # fmt: skip
    write_named(path, page)
