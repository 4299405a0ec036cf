"""From the stored files to a printed mean and p-value, with NumPy and scikit-learn alone and nothing of osad-bench."""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

parser = argparse.ArgumentParser(
    description=__doc__, epilog="p is of this one pair; a report multiplies it by its pairs"
)
for name in ("folder", "first", "second", "dataset"):
    parser.add_argument(name)
parser.add_argument("--setting", default="general")
parser.add_argument("--shots", type=int, default=10)
asked, cells = parser.parse_args(), {}
for path in Path(asked.folder).glob("records/??/*.json"):  # one record per cell, its test scores in a file beside it
    record = json.loads(path.read_text("utf-8"))
    cell, protocol = record["cell"], record["cell"]["protocol"]
    wanted = (cell["dataset"], protocol["setting"], protocol["shots"]) == (asked.dataset, asked.setting, asked.shots)
    if wanted and (record["status"], record["variant"], protocol["part"]) == ("ok", "", "test"):
        file = Path(asked.folder, "scores", path.parent.name, f"{path.stem}.npz")
        cells[cell["method"], protocol["seed"], protocol["known_kind"]] = dict(np.load(file))
common = {key[1:] for key in cells if key[0] == asked.first} & {key[1:] for key in cells if key[0] == asked.second}
auc = {key: roc_auc_score(test["labels"], test["scores"]) for key, test in cells.items()}
mean = {m: [np.mean([auc[(m, *c)] for c in common if c[0] == s]) for s in sorted({s for s, _ in common})]
        for m in (asked.first, asked.second)}  # fmt: skip
difference, influence = np.subtract(*mean.values()), {}  # influence: what an image adds to the mean difference
for method, sign, case, label in [(m, s, c, y) for m, s in zip(mean, (1, -1)) for c in common for y in (0, 1)]:
    ids, labels, scores = (cells[(method, *case)][name] for name in ("ids", "labels", "scores"))
    mine, others = scores[labels == label][:, None], scores[labels != label]
    right = ((mine > others if label else mine < others) + (mine == others) / 2).mean(axis=1)  # DeLong et al., 1988
    for image, value in zip(ids[labels == label], (right - auc[(method, *case)]) / len(mine) / len(common)):
        influence[label, image] = influence.get((label, image), 0) + sign * value
groups = [np.array([value for (one, _), value in influence.items() if one == label]) for label in (0, 1)]
images = [((v**2).sum() * len(v) / (len(v) - 1), len(v) - 1) for v in groups]  # variances with degrees of freedom
total = images[0][0] + images[1][0]
parts = [(total, total**2 / sum(v**2 / freedom for v, freedom in images))]  # as one: Welch and Satterthwaite
if len(difference) > 1:
    parts.append((difference.var(ddof=1) / len(difference), len(difference) - 1))  # over seeds


def quantile(level, freedom):
    """Value that Student's t exceeds with this probability, by adding up its density."""
    x = np.sinh(np.linspace(0, 16, 400_001))
    constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    density = np.exp(constant - (freedom + 1) / 2 * np.log1p(x**2 / freedom))
    beyond = np.cumsum((np.diff(x) * (density[1:] + density[:-1]) / 2)[::-1])[::-1]
    return np.interp(-level, -beyond, x[:-1])


level, total = np.logspace(-12, math.log10(0.499), 4000), sum(variance for variance, _ in parts)
critical = sum(variance * quantile(level, freedom) for variance, freedom in parts) / total  # Cochran and Cox, 1957
p = 2 * np.interp(-abs(difference.mean()) / math.sqrt(total), -critical, level)
print(", ".join(f"{name} {np.mean(values):.3f}" for name, values in mean.items()), f"over {len(difference)} seeds")
print(f"difference {difference.mean():+.3f}, p = {p:.2g}")
