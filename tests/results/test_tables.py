"""Tables in every form: what they say, and that the form is sound (a real TeX, a real HTML parser)."""

from __future__ import annotations

import re
import shutil
import subprocess

import html5lib
import pytest
from rich.console import Console

from osad_bench.results.latex import LATEX_PREAMBLE, escape_latex, frame_to_latex, to_latex
from osad_bench.results.paper import paper_table
from osad_bench.results.render import print_summary, print_tables, to_csv, to_html, to_markdown
from osad_bench.results.tables import ablation_table, tables

HOSTILE = "50%_a&b #1 ~x^2 {y} $5 \\z <script>alert(1)</script> |é| 数"
LETTERS = (
    "[new] e\u0301 a\u0323\u0308",
    "* ß Ω λ x² ① ≤∑",
    "表面 – “缺陷”",
    "``''--,,?`!`<<",
    "ÀÿŁőħ Жы ‮x\n\x1b[2J",
    "[",
)


@pytest.fixture
def paper(records):
    """Three methods on two data sets, both settings, both shots, three seeds; one cell failed, one missing."""
    for seed in range(3):
        for shots in (10, 1):
            for place, method in enumerate(("dra", "dpdl", "devnet")):
                for dataset in ("elpv", "mvtec/carpet", "mvtec/leather"):
                    records.add(method, separation=1 + place, seed=seed, shots=shots, dataset=dataset)
                    if (method, dataset) == ("devnet", "mvtec/carpet"):
                        continue
                    for kind in ("mono", "poly"):
                        lost = (method, dataset, seed, kind) == ("dra", "elpv", 1, "poly")
                        records.add(
                            method, separation=1 + place, seed=seed, shots=shots, dataset=dataset,
                            setting="hard", known_kind=kind, error="boom" if lost else None,
                        )  # fmt: skip
    return records


def test_table_1_has_the_papers_form(paper):
    (table,) = paper_table(paper.frame(), 1)
    assert table.columns == ("DevNet", "DRA", "DPDL")
    assert [block.title for block in table.blocks] == [
        "general setting, ten known anomalies (M = 10)",
        "general setting, one known anomaly (M = 1)",
    ]
    assert [name for name, _ in table.blocks[0].rows] == ["MVTec AD (mean of 2 classes)", "ELPV"]


def test_table_2_shows_carpet_alone_with_means_over_kinds_and_marks_gaps(paper):
    (table,) = paper_table(paper.frame(), 2)
    rows = dict(table.blocks[0].rows)
    assert list(rows) == ["MVTec AD carpet (mean of 2 kinds)", "ELPV (mean of 2 kinds)"]
    devnet, dra, _ = rows["MVTec AD carpet (mean of 2 kinds)"]
    assert devnet.text() == "–"
    assert dra.rank == 2
    partial = rows["ELPV (mean of 2 kinds)"][1]
    assert partial.text().endswith("(n=2/3)")
    assert partial.rank is None


def test_table_3_names_the_ablations_and_puts_the_complete_method_last(records):
    for seed in range(3):
        records.add("dpdl", separation=3.0, seed=seed)
        records.add("dpdl", separation=2.0, seed=seed, variant="residual=False")
        records.add("dpdl", separation=2.5, seed=seed, variant="prototypes=16")
    records.store.name_ablations("dpdl", {"without M_r": "residual=False"})
    (table,) = paper_table(records.frame(), 3)
    assert [name for name, _ in table.blocks[0].rows] == ["without M_r", "complete"]
    assert table.columns == ("ELPV",)


def test_tables_1_and_2_leave_variants_out_where_the_method_itself_is_there(records):
    records.add("dpdl")
    records.add("dpdl", variant="prototypes=16")
    records.add("dra", variant="references=3")
    (table,) = paper_table(records.frame(), 1)
    assert set(table.columns) == {"DPDL", "DRA references=3"}
    assert "1 variants of methods are left out (a report without --table shows them)." in table.notes


def test_variants_have_a_table_of_their_own_and_take_no_rank_from_the_methods(records):
    for seed in range(2):
        records.add("dra", separation=1.0, seed=seed)
        records.add("dpdl", separation=2.0, seed=seed)
        records.add("dpdl", separation=4.0, seed=seed, variant="prototypes=8")
        records.add("ahl", separation=1.5, seed=seed, variant="base=devnet")
    methods, variants = tables(records.frame())
    ranks = dict(zip(methods.columns, (entry.rank for entry in methods.blocks[0].rows[0][1])))
    assert ranks == {"DPDL": 1, "AHL base=devnet": 2, "DRA": 3}
    assert variants.title.startswith("Variants: DPDL, AUROC")
    assert [name for name, _ in variants.blocks[0].rows] == ["prototypes=8", "default"]
    lines = {line.split(",")[4]: line.split(",")[-3] for line in to_csv(records.frame()).splitlines()[1:]}
    assert lines == {"dpdl": "1.0", "ahl base=devnet": "2.0", "dra": "3.0", "dpdl prototypes=8": ""}


