"""From stored files to a mean and p-value: check_a_claim.py DIR FIRST SECOND DATASET [SETTING] [SHOTS] [OPTIONS]."""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

sys.argv[4:] or sys.exit(print("usage:", __doc__.split(": ")[1]))
folder, *methods, dataset, setting, shots, options = (*sys.argv[1:], *("general", "10", "{}")[len(sys.argv) - 5 :])
cells, influence, density = {}, {}, lambda x, n: np.exp(-(n + 1) / 2 * np.log1p(x**2 / n))  # Student's, not normed
for path in Path(folder).glob("records/??/*.json"):  # one record per cell, its test scores in a file beside it
    record = json.loads(path.read_text("utf-8"))
    cell, protocol = record["cell"], record["cell"]["protocol"]
    key = cell["method"], protocol.pop("seed"), protocol.pop("known_kind")
    row = "ok", "", dataset, {"setting": setting, "shots": int(shots), "part": "test"} | json.loads(options)
    if row == (record["status"], record["variant"], cell["dataset"], dict(filter(all, protocol.items()))):
        key in cells and sys.exit(f"two cells of {key} are there: of two presets, or versions")
        cells[key] = dict(np.load(Path(folder, "scores", path.parent.name, f"{path.stem}.npz")))
common = set.intersection(*({key[1:] for key in cells if key[0] == m} for m in methods)) or sys.exit("no common seed")
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
difference, x, level = np.subtract(*mean), np.sinh(np.linspace(0, 16, 400_001)), np.logspace(-12, -0.302, 4000)
parts += [(difference.var(ddof=1) / len(difference), len(difference) - 1)] * (len(difference) > 1)  # over seeds
areas = [np.cumsum((np.diff(x) * (density(x[1:], n) + density(x[:-1], n)))[::-1])[::-1] for _, n in parts]
quantiles = [np.interp(-level, -area / area[0] / 2, x[:-1]) for area in areas]  # exceeded with this probability
critical, total = sum(v * q for (v, _), q in zip(parts, quantiles)), sum(v for v, _ in parts)  # Cochran and Cox, 1957
p = 2 * np.interp(-abs(difference.mean()) * np.sqrt(total), -critical, level)  # a report multiplies it by its pairs
said = ", ".join(f"{method} {np.mean(values):.3f}" for method, values in zip(methods, mean))
print(f"{said} over {len(difference)} seeds\ndifference {difference.mean():+.3f}, p = {p:.2g}")
