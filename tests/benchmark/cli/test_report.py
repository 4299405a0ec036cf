"""`osad-bench report` and `merge`: every form, in words, as a page, without torch."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from osad_bench.results.store import load

_spec = importlib.util.spec_from_file_location(
    "results_conftest", Path(__file__).parents[2] / "results" / "conftest.py"
)
factory = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(factory)


@pytest.fixture
def records(tmp_path):
    records = factory.Records(tmp_path / "store")
    for seed in range(3):
        records.add("dra", seed=seed)
        records.add("dpdl", separation=3.0, seed=seed)
        for kind in ("mono", "poly"):
            records.add("dra", seed=seed, setting="hard", known_kind=kind, shots=1)
    return records


@pytest.fixture
def report(cli):
    """Report a store, which must succeed."""

    def run(records, *arguments):
        done = cli("report", records.store.root, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_report_prints_the_table_and_its_meaning_and_writes_the_files(report, records):
    done = report(records)
    assert "DPDL" in done.stdout
    assert "DPDL is better than DRA by 0." in done.stdout
    root = records.store.root
    for name in (
        "report.md",
        "report.tex",
        "report.csv",
        "report-differences.csv",
        "figures/seeds.pdf",
        "figures/roc.png",
    ):
        assert (root / name).stat().st_size > 100, name
    assert "### In words" in (root / "report.md").read_text("utf-8")
    assert not (root / "report.html").exists()


def test_a_small_store_is_reported_without_progress_and_a_slow_one_names_its_steps(
    report, records, tmp_path, monkeypatch
):
    """And Tables 1 and 2 have the same tests with and without a page."""
    for seed in range(3):
        records.add("dpdl", seed=seed, variant="a=1")
    options = ["--table", "all", "--format", "csv", "--no-figures"]
    monkeypatch.setattr("osad_bench.benchmark.cli.bars.QUIET", 1e9)
    assert "reading" not in report(records, *options, "--out", tmp_path / "without").stderr
    monkeypatch.setattr("osad_bench.benchmark.cli.bars.QUIET", 0.0)
    monkeypatch.setattr("osad_bench.benchmark.cli.bars.EVERY", 0.0)
    said = report(records, *options, "--out", tmp_path / "with", "--html", tmp_path / "page.html").stderr.splitlines()
    for line in (
        "reading records: 15/15",
        "testing differences, cells: 15/15",
        "reading scores: 15/15",
    ):
        assert line in said
    assert any(re.fullmatch(r"drawing figures: (\d+)/\1", line) for line in said)
    assert said.count("testing differences, cells: 15/15") == 1  # once for Tables 1 and 2 and the page
    for table in ("table1", "table2"):
        texts = [(tmp_path / name / f"{table}-differences.csv").read_text("utf-8") for name in ("with", "without")]
        assert texts[0] == texts[1]
    assert "DPDL,DRA" in (tmp_path / "with" / "table1-differences.csv").read_text("utf-8")


def test_out_leaves_the_store_alone(report, records, tmp_path):
    before = sorted(records.store.root.rglob("*"))
    report(records, "--out", tmp_path / "paper", "--format", "html", "--no-figures")
    assert [path.name for path in (tmp_path / "paper").iterdir()] == ["report.html"]
    assert sorted(records.store.root.rglob("*")) == before


def test_the_papers_tables_come_in_their_form(report, records, tmp_path):
    done = report(records, "--table", "all", "--format", "md,tex", "--out", tmp_path, "--no-figures", "--no-statistics")
    assert "Table 1 of the DPDL paper, rerun" in done.stdout
    assert "ELPV (mean of 2 kinds)" in (tmp_path / "table2.md").read_text("utf-8")
    assert r"\textcolor{red}" in (tmp_path / "table1.tex").read_text("utf-8")
    assert not (tmp_path / "table3.md").exists()
    assert "no records for table3: osad-bench ablate dpdl" in done.stderr


def test_each_of_the_papers_tables_brings_its_own_records_words_and_comparison(report, records, tmp_path):
    report(records, "--table", "all", "--compare", "published", "--out", tmp_path, "--no-figures")
    general, hard = ((tmp_path / f"table{number}.csv").read_text("utf-8") for number in (1, 2))
    assert ",general," in general
    assert ",hard," not in general
    assert ",general," not in hard
    assert "hard setting" not in (tmp_path / "table1.md").read_text("utf-8")
    assert "DPDL is better than DRA" in (tmp_path / "table1.md").read_text("utf-8")
    beside = pd.read_csv(tmp_path / "table2-published.csv")
    assert set(beside["setting"]) == {"hard"}


def test_published_numbers_stand_beside_ours(report, records, tmp_path):
    done = report(records, "--compare", "published", "--out", tmp_path, "--no-figures", "--no-statistics")
    (line,) = [line for line in done.stdout.splitlines() if "0.937±0.003" in line]
    assert "DPDL paper, Table 1" in line
    assert "own paper" in line
    assert "0.845±0.013" in (tmp_path / "report.md").read_text("utf-8")
    assert "DRA paper (CVPR 2022), Table 1" in (tmp_path / "report-published.csv").read_text("utf-8")


def test_tests_and_comparisons_are_tex_files_of_their_own(report, records, tmp_path):
    report(records, "--compare", "published", "--format", "tex", "--out", tmp_path, "--no-figures")
    assert {path.name for path in tmp_path.glob("*.tex")} == {
        "report.tex", "report-differences.tex", "report-published.tex", "report-operating-points.tex"
    }  # fmt: skip
    assert "longtable}{" not in (tmp_path / "report.tex").read_text("utf-8")
    assert "own" in (tmp_path / "report-published.tex").read_text("utf-8")


def test_options_choose_methods_data_sets_setting_and_shots(report, records, tmp_path):
    records.add("dra", dataset="mvtec/carpet")
    records.add("dra", dataset="mvtec/tile")
    records.add("dra", dataset="mvtec2/tile")
    options = ["--no-figures", "--no-statistics", "--out", tmp_path]
    report(records, "--datasets", "mvtec", *options)
    text = (tmp_path / "report.csv").read_text("utf-8")
    assert {line.split(",")[1] for line in text.splitlines()[1:]} == {"mvtec", "mvtec/carpet", "mvtec/tile"}
    report(records, "--methods", "dra", "--setting", "hard", "--shots", "1", *options)
    text = (tmp_path / "report.csv").read_text("utf-8")
    assert {tuple(line.split(",")[1:5]) for line in text.splitlines()[1:]} == {("elpv", "hard", "1", "dra")}


def test_a_store_with_many_cells_still_gets_its_ranks_in_words(report, records, tmp_path, monkeypatch):
    monkeypatch.setattr("osad_bench.results.report.MANY", 3)
    for dataset in ("aitex", "sdd"):
        for method in ("dra", "dpdl"):
            records.add(method, dataset=dataset)
    done = report(records, "--out", tmp_path)
    assert "over 3 data sets: average ranks" in done.stdout
    assert "only with --statistics and --figures" in done.stderr
    assert not (tmp_path / "report-differences.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "dra,ahl"], "--methods ahl: no such records; the records have dpdl, dra"),
        (["--table", "4"], "--table 4: expected one of 1, 2, 3, all"),
        (["--format", "md,docx"], "--format docx: expected one of md, tex, csv, html"),
        (["--metric", "f1"], "--metric f1: expected one of auroc"),
        (["--compare", "theirs"], "--compare theirs: expected published"),
        (["--table", "1", "--metric", "fpr95"], "--table 1 shows AUROC"),
        (["--images", "folder:here", "--no-pictures"], "--images names pictures that --no-pictures leaves out"),
    ],
)
def test_wrong_options_are_one_line_with_what_is_possible(cli, records, arguments, message):
    done = cli("report", records.store.root, *arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_a_folder_without_records_is_a_one_line_error(cli, tmp_path):
    done = cli("report", tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "no records" in line


def test_report_with_everything_does_not_import_torch(tmp_path):
    records = factory.Records(tmp_path / "store")
    records.add("dra")
    records.add("dpdl", separation=3.0)
    program = (
        "import sys; from pathlib import Path; from osad_bench.benchmark.cli.report import report;"
        f"report(Path({str(records.store.root)!r}), table='all', formats='md,tex,csv,html', compare='published',"
        f" html=Path({str(tmp_path / 'page.html')!r}), statistics=True);"
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]")
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_the_page_has_pictures_of_the_mistakes_where_the_images_are_here(report, cli, photos, tmp_path):
    source = f"folder:{photos}"
    ran = cli("run", "--methods", "mahalanobis", "--datasets", source, "--seeds", "1", "--shots", "2",
              "--set", "image_size=64", "--out", "out")  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    # Mistakes to show: the same record with its scores negated.
    records = factory.Records(tmp_path / "out")
    (key,) = records.store.keys()
    scores = records.store.scores(key)
    records.store.put(records.store.get(key), type(scores)(scores.ids, scores.labels, scores.kinds, -scores.scores))
    page = tmp_path / "page.html"
    report(records, "--html", page, "--images", source, "--no-figures", "--out", tmp_path / "report")
    assert page.read_text("utf-8").count("data:image/jpeg;base64,") == 10
    published = report(records, "--html", page, "--no-pictures", "--no-figures", "--out", tmp_path / "report")
    assert "data:image/jpeg" not in page.read_text("utf-8")
    assert "no pictures of" not in published.stderr
    photos.rename(tmp_path / "elsewhere")
    without = report(records, "--html", page, "--no-figures", "--out", tmp_path / "report")
    assert "data:image/jpeg" not in page.read_text("utf-8")
    assert "no pictures of" in without.stderr


def test_citations_and_titles_come_from_the_records(report, tmp_path):
    records = factory.Records(tmp_path / "store")
    records.add(
        "repel", method_title="Repel & Co", citation="A. Uthor, Repel, 2026", dataset="parts", dataset_title="My parts"
    )
    page = tmp_path / "page.html"
    report(records, "--html", page, "--out", tmp_path, "--format", "md,tex,csv", "--no-figures")
    assert "Repel &amp; Co: A. Uthor, Repel, 2026" in page.read_text("utf-8")
    for name in ("report.md", "report.tex", "report.csv"):
        text = (tmp_path / name).read_text("utf-8")
        assert "Repel" in text
        assert "My parts" in text


def test_merge_takes_a_submission_as_it_takes_a_folder(cli, tmp_path):
    records = factory.Records(tmp_path / "a")
    records.add("dra", seed=0)
    factory.Records(tmp_path / "b").add("dra", seed=1)
    cli("submit", "a", "--out", "a.osad.zip")
    assert cli("merge", "a.osad.zip", "b", "--into", "all").returncode == 0
    assert sorted(load(tmp_path / "all").seed) == [0, 1]
    (tmp_path / "a.osad.zip").write_bytes(b"PK")
    done = cli("merge", "a.osad.zip", "--into", "other")
    assert done.returncode == 2
    assert "a.osad.zip is no submission" in done.stderr


def test_merge_reports_conflicts_and_exits_with_1(cli, tmp_path):
    for name, separation in (("a", 1.0), ("b", 2.0)):
        factory.Records(tmp_path / name).add("dra", separation=separation)
    done = cli("merge", "a", "b", "--into", "all")
    assert done.returncode == 1
    assert "conflict: dra on elpv, general, M = 10, seed 0: AUROC" in done.stdout
    assert len(load(tmp_path / "all")) == 1
