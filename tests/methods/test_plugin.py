"""The example package is installed as a stranger's would be, its own tests pass, and the command line uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from osad_bench.methods.checks import check_method
from tests.conftest import code_blocks

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "method-plugin"


@pytest.fixture
def plugged_in(installed, plug_in) -> None:
    plug_in(installed("method-plugin"))


def test_its_own_tests_pass(plugged_in, capfd):
    assert pytest.main(["-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]) == 0
    assert "2 passed" in capfd.readouterr().out


def test_it_is_listed_shown_and_run_like_a_built_in_one(plugged_in, cli):
    listed = {row["name"]: row["from"] for row in json.loads(cli("methods", "list", "--json").stdout)}
    assert listed["logistic"] == "osad-bench-logistic"
    shown = cli("methods", "show", "logistic").stdout
    assert "Cox" in shown
    assert "exp(-(w' x + b))" in shown
    done = cli(
        "run", "--methods", "logistic", "--datasets", "textures", "--shots", 10, "--seeds", 1, "--set", "image_size=64",
        "--set", "logistic.C=0.1", "--out", "out", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    aurocs = {row["method"]: row["auroc"] for row in map(json.loads, done.stdout.splitlines())}
    assert aurocs["logistic"] > 0.9


def test_the_guide_is_short_and_its_method_meets_the_contract():
    guide = (ROOT / "docs" / "add-a-method.md").read_text("utf-8")
    assert len(guide.splitlines()) < 45
    (code,) = code_blocks(ROOT / "docs" / "add-a-method.md", "python")
    namespace: dict = {}
    exec(compile(code, "add-a-method.md", "exec"), namespace)
    check_method(namespace["Pooled"])
