"""How much the copies in BrainMRI raise the AUROC, measured over many splits of the normals: see docs/datasets.md.

The protocol fixes one split of the normals, and --dedup changes which images that split holds: two runs that differ in
--dedup alone also differ by the luck of that split. Here the normals are split many times, with and without copies.

    python docs/brainmri_duplicates.py --data-root DOWNLOADS [--splits 200]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from osad_bench.benchmark.cell.split import Split
from osad_bench.benchmark.cell.training import CachedFeatures
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.preset import load_preset
from osad_bench.core.places import default_cache
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.duplicates import duplicate_groups
from osad_bench.methods.base import Context
from osad_bench.methods.mahalanobis import Mahalanobis

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data-root", type=Path)
parser.add_argument("--splits", type=int, default=200)
given = parser.parse_args()

dataset = open_dataset("brainmri", given.data_root)
copies = {name for group in duplicate_groups(dataset) for name in group[1:]}
group_of = {name: group for group in duplicate_groups(dataset) for name in group}
normals = [sample.id for sample in dataset.samples if not sample.label]
anomalies = [sample.id for sample in dataset.samples if sample.label]
_, preset = load_preset("quick", {})
backbone = load_backbone(preset.backbone, None)


def auc_of(train: list[str], normal: list[str], anomalous: list[str]) -> tuple[float, float]:
    """AUROC over the test images, and over those of them that have no copy in training."""
    split = Split(tuple(train), tuple(anomalous[:1]), tuple(normal), tuple(anomalous[1:]))
    device = torch.device("cpu")
    features = CachedFeatures(
        dataset,
        split,
        preset.model_copy(update={"adapter": "none"}),
        backbone,
        FeatureCache(default_cache()),
        (),
        0,
        device,
    )
    method = Mahalanobis()
    method.fit(features, Context(0, device, preset.schedule))
    scores = torch.cat([method.score(pyramid) for pyramid in features.test()]).numpy()
    ids = [*split.test_normal, *split.test_anomaly]
    labels = np.array([0] * len(normal) + [1] * (len(anomalous) - 1))
    kept = np.array([not set(train).intersection(group_of.get(name, ())) for name in ids])
    return float(roc_auc_score(labels, scores)), float(roc_auc_score(labels[kept], scores[kept]))


with_copies, without_seen, deduped = [], [], []
for seed in range(given.splits):
    train, test = train_test_split(normals, test_size=0.25, random_state=seed)
    whole, unseen = auc_of(sorted(train), sorted(test), anomalies)
    with_copies.append(whole)
    without_seen.append(unseen)
    train, test = train_test_split([name for name in normals if name not in copies], test_size=0.25, random_state=seed)
    deduped.append(auc_of(sorted(train), sorted(test), [name for name in anomalies if name not in copies])[0])

for title, values in (
    ("all files", with_copies),
    ("same training, test images with a copy in it left out", without_seen),
    ("--dedup", deduped),
):
    low, high = np.quantile(values, (0.025, 0.975))
    print(
        f"{title}: AUROC {np.mean(values):.3f} (standard deviation {np.std(values, ddof=1):.3f}, 95 % of splits {low:.3f} to {high:.3f})"
    )
gain = np.array(with_copies) - np.array(without_seen)
error = gain.std(ddof=1) / np.sqrt(len(gain))
print(f"effect of the copies in the test part, paired: {gain.mean():+.4f} (standard error over splits {error:.4f})")
