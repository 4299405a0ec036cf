"""The page in a real browser: sorts, filters, drills down, by keyboard, in light and dark, on paper, offline; escaped."""

from __future__ import annotations

import base64
import io
import re
import shutil

import html5lib
import pytest
from matplotlib import rc_context
from PIL import Image

from osad_bench.results.page import render_page, worst_mistakes
from osad_bench.results.page.content import as_svg
from osad_bench.results.plots import seed_points
from osad_bench.results.plots.style import finish
from osad_bench.results.record import TestScores
from osad_bench.results.scores import load_scores

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EVIL = "<script>document.title='owned'</script>"
QUOTES = "\"onmouseover='x'&amp;</td>"


def picture(colour) -> str:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


@pytest.fixture(scope="module")
def store(tmp_path_factory, request):
    records = request.getfixturevalue("records_at")(tmp_path_factory.mktemp("page"))
    for seed in range(2):
        records.add("dra", separation=1.0, seed=seed)
        records.add("dpdl", separation=3.0, seed=seed)
        records.add("dra", separation=2.0, seed=seed, dataset="aitex", shots=1)
        for kind in ("mono", "poly"):
            records.add("dra", separation=1.5, seed=seed, setting="hard", known_kind=kind)
    records.add("dpdl", dataset="aitex", error=f"broke on {EVIL}", shots=1)
    hostile = TestScores([EVIL, QUOTES, "c.png", "d.png"], [0, 0, 1, 1], ["", "", EVIL, QUOTES], [3.0, 1.0, 2.0, 0.5])
    records.add("dra", dataset=EVIL, scores=hostile)
    records.add(QUOTES, dataset=EVIL, scores=hostile, variant=EVIL)
    return records


