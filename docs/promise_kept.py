"""Does a fitted model keep its promise, and the advice hold, on photographs that were kept away? KolektorSDD as a user has it.

The download's photographs are laid out as one folder and a CSV file; every fifth lies on its side or its head, as its EXIF
orientation says, and every fifth is HEIC (where pillow-heif is installed). The items kos26 and kos34 repeat others and are
left out. In each draw 12 defects are known and 100 normals and the other defects are kept away; each method is fitted with
the benchmark's own code, and what was kept away is scored by the model. See docs/photos-to-a-decision.md.

    python docs/promise_kept.py DOWNLOAD --photos FOLDER [--draws 20] [--advice 5] [--methods evidence,whitened]
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import betabinom
from sklearn.metrics import roc_auc_score
from tabulate import tabulate

from osad_bench.benchmark.cell.execute import dataset_of
from osad_bench.benchmark.cell.split import Split
from osad_bench.benchmark.decide.advise import advise
from osad_bench.benchmark.decide.conformal import p_values
from osad_bench.benchmark.decide.fit import fit_cell, to_hold_out
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.grid.plan import plan, read_grid
from osad_bench.benchmark.grid.run import Options
from osad_bench.results.record import Protocol

KNOWN, KEPT_AWAY, PROMISES = 12, 100, (0.01, 0.05)
METHODS = ["mahalanobis", "patchcore", "whitened", "evidence"]
TURNED = {1: (6, Image.Transpose.ROTATE_90), 2: (3, Image.Transpose.ROTATE_180)}
"""Orientation by number of the photograph, and how its pixels are turned for it."""


def lay_out(download: Path, folder: Path) -> list[tuple[str, int]]:
    """Copy the photographs as a user has them; returns (name, label) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    heic = find_spec("pillow_heif") is not None
    if heic:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    rows = []
    for number, path in enumerate(sorted(download.glob("kos*/Part*.jpg"))):
        if path.parent.name in ("kos26", "kos34"):
            continue
        mask = np.asarray(Image.open(path.with_name(f"{path.stem}_label.bmp")))
        turn = TURNED.get(number % 10)
        name = f"{path.parent.name}-{path.stem}{'.heic' if heic and number % 5 == 3 else '.jpg'}"
        rows.append((name, int(mask.any())))
        if (folder / name).exists():
            continue
        if turn:
            exif = Image.Exif()
            exif[0x0112] = turn[0]
            Image.open(path).transpose(turn[1]).save(folder / name, quality=95, exif=exif)
        elif name.endswith(".heic"):
            Image.open(path).convert("RGB").save(folder / name, quality=90)
        else:
            shutil.copy(path, folder / name)
    return rows


def listed(folder: Path, name: str, rows: list[tuple[str, int]]) -> str:
    """A CSV file of some photographs, as a data set's name."""
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "kind"), *((path, label, "") for path, label in rows)])
    return f"csv:{folder / name}"


def draw(rows: list[tuple[str, int]], seed: int) -> tuple[set[str], set[str]]:
    """Known defects, and normals that are kept away: any, or those of whole items."""
    random = np.random.default_rng([seed, 1])
    normals, defects = ([name for name, label in rows if label == wanted] for wanted in (0, 1))
    known, mixed = random.choice(defects, KNOWN, replace=False), random.permutation(normals)
    if given.whole_items:
        items = {item: number for number, item in enumerate(random.permutation(sorted({item_of(n) for n in normals})))}
        mixed = sorted(mixed, key=lambda name: items[item_of(name)])
        last = item_of(mixed[KEPT_AWAY - 1])
        return set(known), {name for name in mixed if items[item_of(name)] <= items[last]}
    return set(known), set(mixed[:KEPT_AWAY])


def item_of(name: str) -> str:
    """The item that a photograph shows, such as ``kos07``."""
    return name.partition("-")[0]


def chance(alarms: int, held_out: int, away: list[int], promise: float) -> float:
    """Probability of at least so many false alarms in all draws, if the promise holds exactly and no scores are tied.

    In a draw, with k = floor(promise (n + 1)), their number is that of m normals above the k-th highest of n others:
    beta-binomial, exactly. Draws are independent given the photographs.
    """
    k = int(promise * (held_out + 1) + 1e-9)
    total = np.ones(1)
    for count in away:
        total = np.convolve(total, betabinom(count, k, held_out + 1 - k).pmf(np.arange(count + 1)))
    return float(total[alarms:].sum())


