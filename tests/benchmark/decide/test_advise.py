"""`osad-bench advise`: corrected for choosing, honest about what few images cannot tell, in plain words."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy.stats import binomtest

from osad_bench.benchmark.decide.advise import advise, choose, corrected, within_chance
from osad_bench.benchmark.decide.comparison import Results, interval
from osad_bench.benchmark.decide.remedies import remedies_of
from osad_bench.core.errors import InputError
from osad_bench.datasets.base import Sample
from osad_bench.datasets.catalogue import open_dataset

SMALL = ["--set", "image_size=64", "--methods", "mahalanobis,evidence", "--splits", "3", "--jobs", "1"]


def drawn(random: np.random.Generator, methods: int, splits: int, anomalies: int, strength: float = 0.0):
    """Results on splits that each test half of the anomalies; every method is as good as any other."""
    quality = random.uniform(size=(methods, 1, anomalies)) ** (1 / (1 + strength))
    above = np.clip(quality + random.normal(0, 0.05, (methods, splits, anomalies)), 0, 1)
    tested = np.stack([random.permutation(anomalies) < anomalies // 2 for _ in range(splits)])
    return np.where(tested, above, np.nan)


def test_the_recall_of_the_chosen_method_is_not_too_good():
    """Twelve equal methods: the best of them looks better than it is, and the correction takes that away."""
    random, naive, honest = np.random.default_rng(0), [], []
    for _ in range(150):
        above = drawn(random, 12, 5, 12)
        found = np.where(np.isnan(above), np.nan, above > 0.6)  # any method finds 40 % of all anomalies
        best = np.nanmean(above, axis=(1, 2)).argmax()
        naive.append(np.nanmean(found[best]))
        honest.append(corrected(above, found, draws=200))
    truth, error = 0.4, np.std(honest) / 150**0.5
    assert np.mean(naive) > truth + 0.1
    assert np.mean(honest) < truth + 4 * error + 0.02


def test_the_interval_is_clopper_and_pearsons():
    for hits, count in [(0, 12), (5, 12), (10, 12), (12, 12)]:
        wanted = binomtest(hits, count).proportion_ci(0.95, "exact")
        assert interval(hits / count, count) == pytest.approx((wanted.low, wanted.high))


def test_a_difference_is_told_from_chance():
    random = np.random.default_rng(1)
    above = drawn(random, 2, 5, 30)
    above[0] = np.where(np.isnan(above[0]), np.nan, 0.9)
    above[1] = np.where(np.isnan(above[1]), np.nan, 0.5)
    assert not within_chance(above, 0, 1)
    above[1] = above[0]
    assert within_chance(above, 0, 1)


def test_advice_is_one_method_with_its_recall_and_what_cannot_be_told(cli, parts):
    arguments = ["advise", f"folder:{parts}", *SMALL]
    done = cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Use evidence (Evidence (ours)): AUROC 1.000 between your anomalies and your normals." in done.stdout
    assert (
        "mahalanobis has 1.000, a difference within chance, but never sees an anomaly; evidence learns" in done.stdout
    )
    assert "The data cannot tell it from mahalanobis" in done.stdout
    assert (
        "At 1 % false alarms its recall cannot be told: that takes 99 normals kept from the fit, and there are 12."
        in done.stdout
    )
    assert "At 5 % false alarms its recall cannot be told: that takes 19" in done.stdout
    assert (
        "with 36, fit holds 18 out and can promise 5.26 % false alarms or more; 198 are enough for 1 %" in done.stdout
    )
    assert "there are fewer of burr (3)" in done.stdout
    assert f"\nnext: osad-bench fit evidence folder:{parts} --set image_size=64 --out model\n" in done.stdout
    assert "0 to do" in cli(*arguments).stderr, "what was computed is kept"
    found = json.loads(cli(*arguments, "--json").stdout)
    assert found["method"] == "evidence"
    assert [one["method"] for one in found["candidates"]] == ["mahalanobis", "evidence"]
    assert found["recall"][0]["share"] is None


def test_a_floor_is_recommended_where_its_lead_is_more_than_chance():
    above = np.full((2, 3, 12), 0.9)
    above[1] -= np.random.default_rng(0).uniform(0.02, 0.2, 12)
    results = Results(["patchcore", "whitened"], [f"{n}" for n in range(12)], above, above, 50, {})
    assert choose(results, [0, 1]) == (0, [0, 1])
    above[1] = 0.9 + np.linspace(-0.1, 0.08, 12)
    assert choose(results, [0, 1]) == (1, [1]), "the floor's lead of 0.01 is within chance"


def test_enough_normals_give_a_recall_with_its_interval(cli, parts, part, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(parts, folder)
    for index in range(12, 24):
        part(500 + index).save(folder / "test" / "good" / f"{index}.png")
    found = json.loads(cli("advise", f"folder:{folder}", *SMALL, "--json").stdout)
    one, five = found["recall"]
    assert one["share"] is None
    assert (five["false_alarms"], five["normals"]) == (0.05, 24)
    assert 0 <= five["low"] < five["share"] <= five["high"] <= 1
    assert five["high"] - five["low"] > 0.2, "eight anomalies cannot tell more"


def test_contradicting_labels_and_copies_are_named(cli, parts, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(parts, folder)
    shutil.copy(folder / "train/good/02.png", folder / "test/good/again.png")
    shutil.copy(folder / "train/good/03.png", folder / "test/hole/which.png")
    done = cli("advise", f"folder:{folder}", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Correct contradicting labels: 2 images" in done.stdout
    assert "test/hole/which.png" in done.stdout
    assert "1 copy of other images" in done.stdout


def test_too_few_to_compare_on_is_said_before_anything_runs(parts, tmp_path):
    shutil.copytree(parts / "train" / "good", tmp_path / "photos")
    names = sorted(path.name for path in (tmp_path / "photos").iterdir())
    for normals, anomalies, message in [
        (10, 0, "has no anomaly; at least 2 are needed, one to learn from and one to test on. Label more$"),
        (7, 3, "has 7 different normals, and comparing methods takes at least 8"),
    ]:
        rows = [f"photos/{name},{int(index >= normals)}" for index, name in enumerate(names[: normals + anomalies])]
        (tmp_path / f"{normals}.csv").write_text("\n".join(["path,label", *rows]))
        with pytest.raises(InputError, match=message):
            advise(f"csv:{tmp_path}/{normals}.csv")


def test_enough_normals_in_the_wrong_place_are_to_be_moved(parts):
    dataset = open_dataset(f"folder:{parts}")
    samples = [Sample(f"train/good/{n}.png", 0, partition="train") for n in range(200)]
    dataset.__dict__["samples"] = (*samples, *dataset.samples)  # as if there were 200 more
    results = Results(["evidence"], [], np.zeros((1, 1, 0)), np.zeros((1, 1, 0)), 83, {})
    (first, *_) = remedies_of(dataset, results, [], np.zeros(0), set(), set(), 1)
    assert first == (
        "Move 16 normals from train/good to test/good and ask again: then the recall at 1 % false alarms can be told"
    )


def test_normals_that_are_enough_if_most_are_held_out_need_no_more_photographs(parts):
    dataset = open_dataset(f"folder:{parts}")
    own = sum(one.label == 0 for one in dataset.samples)
    dataset.__dict__["samples"] = (*dataset.samples, *(Sample(f"good/new{n}.png", 0) for n in range(196 - own)))
    results = Results(["evidence"], [], np.zeros((1, 1, 0)), np.zeros((1, 1, 0)), 30, {})
    (first, *_) = remedies_of(dataset, results, [], np.zeros(0), set(), set(), 1)
    assert first == (
        "Photograph 2 more normals: with 196, fit holds 98 out and can promise 1.01 % false alarms or more; 198 are enough for 1 %; "
        "these are too, with fit --calibrate 99, which leaves 97 to fit to"
    )


def test_one_anomaly_is_too_few_to_compare_on(cli, parts, tmp_path):
    folder = tmp_path / "one"
    shutil.copytree(parts, folder)
    shutil.rmtree(folder / "test" / "burr")
    for path in sorted((folder / "test" / "hole").iterdir())[1:]:
        path.unlink()
    done = cli("advise", f"folder:{folder}", *SMALL)
    assert done.returncode == 2
    assert "has 1 different anomaly; at least 2 are needed" in done.stderr
