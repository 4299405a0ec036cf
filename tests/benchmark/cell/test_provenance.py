"""Provenance says how a number was made, and not where somebody's files lie."""

from __future__ import annotations

import pytest

from osad_bench.benchmark.cell.provenance import command


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("--out=/srv/me/lab/store", "--out=store"),
        ("/srv/me/mine.py,dra", "mine.py,dra"),
        ("csv:/a/b.csv,elpv,folder:/c/my photos", "csv:b.csv,elpv,folder:my photos"),
        ("~/a/b.py", "b.py"),
        ("/srv/me/store/", "store/"),
        ("results/store", "results/store"),
        ("../store", "../store"),
        ("dra.seen_share=1/3", "dra.seen_share=1/3"),
        ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786"),
        ("mvtec/bottle", "mvtec/bottle"),
    ],
)
def test_a_recorded_command_names_no_folder_of_the_machine(given: str, recorded: str):
    assert command(["/opt/bin/osad-bench", "run", given]) == f"osad-bench run {recorded}"
