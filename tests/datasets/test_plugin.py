"""The example package is installed as a stranger's would be, its own test passes, and the command line uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dataset-plugin"


def python(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> str:
    """Folder into which the example is installed from a copy, without the network."""
    work = tmp_path_factory.mktemp("plugin")
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "osad_bench_leaves.py", "README.md"):
        (source / name).write_bytes((EXAMPLE / name).read_bytes())
    done = python(
        "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--target", work / "target", source,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(work / "target")


@pytest.fixture
def leaves(tmp_path, draw) -> Path:
    """Data root with a few leaves."""
    for folder, count in (("healthy", 8), ("rust", 3), ("mildew", 3)):
        for index in range(count):
            draw.image(tmp_path / "data" / "Plant-Leaves" / folder / f"{index}.jpg", 40, 40)
    return tmp_path / "data"


def test_its_own_test_passes(installed):
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests", PYTHONPATH=installed)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_it_is_listed_verified_and_run_like_a_built_in_one(installed, leaves, tmp_path):
    def cli(*arguments: object) -> subprocess.CompletedProcess:
        code = "from osad_bench.benchmark.cli import main; main()"
        return python("-c", code, *arguments, PYTHONPATH=installed, OSAD_BENCH_DATA=str(leaves))

    listed = json.loads(cli("datasets", "list", "leaves", "--json").stdout)
    assert [(row["name"], row["images"], row["kinds"], row["state"]) for row in listed] == [("leaves", 14, 2, "found")]
    verified = cli("datasets", "verify", "leaves", "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)[0]["sound"]
    done = cli(
        "run", "--methods", "mahalanobis", "--datasets", "leaves", "--shots", 2, "--seeds", 1, "--set", "image_size=64",
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = (json.loads(line) for line in done.stdout.splitlines())
    assert record["dataset"] == "leaves"
    assert 0 <= record["auroc"] <= 1


def test_the_guide_shows_the_examples_very_code_in_fewer_than_30_lines():
    guide = (EXAMPLE.parents[1] / "docs" / "add-a-dataset.md").read_text("utf-8")
    code = (EXAMPLE / "osad_bench_leaves.py").read_text("utf-8")
    assert f"```python\n{code}```" in guide
    assert len(code.splitlines()) < 30
