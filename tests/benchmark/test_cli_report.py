import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from osad_bench.benchmark.cli.report import report
from osad_bench.results.store import StoreError

_spec = importlib.util.spec_from_file_location(
    "results_conftest", Path(__file__).parents[1] / "results" / "conftest.py"
)
factory = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(factory)

app = typer.Typer()
app.command("report")(report)


@pytest.fixture
def records(tmp_path):
    records = factory.Records(tmp_path / "store")
    for seed in range(3):
        records.add("dra", seed=seed)
        records.add("dpdl", separation=3.0, seed=seed)
    return records


def test_report_prints_the_table_and_writes_four_files(records):
    result = CliRunner().invoke(app, [str(records.store.root)])
    assert result.exit_code == 0, result.output
    assert "dpdl" in result.stdout
    for name in ("report.md", "report.tex", "report.csv", "report.png"):
        assert (records.store.root / name).stat().st_size > 100


def test_out_leaves_the_store_alone(records, tmp_path):
    assert CliRunner().invoke(app, [str(records.store.root), "--out", str(tmp_path / "paper")]).exit_code == 0
    assert (tmp_path / "paper" / "report.md").exists()
    assert not (records.store.root / "report.md").exists()


def test_a_folder_without_records_is_a_one_line_error(tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(result.exception, StoreError)
    assert "no records" in str(result.exception)


def test_report_does_not_import_torch(records):
    program = (
        "import sys; from pathlib import Path; from osad_bench.benchmark.cli.report import report;"
        f"report(Path({str(records.store.root)!r}));"
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]")
