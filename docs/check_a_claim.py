"""From stored files to a printed mean and p-value: check_a_claim.py DIR FIRST SECOND DATASET [SETTING] [SHOTS]."""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

sys.argv[4:] or sys.exit(print("usage:", __doc__.split(": ")[1]))
folder, *methods, dataset, setting, shots = (*sys.argv[1:], *("general", "10")[len(sys.argv) - 5 :])
cells, influence, density = {}, {}, lambda x, n: np.exp(-(n + 1) / 2 * np.log1p(x**2 / n))  # Student's, not normed
for path in Path(folder).glob("records/??/*.json"):  # one record per cell, its test scores in a file beside it
    record = json.loads(path.read_text("utf-8"))
    cell, protocol = record["cell"], record["cell"]["protocol"]
    kept = record["status"], record["variant"], protocol["part"], cell["dataset"], protocol["setting"], protocol["shots"]  # fmt: skip
    if kept == ("ok", "", "test", dataset, setting, int(shots)):
        test = dict(np.load(Path(folder, "scores", path.parent.name, f"{path.stem}.npz")))
        cells[cell["method"], protocol["seed"], protocol["known_kind"]] = test
common = set.intersection(*({key[1:] for key in cells if key[0] == method} for method in methods))  # seed and kind
auc = {key: roc_auc_score(test["labels"], test["scores"]) for key, test in cells.items()}
mean = [[np.mean([auc[(m, *c)] for c in common if c[0] == s]) for s in sorted({s for s, _ in common})] for m in methods]
for case, (method, sign), label in [(c, m, y) for c in common for m in zip(methods, (1, -1)) for y in (0, 1)]:
    ids, labels, scores = (cells[(method, *case)][name] for name in ("ids", "labels", "scores"))
    mine, others = scores[labels == label][:, None], scores[labels != label]
    right = ((mine > others if label else mine < others) + (mine == others) / 2).mean(axis=1)  # DeLong et al., 1988
    for image, value in zip(ids[labels == label], (right - auc[(method, *case)]) / len(mine) / len(common)):
        influence[label, image] = influence.get((label, image), 0) + sign * value  # on the mean difference
groups = [np.array([value for (one, _), value in influence.items() if one == label]) for label in (0, 1)]
images = [((v**2).sum() * len(v) / (len(v) - 1), len(v) - 1) for v in groups]  # variances with degrees of freedom
parts = [(sum(v for v, _ in images), sum(v for v, _ in images) ** 2 / sum(v**2 / n for v, n in images))]  # as one
difference, x = np.subtract(*mean), np.sinh(np.linspace(0, 16, 400_001))
parts += [(difference.var(ddof=1) / len(difference), len(difference) - 1)] * (len(difference) > 1)  # over seeds
level, total = np.logspace(-12, np.log10(0.499), 4000), sum(variance for variance, _ in parts)
areas = [np.cumsum((np.diff(x) * (density(x[1:], n) + density(x[:-1], n)))[::-1])[::-1] for _, n in parts]
quantiles = [np.interp(-level, -area / area[0] / 2, x[:-1]) for area in areas]  # exceeded with this probability
critical = sum(variance * q for (variance, _), q in zip(parts, quantiles)) / total  # Cochran and Cox, 1957
p = 2 * np.interp(-abs(difference.mean()) / np.sqrt(total), -critical, level)  # a report multiplies it by its pairs
print(", ".join(f"{m} {np.mean(v):.3f}" for m, v in zip(methods, mean)), f"over {len(difference)} seeds")
print(f"difference {difference.mean():+.3f}, p = {p:.2g}")
