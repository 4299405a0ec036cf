"""The program with which a reviewer checks a claim agrees with the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from osad_bench.results.paired import differences
from osad_bench.results.scores import load_scores


@pytest.mark.parametrize(("seeds", "setting"), [(3, "general"), (1, "general"), (2, "hard")])
def test_forty_lines_of_numpy_find_the_means_and_the_p_value_of_the_report(run_script, records, seeds, setting):
    aucs = {"dra": [], "dpdl": []}
    for seed in range(seeds):
        for kind in ("mono", "poly") if setting == "hard" else (None,):
            for method, separation in (("dra", 1.6), ("dpdl", 2.1)):
                record = records.add(method, separation=separation, seed=seed, setting=setting, known_kind=kind)
                aucs[method].append(record.metrics.auroc)
    frame = records.frame()
    (line,) = differences(frame, load_scores(records.store.root, frame)).to_dict("records")
    program = Path(__file__).parents[2] / "docs" / "check_a_claim.py"
    text = program.read_text("utf-8")
    assert text.count("\n") <= 40
    assert {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))} == {
        "json", "sys", "pathlib", "numpy", "sklearn",
    }  # fmt: skip
    for method in aucs:  # another row of the table, which the program must not mix with this one
        records.add(method, separation=3.0, options={"mislabelled": 0.2}, setting=setting, known_kind=kind)
    printed = run_script(program, records.store.root, "dpdl", "dra", "elpv", setting)
    p = float(re.search(r"p = (\S+)", printed).group(1))
    assert p == pytest.approx(line["p"], rel=0.06)
    assert f"difference {line['difference']:+.3f}" in printed
    for method, values in aucs.items():
        assert f"{method} {sum(values) / len(values):.3f}" in printed
