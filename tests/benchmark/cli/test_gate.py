"""`osad-bench baseline` and `check` as a CI job runs them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from osad_bench.results.record import TestScores

_spec = importlib.util.spec_from_file_location(
    "results_conftest", Path(__file__).parents[2] / "results" / "conftest.py"
)
factory = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(factory)


def store(root: Path, broken: bool = False) -> Path:
    records = factory.Records(root)
    for seed in range(5):
        scores = factory.draw_scores(2.0, seed)
        if broken:
            values = np.where(scores.kinds == "poly", -scores.scores, scores.scores)
            scores = TestScores(scores.ids, scores.labels, scores.kinds, values)
        records.add("dra", seed=seed, scores=scores)
    return root


@pytest.fixture
def baseline(cli, tmp_path):
    done = cli("baseline", store(tmp_path / "good"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "baseline.json").write_text(done.stdout)
    return tmp_path / "baseline.json"


def test_an_unchanged_store_passes_with_exit_code_0(cli, tmp_path, baseline):
    done = cli("check", tmp_path / "good", "--against", baseline)
    assert done.returncode == 0
    assert done.stdout.startswith("same: dra on elpv, general setting, M = 10, preset quick: AUROC stays")
    assert done.stderr == "passed: 1 rows, none worse\n"


def test_a_broken_one_fails_with_exit_code_1_in_every_form(cli, tmp_path, baseline):
    broken = store(tmp_path / "broken", broken=True)
    done = cli("check", broken, "--against", baseline, "--junit", "out/junit.xml", "--github")
    assert done.returncode == 1
    assert "FELL: dra on elpv" in done.stdout
    assert "::error title=osad-bench%3A fell::dra on elpv" in done.stdout
    assert "fell: AUROC on kind poly fell" in (tmp_path / "out" / "junit.xml").read_text()
    assert done.stderr == "failed: 1 of 1 rows\n"


def test_findings_as_json_lines(cli, tmp_path, baseline):
    done = cli("check", tmp_path / "good", "--against", baseline, "--json")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["status"], line["bad"], line["now"]) == ("same", False, line["before"])


def test_bad_input_exits_with_2_and_one_line(cli, tmp_path, baseline):
    for arguments, message in [
        (("check", tmp_path / "nowhere", "--against", baseline), "no records in"),
        (("check", tmp_path / "good", "--against", tmp_path / "nothing.json"), "cannot read the baseline"),
        (("baseline", tmp_path / "nowhere"), "no records in"),
    ]:
        done = cli(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
