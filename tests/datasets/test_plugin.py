"""The example package is installed as a stranger's would be, its own test passes, and the command line uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dataset-plugin"


@pytest.fixture(autouse=True)
def plugged_in(installed, plug_in) -> None:
    plug_in(installed("dataset-plugin"))


@pytest.fixture
def leaves(tmp_path, draw) -> Path:
    """Data root with a few leaves."""
    for folder, count in (("healthy", 8), ("rust", 3), ("mildew", 3)):
        for index in range(count):
            draw.image(tmp_path / "data" / "Plant-Leaves" / folder / f"{index}.jpg", 40, 40)
    return tmp_path / "data"


def test_its_own_test_passes(capfd):
    assert pytest.main(["-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]) == 0
    assert "1 passed" in capfd.readouterr().out


def test_it_is_listed_verified_and_run_like_a_built_in_one(cli, leaves, monkeypatch):
    monkeypatch.setenv("OSAD_BENCH_DATA", str(leaves))
    listed = json.loads(cli("datasets", "list", "leaves", "--json").stdout)
    assert [(row["name"], row["images"], row["kinds"], row["state"]) for row in listed] == [("leaves", 14, 2, "found")]
    verified = cli("datasets", "verify", "leaves", "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)[0]["sound"]
    done = cli(
        "run", "--methods", "mahalanobis", "--datasets", "leaves", "--shots", 2, "--seeds", 1, "--set", "image_size=64",
        "--out", "out", "--json",
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
