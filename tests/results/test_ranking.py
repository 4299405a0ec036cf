"""Statistics over data sets against the worked example of the paper that proposed them, and independent computations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osad_bench.results.paired import differences
from osad_bench.results.ranking import (
    average_ranks,
    bayes_signed_rank,
    compare_methods,
    critical_difference,
    dataset_means,
    friedman,
    nemenyi,
    wilcoxon_holm,
)
from osad_bench.results.scores import load_scores
from osad_bench.results.words import in_words

# Demsar (2006), Table 6: AUC of C4.5 and its variants on 14 data sets (0.9751 as in SciPy's own test of this example:
# the table prints 0.975 twice, but ranks them apart).
DEMSAR = pd.DataFrame(
    {
        "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
        "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
        "C4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.9751, 0.946],
        "C4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970],
    }
)


def test_average_ranks_of_demsars_example():
    ranks = average_ranks(DEMSAR)
    assert ranks["C4.5"] == pytest.approx(3.143, abs=5e-4)
    assert ranks["C4.5+m"] == pytest.approx(2.000, abs=5e-4)
    assert ranks["C4.5+cf"] == pytest.approx(2.893, abs=5e-4)
    assert ranks["C4.5+m+cf"] == pytest.approx(1.964, abs=5e-4)


def test_friedman_of_demsars_example():
    """Demsar prints 9.28 without correction for ties; with it, SciPy's tests of this example have 10.228346."""
    n, k = DEMSAR.shape
    uncorrected = 12 * n / (k * (k + 1)) * ((average_ranks(DEMSAR) ** 2).sum() - k * (k + 1) ** 2 / 4)
    assert uncorrected == pytest.approx(9.28, abs=5e-3)
    test = friedman(DEMSAR)
    assert test.chi2 == pytest.approx(10.2283464566929)
    assert test.p == pytest.approx(0.0167215803284414)
    assert test.f == pytest.approx((n - 1) * test.chi2 / (n * (k - 1) - test.chi2))
    assert test.f_p < 0.05


def test_iman_and_davenports_f_of_demsars_uncorrected_statistic_is_as_printed():
    n, k = DEMSAR.shape
    assert (n - 1) * 9.28 / (n * (k - 1) - 9.28) == pytest.approx(3.69, abs=5e-3)


def test_critical_difference_of_demsars_example():
    assert critical_difference(4, 14, 0.05) == pytest.approx(1.25, abs=5e-3)
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=5e-3)


def test_nemenyi_agrees_with_the_critical_difference():
    """At 0.10 Demsar finds C4.5 worse than C4.5+m and C4.5+m+cf (1.14 and 1.18 ranks above 1.12), and nothing else."""
    p = nemenyi(DEMSAR)
    ranks = average_ranks(DEMSAR)
    for first in DEMSAR:
        for second in DEMSAR:
            if first != second:
                beyond = abs(ranks[first] - ranks[second]) > critical_difference(4, 14, 0.10)
                assert (p.loc[first, second] < 0.10) == beyond
    assert p.loc["C4.5", "C4.5+m"] < 0.10
    assert p.loc["C4.5", "C4.5+cf"] > 0.10


def test_wilcoxon_of_demsars_example():
    """Demsar sums the ranks 93 and 12 for C4.5 against C4.5+m, below the critical 21 at 0.05 for 14 data sets."""
    pair = DEMSAR[["C4.5", "C4.5+m"]]
    (line,) = wilcoxon_holm(pair).to_dict("records")
    assert line["p"] < 0.05
    assert wilcoxon_holm(DEMSAR).set_index(["first", "second"]).loc[("C4.5", "C4.5+m"), "p"] > line["p"]


def signed_rank_by_definition(difference, rope, samples, seed):
    """Benavoli et al. (2017), Eq. 13: the posterior of theta by explicit loops, prior strength 0.5 at 0."""
    generator = np.random.default_rng(seed)
    z = [0.0, *difference]
    wins = np.zeros(3)
    for _ in range(samples):
        w = generator.dirichlet([0.5, *[1.0] * len(difference)])
        theta = np.zeros(3)
        for i, zi in enumerate(z):
            for j, zj in enumerate(z):
                theta[0 if zi + zj > 2 * rope else 2 if zi + zj < -2 * rope else 1] += w[i] * w[j]
        wins[theta.argmax()] += 1
    return wins / samples


def test_the_bayesian_signed_rank_test_equals_its_definition():
    first, second = DEMSAR["C4.5+m"], DEMSAR["C4.5"]
    expected = signed_rank_by_definition((first - second).tolist(), 0.01, 1500, 1)
    assert bayes_signed_rank(first, second) == pytest.approx(tuple(expected), abs=0.04)
    assert bayes_signed_rank(second, first) == pytest.approx(tuple(expected[::-1]), abs=0.04)