def parts_of(rows: list[tuple[str, int]], seed: int) -> Split:
    """What `fit` makes of the photographs that were not kept away: fitted to, and held out for the threshold."""
    known, away = draw(rows, seed)
    normals = (
        np.random.default_rng([seed, 2]).permutation([n for n, label in rows if not label and n not in away]).tolist()
    )
    held = to_hold_out(len(normals))
    return Split(tuple(sorted(normals[held:])), tuple(sorted(known)), tuple(sorted(normals[:held])), ())


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("download", type=Path)
parser.add_argument("--photos", type=Path, required=True, help="where the photographs are laid out")
parser.add_argument("--draws", type=int, default=20)
parser.add_argument("--advice", type=int, default=5, help="draws for which advice is asked, of floors and closed forms")
parser.add_argument("--whole-items", action="store_true", help="keep whole items away, up to 8 photographs of each")
parser.add_argument("--methods", default=",".join(METHODS))
parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as image_size=64")
given = parser.parse_args()

methods = given.methods.split(",")
rows = lay_out(given.download, given.photos)
data, options = listed(given.photos, "all.csv", rows), Options()
machine, dataset = options.machine(), dataset_of(data, None)
request = {"set": {name: [float(v) if "." in v else int(v) if v.isdigit() else v] for name, _, v in
                   (one.partition("=") for one in given.set)}}  # fmt: skip
grid = read_grid(None, {"methods": methods, "datasets": [data], "seeds": given.draws, "floor": None} | request)
cells = plan(grid, machine, lambda g, _: [(Protocol(shots=KNOWN, seed=s), parts_of(rows, s)) for s in g.seeds])
row_of, label_of = {sample.id: row for row, sample in enumerate(dataset.samples)}, dict(rows)
found: dict[str, list[list[float]]] = {}
alarms: dict[tuple[str, float], int] = {}
away_in: dict[int, int] = {}
recall_of: dict[tuple[str, int, float], float] = {}
for planned in cells:
    model = fit_cell(planned, machine)
    preset, seed, method = model.about.preset, planned.cell.protocol.seed, planned.cell.method
    names = sorted(set(label_of) - set(sum(planned.division.parts().values(), ())))
    features = FeatureCache(machine.cache).rows(dataset, preset, load_backbone(preset.backbone), names)
    scores = model.score_rows([one[[row_of[name] for name in names]] for one in features])
    labels, p = np.array([label_of[name] for name in names]), p_values(model.calibration, scores)
    held_out, away_in[seed] = len(model.calibration), int((labels == 0).sum())
    for promise in PROMISES:
        recall_of[method, seed, promise] = float((p[labels == 1] <= promise).mean())
        alarms[method, promise] = alarms.get((method, promise), 0) + int((p[labels == 0] <= promise).sum())
    shares = [float((p[labels == label] <= promise).mean()) for promise in PROMISES for label in (0, 1)]
    found.setdefault(method, []).append([float(roc_auc_score(labels, scores)), *shares])
    print(f"draw {seed} {method}:", *(f"{value:.3f}" for value in found[method][-1]), file=sys.stderr, flush=True)

print(
    f"{len(rows)} photographs, {sum(label_of.values())} defects; {KNOWN} known, {given.draws} draws; mean (lowest to highest)"
)
table = [
    [method, *(f"{v.mean():.3f} ({v.min():.3f} to {v.max():.3f})" for v in np.array(values).T)]
    for method, values in found.items()
]
heads = ["AUROC", *(f"{what} at {promise:.0%}" for promise in PROMISES for what in ("false alarms", "recall"))]
print(tabulate(table, ["method", *heads], tablefmt="github"))
print(
    f"probability of as many false alarms or more, were the promise exact ({sum(away_in.values())} normals kept away):"
)
for (method, promise), count in alarms.items():
    print(f"{method} at {promise:.0%}: {count}, {chance(count, held_out, list(away_in.values()), promise):.3f}")

lines = []
for seed in range(given.advice):
    known, away = draw(rows, seed)
    mine = [(name, label) for name, label in rows if name in known or (not label and name not in away)]
    name = listed(given.photos, f"draw{seed}.csv", mine)
    advice = advise(name, candidates=methods, options=Options(out=given.photos / f"advice{seed}"), **request)
    told = [
        (f"{one.share:.0%} ({one.low:.0%} to {one.high:.0%})" if one.share is not None else "cannot be told",
         f"{recall_of[advice.method, seed, one.false_alarms]:.0%}")
        for one in advice.recall
    ]  # fmt: skip
    lines.append([seed, advice.method, *(cell for pair in told for cell in pair)])
heads = [f"{what} at {promise:.0%}" for promise in PROMISES for what in ("told", "kept away")]
print(tabulate(lines, ["draw", "advised", *heads], tablefmt="github"))