@pytest.fixture(scope="module")
def page(store, tmp_path_factory):
    frame = store.frame()
    scores = load_scores(store.store.root, frame)
    names = [(frame.iloc[0]["fingerprint"], image) for image in [*scores["image"].unique()[:60], EVIL]]
    text = render_page(
        frame, scores, title=f"Results {EVIL}", figures={"AUROC of every seed": seed_points(frame)},
        sentences=[f"In words: {EVIL}"], thumbnails={name: picture((200, 30, 30)) for name in names},
        citations=["dra: Ding et al., 2022"],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("html") / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no Chromium here; Debian: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright (drives the browser)")
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def tab(browser, page):
    """The page, freshly opened offline; fails the test on any script error or request."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    tab, problems = context.new_page(), []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    tab.goto(page.as_uri())
    yield tab
    context.close()
    assert problems == []


def column(tab, table, number):
    return (
        tab.locator(f"table.board >> nth={table}")
        .locator(f"tbody tr:not([hidden]) > :nth-child({number})")
        .all_inner_texts()
    )


def test_the_html_is_sound_and_holds_no_markup_that_a_record_brought(page):
    text = page.read_text("utf-8")
    tree = html5lib.HTMLParser(namespaceHTMLElements=False).parse(text)
    assert len(tree.findall(".//script")) == 2
    assert not [e for e in tree.iter() if isinstance(e.tag, str) and "onmouseover" in e.attrib]
    assert EVIL in "".join(tree.find(".//h1").itertext())
    assert not re.search(r"(?:src|href)=.?https?:", text)


def test_a_figure_in_the_page_is_the_same_drawing_to_a_hundredth_of_a_point(store):
    figure = seed_points(store.frame())
    stream = io.BytesIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "osad-bench"}):
        finish(figure).savefig(stream, format="svg", metadata={"Date": None})
    exact = stream.getvalue().decode()
    shown = base64.b64decode(as_svg(figure).partition("base64,")[2]).decode()
    words = [re.split(r"(-?\d+\.\d+)|\s+", text) for text in (exact, shown)]
    exact, shown = ([word for word in found if word] for found in words)
    assert len(exact) == len(shown) > 1000
    for one, other in zip(exact, shown, strict=True):
        assert one == other or abs(float(one) - float(other)) < 0.01, (one, other)


def test_a_data_set_named_script_runs_nothing_and_shows_its_name(tab):
    assert tab.title() == f"Results {EVIL}"
    assert EVIL in "".join(column(tab, 0, 1))
    row = tab.locator("table.board tbody tr", has_text="<script>")
    row.locator("button.cell").first.click()
    assert EVIL in tab.locator("#record-body").inner_text()
    assert tab.title() == f"Results {EVIL}"


def test_a_columns_head_sorts_by_value_down_and_up_with_gaps_last(tab):
    head = tab.locator("table.board thead th", has_text="DRA").first
    head.locator("button").click()
    place = head.evaluate("e => e.cellIndex") + 1
    values = [text for text in column(tab, 0, place) if text != "–"]
    assert values == sorted(values, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    values = column(tab, 0, place)
    shown = [text for text in values if text != "–"]
    assert shown == sorted(shown)
    assert values[: len(shown)] == shown


def test_filters_hide_rows_and_columns_and_say_how_many_are_left(tab):
    tab.fill("#filter-data", "AITEX")
    assert column(tab, 0, 1) == ["AITEX"]
    assert "1 of 4 rows" in tab.locator("#shown").inner_text()
    tab.fill("#filter-data", "")
    tab.select_option("#filter-setting", "hard")
    assert column(tab, 0, 1) == ["ELPV (mean of 2 kinds)"]
    tab.select_option("#filter-setting", "")
    tab.fill("#filter-method", "dpdl")
    heads = tab.locator("table.board thead th:not([hidden])").all_inner_texts()
    assert [head.strip() for head in heads] == ["data set", "setting", "M", "DPDL"]


def test_a_cell_opens_its_records_with_scores_curve_and_worst_mistakes(tab, store):
    row = tab.locator('table.board tbody tr[data-name="ELPV"][data-shots="10"]')
    row.locator("button.cell", has_text=re.compile(r"0\.7|0\.8")).first.click()
    assert tab.locator("dialog[open] h2").inner_text() == "DRA on ELPV"
    assert tab.locator("#record option").count() == 2
    assert tab.locator("#record-body svg").count() == 2
    assert tab.locator("ol.mistakes li").count() == 10
    assert tab.locator("ol.mistakes img").count() > 0
    assert tab.locator("ol.mistakes img").first.evaluate("e => e.naturalWidth") == 8
    assert tab.locator("#record-body details summary").inner_text().startswith("100 test images")
    record = next(one for one in store.store if one.cell.method == "dra" and one.cell.protocol.seed == 1
                  and one.cell.dataset == "elpv" and one.cell.protocol.setting == "general")  # fmt: skip
    option = tab.locator("#record option", has_text="seed 1").get_attribute("value")
    tab.select_option("#record", option)
    assert f"record {record.key[:16]}" in tab.locator("#record-body").inner_text()
    assert f"{record.metrics.auroc:.4g}" in tab.locator("#record-body table").first.inner_text()


def test_a_mean_over_kinds_opens_the_records_of_all_kinds(tab):
    tab.locator('table.board tbody tr[data-setting="hard"] button.cell').first.click()
    options = tab.locator("#record option").all_inner_texts()
    assert len(options) == 4
    assert sum("known kind mono" in option for option in options) == 2


def test_a_failed_cell_shows_its_error(tab):
    tab.fill("#filter-data", "aitex")
    tab.locator('tr[data-name="AITEX"] td', has_text="–").locator("button").first.click()
    assert f"broke on {EVIL}" in tab.locator("#record-body .error").inner_text()


def test_everything_works_by_keyboard(tab):
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    cell = tab.locator("button.cell").first
    cell.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("dialog[open]").count() == 1
    assert tab.evaluate("document.getElementById('details').contains(document.activeElement)")
    tab.keyboard.press("Escape")
    assert tab.locator("dialog[open]").count() == 0
    assert tab.evaluate("document.activeElement.className").startswith("cell")
    head = tab.locator("table.board thead button").first
    head.focus()
    tab.keyboard.press("Space")
    assert tab.locator("table.board thead th").first.get_attribute("aria-sort") == "ascending"


def _contrast(tab, selector):
    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(v) / 255 for v in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ink = re.findall(r"\d+", tab.locator(selector).first.evaluate("e => getComputedStyle(e).color"))[:3]
    ground = re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
    one, other = sorted((luminance(ink), luminance(ground)))
    return (other + 0.05) / (one + 0.05), ground


def test_light_and_dark_follow_the_reader_and_stay_readable(tab):
    grounds = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        for selector in ("body", ".hint", "nav a", "button.cell", "figcaption"):
            contrast, ground = _contrast(tab, selector)
            assert contrast >= 4.5, (scheme, selector)
        grounds.append(ground)
    assert grounds[0] != grounds[1]


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_of_a_narrow_or_a_wide_window(tab, width):
    tab.set_viewport_size({"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_long_name_leaves_room_for_the_numbers_on_a_narrow_screen(tab):
    tab.set_viewport_size({"width": 390, "height": 800})
    head = tab.locator("table.board tbody th", has_text="<script>").first.bounding_box()
    assert head["width"] < 200
    tab.locator("table.board button.cell").first.click(timeout=5000)
    assert tab.locator("dialog[open]").count() == 1


def test_a_wide_table_does_not_squeeze_the_names_of_data_sets(tab):
    tab.set_viewport_size({"width": 700, "height": 800})
    tab.evaluate("document.querySelectorAll('table.board td').forEach(cell => cell.style.minWidth = '30rem')")
    for head in tab.locator("table.board tbody th").all():
        assert head.bounding_box()["width"] > 160


def test_on_paper_there_are_tables_and_figures_and_no_controls(tab, tmp_path):
    tab.emulate_media(media="print")
    assert not tab.locator(".filters").is_visible()
    assert not tab.locator("nav").is_visible()
    assert tab.locator("table.board").first.is_visible()
    assert tab.locator("figure img").first.is_visible()
    tab.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 10_000


def test_figures_have_words_for_those_who_do_not_see_them(tab):
    assert tab.locator("figure img").first.get_attribute("alt") == "AUROC of every seed"
    assert (
        tab.locator("figure img").first.evaluate(
            "e => { e.loading = 'eager'; return e.decode().then(() => e.naturalWidth) }"
        )
        > 100
    )


def test_the_worst_mistakes_are_those_that_most_images_of_the_other_class_outrank(records):
    scores = TestScores(list("abcdef"), [0, 0, 0, 1, 1, 1], ["", "", "", "k", "k", "k"], [1, 2, 9, 0, 5, 10])
    records.add(scores=scores)
    worst = worst_mistakes(load_scores(records.store.root, records.frame()))
    assert list(worst["image"]) == ["d", "c", "a", "b", "e"]
    assert list(worst["share"]) == pytest.approx([1, 2 / 3, 1 / 3, 1 / 3, 1 / 3])


def test_a_perfect_cell_has_no_mistakes(records):
    records.add(scores=TestScores(list("abcd"), [0, 0, 1, 1], ["", "", "k", "k"], [1, 2, 3, 4]))
    assert worst_mistakes(load_scores(records.store.root, records.frame())).empty


def test_cells_without_scores_are_counted_and_still_listed(records):
    for seed in range(3):
        records.add(seed=seed)
    frame = records.frame()
    text = render_page(frame, load_scores(records.store.root, frame.head(1)))
    assert "The scores of 2 further cells are left out" in text
    assert all(key[:16] in text for key in frame["key"])


def test_a_further_record_adds_a_few_hundred_bytes_so_that_100_000_make_a_page(records):
    for seed in range(60):
        records.add("dra", seed=seed)
    frame = records.frame()
    none = load_scores(records.store.root, frame.head(0))
    small, large = (len(render_page(frame.head(count), none)) for count in (20, 60))
    assert (large - small) / 40 < 300


def test_variants_have_a_table_of_their_own(records):
    for seed in range(2):
        records.add("dra", seed=seed)
        records.add("dpdl", seed=seed)
        records.add("dpdl", seed=seed, variant="prototypes=8")
        records.add("dpdl", seed=seed, dataset="aitex")
    frame = records.frame()
    tree = html5lib.HTMLParser(namespaceHTMLElements=False).parse(
        render_page(frame, load_scores(records.store.root, frame.head(0)))
    )
    boards = [table for table in tree.iter("table") if "board" in table.get("class", "")]
    heads = [[head.get("data-method") for head in board.iter("th") if head.get("data-method")] for board in boards]
    assert heads == [["DRA", "DPDL"], ["DPDL", "DPDL prototypes=8"]]
    assert [board.find("caption").text for board in boards][1] == "Preset quick, variants of DPDL"
    assert [len(list(board.find("tbody"))) for board in boards] == [2, 1]
