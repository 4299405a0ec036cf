"""A validation set of ELPV, none of whose images is in a test part: see docs/deviations.md, "Whitened and Evidence".

The benchmark drops the cells whose defect is uncertain. Those with probability 2/3 (106) are the anomalies here, and the
training normals of every ELPV split (1,131) the normals, so that a method can be designed on it and tested on ELPV.

    python docs/elpv_uncertain.py uncertain
    osad-bench run --methods evidence --datasets csv:uncertain/uncertain.csv --setting general,hard --shots 10,1
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path, PurePosixPath

from osad_bench.benchmark.cell.split import split
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.results.record import Protocol

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder", type=Path, help="where the images and uncertain.csv go")
given = parser.parse_args()

dataset = open_dataset("elpv", None)
rows = [(name, 0, "") for name in split(dataset, Protocol()).train_normal]
for line in (dataset.base / "labels.csv").read_text("utf-8").splitlines():
    if line.strip():
        name, probability, kind = line.split()
        if 0.5 < float(probability) < 1:
            rows.append((name, 1, kind))
for name, *_ in rows:
    (given.folder / PurePosixPath(name).parent).mkdir(parents=True, exist_ok=True)
    shutil.copy(dataset.base / name, given.folder / name)
with (given.folder / "uncertain.csv").open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([("path", "label", "kind"), *rows])
print(
    f"{given.folder / 'uncertain.csv'}: {sum(not row[1] for row in rows)} normals, {sum(row[1] for row in rows)} anomalies"
)