def test_variants_that_nobody_named_are_rows_by_their_settings(records):
    records.add("dra", seed=0)
    records.add("dra", seed=0, variant="references=3")
    (table,) = ablation_table(records.frame(), "dra")
    assert [name for name, _ in table.blocks[0].rows] == ["references=3", "complete"]


def test_variants_stand_in_the_order_of_their_numbers(records):
    for value in ("64", "8", "16", "1e-05", "0.001"):
        records.add("dpdl", variant=f"prototypes={value}", config={"prototypes": value})
    records.add("dpdl")
    (table,) = ablation_table(records.frame(), "dpdl")
    found = [name for name, _ in table.blocks[0].rows]
    assert found == [*(f"prototypes={value}" for value in ("1e-05", "0.001", "8", "16", "64")), "complete"]


def test_a_table_number_that_the_paper_lacks_is_refused(records):
    records.add()
    with pytest.raises(ValueError, match="tables 1, 2 and 3, not 4"):
        paper_table(records.frame(), 4)


def test_a_table_is_also_a_frame_of_texts(paper):
    (table,) = paper_table(paper.frame(), 1)
    frame = table.frame()
    assert frame.loc[(table.blocks[0].title, "ELPV"), "DPDL"] == dict(table.blocks[0].rows)["ELPV"][2].text()
    assert len(frame) == 4


def test_markdown_marks_best_and_second_and_escapes(records):
    records.add("dra", separation=1.0, dataset="a|b*c")
    records.add("dpdl", separation=3.0, dataset="a|b*c")
    text = to_markdown(tables(records.frame()))
    assert re.search(r"\| a\\\|b\\\*c \| <u>[\d.]+ \(n=1\)</u> \| \*\*[\d.]+ \(n=1\)\*\* \|", text) or re.search(
        r"\| a\\\|b\\\*c \| \*\*[\d.]+ \(n=1\)\*\* \| <u>[\d.]+ \(n=1\)</u> \|", text
    )


def test_html_marks_best_and_second_and_survives_a_hostile_name(records):
    records.add("dra", separation=1.0, dataset=HOSTILE)
    records.add("dpdl", separation=3.0, dataset=HOSTILE)
    text = to_html(tables(records.frame()))
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parseFragment(text)
    assert tree.findall(".//script") == []
    assert [len(tree.findall(f".//tbody//{mark}")) for mark in "bu"] == [1, 1]
    assert any(HOSTILE in "".join(cell.itertext()) for cell in tree.iter("th"))


def test_csv_has_full_precision(records):
    record = records.add("dra", seed=4)
    assert repr(record.metrics.auroc) in to_csv(records.frame())


def test_latex_compiles_with_hostile_names_and_wide_tables(records, paper, tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex here; Debian: apt-get install texlive-latex-base texlive-latex-recommended")
    for place in range(12):
        records.add(f"method_{place}&%", dataset=HOSTILE, separation=place / 5)
    for place, name in enumerate(LETTERS):
        records.add(f"{name} method", dataset=name, separation=place / 5)
    frame = records.frame()
    shown = [*tables(frame), *paper_table(frame, 1), *paper_table(frame, 2)]
    body = to_latex(shown) + frame_to_latex(frame[["dataset", "method", "auroc"]].head(90), HOSTILE)
    body += frame_to_latex(frame[["dataset", "method", "auroc", "preset", "setting", "shots", "key"]].tail(20), "wide")
    document = f"\\documentclass{{article}}\n{LATEX_PREAMBLE}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "report.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"],
        cwd=tmp_path, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    log = done.stdout.decode("latin-1")
    assert done.returncode == 0, log[-2000:]
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
    assert not re.search(r"Overfull \\hbox", log), re.findall(r"Overfull \\hbox.*", log)


def test_two_hyphens_stay_two_hyphens_in_latex():
    assert escape_latex("run --dedup ---x – y") == "run -{}-dedup -{}-{}-x -- y"


def test_best_is_red_and_second_best_blue_in_latex(records):
    records.add("dra", separation=1.0)
    records.add("dpdl", separation=3.0)
    text = to_latex(tables(records.frame()))
    assert text.count(r"\textcolor{red}") == 1
    assert text.count(r"\textcolor{blue}") == 1


@pytest.mark.parametrize("width", [60, 100])
def test_a_terminal_never_cuts_a_name_short(records, width, capsys):
    long = "a_data_set_with_a_long_name/and_a_class"
    for place in range(6):
        records.add(f"method_number_{place}", dataset=long, separation=place)
    print_tables(tables(records.frame()), Console(width=width, force_terminal=True, color_system=None))
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= width
    for place in range(6):
        assert f"method_number_{place}" in out
    column = "".join(re.findall(r"^ +([\w/]+)", out, flags=re.MULTILINE))
    assert long in column


def test_where_there_is_no_terminal_lines_are_whole(records, capsys):
    for place in range(6):
        records.add(f"method_number_{place}", dataset="a_data_set_with_a_long_name/and_a_class", separation=place)
    print_summary(records.frame(), Console(width=25))
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "a_data_set_with_a_long_name/and_a_class" in line]
    assert line.count("(n=1)") == 6
    assert "general setting, ten known anomalies (M = 10)" in out
