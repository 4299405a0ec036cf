"""Options that verbs share: the same names, defaults and texts, by construction."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from osad_bench.benchmark.cli import run as run_
from osad_bench.benchmark.cli import splits, study
from osad_bench.benchmark.cli.options import GridOptions, RunOptions, SplitOptions
from osad_bench.benchmark.grid.run import Options


@pytest.mark.parametrize(
    ("verb", "groups"),
    [
        (study.ablate, (GridOptions, RunOptions)),
        (study.sweep, (GridOptions, RunOptions)),
        (splits.splits, (SplitOptions,)),
    ],
)
def test_run_shares_its_options_with(verb, groups):
    run, other = inspect.signature(run_.run).parameters, inspect.signature(verb).parameters
    names = {field.name for group in groups for field in fields(group)}
    assert len(names) > 10
    assert {name: other[name] for name in names} == {name: run[name] for name in names}


def test_the_command_line_has_the_defaults_of_python():
    assert RunOptions().options() == Options()
    assert {field.name for field in fields(RunOptions)} == {field.name for field in fields(Options)}


def test_the_terminal_alone_breaks_the_lines_of_the_help(cli):
    told = [line.strip() for line in cli("advise", "--help", COLUMNS="1000").stdout.splitlines()]
    assert any(line.startswith("By default") and line.endswith("run the same command again.") for line in told)
    told = [line.strip() for line in cli("store", "compact", "--help", COLUMNS="1000").stdout.splitlines()]
    assert any(line.startswith("Loading") and line.endswith("'osad-bench[parquet]'.") for line in told)
