"""The example workflow does what its README says, with the commands that it holds."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

GATE = Path(__file__).resolve().parents[1] / "examples" / "gate"


@pytest.fixture
def commands() -> list[list[str]]:
    """The workflow's calls of osad-bench, in order."""
    steps = yaml.safe_load((GATE / "workflow.yml").read_text("utf-8"))["jobs"]["gate"]["steps"]
    return [shlex.split(step["run"])[1:] for step in steps if step.get("run", "").startswith("osad-bench ")]


def test_the_gates_commands_pass_an_unchanged_method_and_leave_what_the_workflow_uploads(cli, commands, tmp_path: Path):
    grid = (GATE / "gate.toml").read_text("utf-8")
    (tmp_path / "gate.toml").write_text(grid.replace('["elpv"]', '["textures"]').replace('epochs" = 8', 'epochs" = 1'))
    run, check, report = commands
    assert (run[0], check[0], report[0]) == ("run", "check", "report")
    assert cli(*run).returncode == 0
    (tmp_path / "baseline.json").write_text(cli("baseline", "gate-store").stdout)
    done = cli(*check)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cli(*report).returncode == 0
    assert "DevNet" in (tmp_path / "gate-report" / "report.md").read_text("utf-8")
    assert "<testsuite" in (tmp_path / "gate-junit.xml").read_text("utf-8")