def test_a_difference_inside_the_region_of_equivalence_is_equal():
    first = pd.Series(np.linspace(0.7, 0.9, 9))
    assert bayes_signed_rank(first, first + 0.001)[1] > 0.99
    assert bayes_signed_rank(first + 0.05, first)[0] > 0.95


def test_methods_that_tie_everywhere_do_not_differ():
    equal = pd.DataFrame({"a": [0.5, 0.6], "b": [0.5, 0.6], "c": [0.5, 0.6]})
    assert friedman(equal).p == 1
    assert (compare_methods(equal)["wilcoxon_p"] == 1).all()


def test_friedman_needs_three_methods():
    with pytest.raises(ValueError, match="three methods and two data sets, not 2 and 14"):
        friedman(DEMSAR[["C4.5", "C4.5+m"]])


def test_a_matrix_has_no_gaps_and_counts_classes_as_one_data_set(records):
    for method in ("dra", "dpdl"):
        for dataset in ("mvtec/carpet", "mvtec/leather", "elpv", "aitex"):
            if (method, dataset) != ("dpdl", "aitex"):
                records.add(method, dataset=dataset)
    (matrix,) = dataset_means(records.frame()).values()
    assert sorted(matrix.index) == ["elpv", "mvtec"]
    assert not matrix.isna().any(axis=None)


def test_what_is_not_ranked_is_named(records):
    for method in ("dra", "dpdl", "ahl"):
        for dataset in ("elpv", "aitex", "sdd"):
            if (method, dataset) != ("dpdl", "aitex") and not (method == "ahl" and dataset != "sdd"):
                records.add(method, dataset=dataset)
    (text,) = in_words(pd.DataFrame(columns=["board", "dataset", "setting", "shots"]), dataset_means(records.frame()))
    assert "over 2 data sets: average ranks" in text
    assert "Not ranked (results on half of the data sets or fewer): ahl." in text
    assert "Not ranked (a method lacks results): aitex." in text


def test_many_differences_are_told_method_by_method():
    lines = [
        {"board": "quick", "dataset": "elpv", "setting": "general", "shots": 10, "first": first, "second": second,
         "difference": difference, "low": difference - 0.01, "high": difference + 0.01, "seeds": 5, "paired": True, "differs": True}
        for first, second, difference in [("a", one, 0.1 + place / 100) for place, one in enumerate("bcdef")]
        + [("b", "g", -0.05), ("c", "g", -0.05)]
    ]  # fmt: skip
    text, _ = in_words(pd.DataFrame(lines), {})
    assert "a is better than b, c, d, e and f (by 0.100 to 0.140). g is better than b and c (by 0.050)." in text


def test_five_seeds_of_equal_methods_are_called_noise_in_words(records):
    for seed in range(5):
        for method in ("dra", "dpdl", "devnet"):
            records.add(method, separation=1.5, seed=seed)
    frame = records.frame()
    text, how = in_words(differences(frame, load_scores(records.store.root, frame)), {})
    assert "Cochran and Cox's test" in how
    assert "all 3 differences are noise: no method is shown to be better than another." in text
    assert "With 5 seeds, a difference below about 0." in text


def test_one_seed_is_said_to_be_too_few(records):
    records.add("dra", separation=0.5)
    records.add("dpdl", separation=4.0)
    frame = records.frame()
    text, how = in_words(differences(frame, load_scores(records.store.root, frame)), {})
    assert "Cochran and Cox's test" in how
    assert "is better" not in text
    assert "One seed is not enough to call a method better" in text
    assert "dpdl scores above dra by 0." in text


def test_few_data_sets_are_said_to_show_nothing(records):
    for dataset in ("a", "b", "c"):
        for place, method in enumerate(("dra", "dpdl", "devnet")):
            records.add(method, separation=1 + place, dataset=dataset)
    pairs = pd.DataFrame(columns=["board", "dataset", "setting", "shots"])
    (text,) = in_words(pairs, dataset_means(records.frame()))
    assert "average ranks devnet 1.00, dpdl 2.00, dra 3.00" in text
    assert (
        "Holm's correction for 3 pairs cannot show any difference on 3 data sets: the smallest p possible is 0.75"
        in text
    )
    assert "On fewer than 5 data sets no probability is given" in text


def test_many_data_sets_are_put_in_words():
    (text,) = in_words(
        pd.DataFrame(columns=["board", "dataset", "setting", "shots"]), {("quick", "general", 10): DEMSAR}
    )
    assert "average ranks C4.5+m+cf 1.96, C4.5+m 2.00, C4.5+cf 2.89, C4.5 3.14" in text
    assert "the methods differ. Nemenyi's critical difference at 0.05 is 1.25 ranks" in text
    assert "of 6 pairs differ" in text
    assert text.endswith("C4.5+m+cf better than C4.5 (0.969).")
