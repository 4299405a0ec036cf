"""Tables, statistics, figures and a page of a folder of records, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from osad_bench.core.progress import Steps
    from osad_bench.results.aggregate import Metric
    from osad_bench.results.tables import Table

    Tests = Callable[[pd.DataFrame, int], pd.DataFrame]


FORMATS = ("md", "tex", "csv", "html")

BESIDE, DIFFERENCES = "Beside the published numbers", "Differences between methods"

SLUGS = {BESIDE: "published", DIFFERENCES: "differences"}


def chosen_records(frame: pd.DataFrame, **wishes: str | None) -> pd.DataFrame:
    """The records that the options `wishes` choose; a data set's name stands for its classes too.

    Raises
    ------
    InputError
        Nothing has one of these names.
    """
    from osad_bench.core.errors import InputError

    columns = {"methods": "method", "datasets": "dataset", "setting": "setting", "shots": "shots"}
    for option, wish in wishes.items():
        if wish is None:
            continue
        values = frame[columns[option]].astype(str)
        found = values == ""
        for name in (part.strip() for part in wish.split(",")):
            match = (values == name) | ((option == "datasets") & values.str.startswith(f"{name}/"))
            if not match.any():
                raise InputError(f"--{option} {name}: the records have {', '.join(sorted(set(values)))}")
            found = found | match
        frame = frame[found]
    return frame


def tests_of(directory: Path, frame: pd.DataFrame, share: bool, steps: Steps) -> Tests:
    """What gives the differences of some records of `frame`, and the number of the paper's table that they are for.

    Where the page needs all of them too (`share`), they are computed once, and Tables 1 and 2 take theirs from these.
    """
    from functools import cache, partial

    import pandas as pd

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
    records: pd.DataFrame,
    tests: Tests | None,
    metric: Metric,
    number: int,
    compare: bool,
    words: bool,
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """What goes with one table: frames to print by their headings, and the statistics in words."""
    import pandas as pd

    from osad_bench.results.aggregate import ROW
    from osad_bench.results.compare import compare_published, compared_for_print
    from osad_bench.results.ranking import dataset_means
    from osad_bench.results.words import differences_for_print, in_words

    more: dict[str, pd.DataFrame] = {}
    if compare:
        comparison = compare_published(records)
        more[BESIDE] = compared_for_print(comparison[comparison["table"] == number] if number else comparison)
    pairs = pd.DataFrame(columns=ROW)
    if tests is not None:
        pairs = tests(records, number)
        more[DIFFERENCES] = differences_for_print(pairs)
    sentences = in_words(pairs, {} if number == 3 else dataset_means(records, metric)) if words else []
    return more, sentences


def alike(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Frames for narrow pages: a preset that all rows share goes from its column to the heading; empty ones go."""
    result = {}
    for name, frame in frames.items():
        if len(frame) and len(set(frame["preset"])) == 1:
            name, frame = f"{name}, preset {frame['preset'].iloc[0]}", frame.drop(columns="preset")
        if len(frame):
            result[name] = frame
    return result


def write(
    stem: Path, shown: list[Table], formats: list[str], sentences: list[str], more: dict[str, pd.DataFrame], csv: str,
    percent: bool,
) -> None:  # fmt: skip
    """One table and what goes with it, in each format."""
    from html import escape

    from osad_bench.results import render

    stem.parent.mkdir(parents=True, exist_ok=True)
    narrow = alike(more)
    texts = {
        "md": lambda: "\n".join(
            [
                render.to_markdown(shown, percent=percent),
                *(["### In words\n", *(f"{render.escape_markdown(one)}\n" for one in sentences)] if sentences else []),
                *(f"### {name}\n\n{render.frame_to_markdown(frame)}" for name, frame in narrow.items()),
            ]
        ),
        "tex": lambda: render.to_latex(shown, percent=percent),
        "html": lambda: render.html_document(
            stem.name,
            "\n".join(
                [
                    render.to_html(shown, percent=percent),
                    *(f"<p>{escape(one)}</p>" for one in sentences),
                    *(render.frame_to_html(frame, name) for name, frame in narrow.items()),
                ]
            ),
        ),
        "csv": lambda: csv,
    }
    for one in formats:
        stem.with_name(f"{stem.name}.{one}").write_text(texts[one](), encoding="utf-8")
    if "tex" in formats:  # in files of their own: a paper takes the table in and not a thousand lines of tests
        for name, frame in more.items():
            text = "\n".join(render.frame_to_latex(one, title) for title, one in alike({name: frame}).items())
            stem.with_name(f"{stem.name}-{SLUGS[name]}.tex").write_text(text, encoding="utf-8")
    if "csv" in formats:
        for name, frame in more.items():
            frame.to_csv(stem.with_name(f"{stem.name}-{SLUGS[name]}.csv"), index=False, lineterminator="\n")


def draw(
    directory: Path, frame: pd.DataFrame, scored: pd.DataFrame, folder: Path | None, page: bool, steps: Steps
) -> dict[str, str]:
    """Draw every figure, of the scores of `scored`, and save it into `folder`; for a page, caption to image."""
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
