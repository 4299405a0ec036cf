"""The example package is installed as a stranger's would be, its own tests pass, and the command line uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from osad_bench.methods.checks import check_method

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "method-plugin"


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
    for name in ("pyproject.toml", "osad_bench_logistic.py", "README.md"):
        (source / name).write_bytes((EXAMPLE / name).read_bytes())
    done = python(
        "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--target", work / "target", source,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(work / "target")


def test_its_own_tests_pass(installed):
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests", PYTHONPATH=installed)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_it_is_listed_shown_and_run_like_a_built_in_one(installed, tmp_path):
    def cli(*arguments: object) -> subprocess.CompletedProcess:
        code = "from osad_bench.benchmark.cli import main; main()"
        return python("-c", code, *arguments, PYTHONPATH=installed)

    listed = {row["name"]: row["from"] for row in json.loads(cli("methods", "list", "--json").stdout)}
    assert listed["logistic"] == "osad-bench-logistic"
    shown = cli("methods", "show", "logistic").stdout
    assert "Cox" in shown
    assert "exp(-(w' x + b))" in shown
    done = cli(
        "run", "--methods", "logistic", "--datasets", "textures", "--shots", 10, "--seeds", 1, "--set", "image_size=64",
        "--set", "logistic.C=0.1", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    aurocs = {row["method"]: row["auroc"] for row in map(json.loads, done.stdout.splitlines())}
    assert aurocs["logistic"] > 0.9


def test_the_guide_is_short_and_its_method_meets_the_contract():
    guide = (ROOT / "docs" / "add-a-method.md").read_text("utf-8")
    assert len(guide.splitlines()) < 40
    code = guide.split("```python\n")[1].split("```")[0]
    namespace: dict = {}
    exec(compile(code, "add-a-method.md", "exec"), namespace)
    check_method(namespace["Pooled"])
