import numpy as np
import pandas as pd
import pytest

from osad_bench.results.aggregate import per_seed, summary
from osad_bench.results.paper import paper_table
from osad_bench.results.ranking import dataset_means
from osad_bench.results.tables import tables


def test_mean_and_standard_deviation_over_seeds_are_those_of_the_stored_scores(records):
    aucs = [records.add("dra", seed=seed).metrics.auroc for seed in range(5)]
    line = summary(records.frame()).iloc[0]
    assert line["mean"] == pytest.approx(np.mean(aucs))
    assert line["std"] == pytest.approx(np.std(aucs, ddof=1))
    assert (line["n"], line["expected"], line["complete"]) == (5, 5, True)


def test_one_seed_has_no_standard_deviation_and_shows_n(records):
    records.add("dra")
    (table,) = tables(records.frame())
    assert "±" not in table.blocks[0].rows[0][1][0].text()
    assert table.blocks[0].rows[0][1][0].text().endswith("(n=1)")


def test_the_hard_setting_is_the_mean_over_kinds_seed_by_seed(records):
    by_seed = {
        seed: np.mean(
            [records.add("dra", setting="hard", known_kind=k, seed=seed).metrics.auroc for k in ("mono", "poly")]
        )
        for seed in range(3)
    }
    line = summary(records.frame()).iloc[0]
    assert line["mean"] == pytest.approx(np.mean(list(by_seed.values())))
    assert line["std"] == pytest.approx(np.std(list(by_seed.values()), ddof=1))
    assert line["kinds"] == 2


def test_a_seed_with_a_missing_kind_is_not_averaged_into_the_hard_mean(records):
    for seed in range(3):
        for kind in ("mono", "poly"):
            if (seed, kind) != (2, "poly"):
                records.add("dra", setting="hard", known_kind=kind, seed=seed)
    frame = records.frame()
    assert np.isnan(per_seed(frame).set_index("seed").loc[2, "value"])
    line = summary(frame).iloc[0]
    assert (line["n"], line["expected"], line["complete"]) == (2, 3, False)


def test_a_method_with_fewer_seeds_than_another_shows_its_n_and_is_not_ranked_and_no_worse_one_is_called_best(records):
    for seed in range(5):
        records.add("dra", seed=seed)
    for seed in range(3):
        records.add("dpdl", separation=5.0, seed=seed)
    frame = records.frame()
    lines = summary(frame).set_index("method")
    assert np.isnan(lines.loc["dpdl", "rank"])
    assert lines.loc["dra", "rank"] == 2
    (table,) = tables(frame)
    assert table.blocks[0].rows[0][1][table.columns.index("DPDL")].text().endswith("(n=3/5)")


def test_a_failed_record_counts_as_expected_and_is_named(records):
    records.add("dra", seed=0)
    records.add("dra", seed=1, error="out of memory")
    frame = records.frame()
    line = summary(frame).iloc[0]
    assert (line["n"], line["expected"], line["failed"]) == (1, 2, 1)
    assert any("out of memory" in note for note in tables(frame)[0].notes)


@pytest.mark.parametrize(
    "other",
    [
        {"preset": "paper"},
        {"preset_config": {"image_size": 64}},
        {"reserve": 10},
        {"dedup": True},
    ],
)
def test_presets_and_protocol_options_never_share_a_table(records, other):
    records.add("dra")
    records.add("dpdl", **other)
    shown = tables(records.frame())
    assert sorted(table.columns for table in shown) == [("DPDL",), ("DRA",)]
    assert shown[0].title != shown[1].title


@pytest.mark.parametrize("other", [{"version": 2}, {"config": {"prototypes": 16}}])
def test_versions_and_configurations_of_a_method_are_separate_columns(records, other):
    records.add("dra")
    records.add("dra", **other)
    (table,) = tables(records.frame())
    assert len(table.columns) == 2


def test_a_users_own_folders_are_data_sets_of_their_own(records):
    for dataset in ("folder/photos", "folder/wafers", "csv/cells", "csv/belts"):
        for method in ("dra", "dpdl"):
            records.add(method, dataset=dataset)
            records.add(method, dataset=dataset, setting="hard", known_kind="mono")
    frame = records.frame()
    names = ["csv/belts", "csv/cells", "folder/photos", "folder/wafers"]
    assert sorted(set(summary(frame)["dataset"])) == names
    for number in (1, 2):
        (table,) = paper_table(frame, number)
        assert sorted(name.split(" ")[0] for name, _ in table.blocks[0].rows) == names
    assert all(sorted(matrix.index) == names for matrix in dataset_means(frame).values())


def test_two_versions_of_the_data_are_separate_rows(records):
    records.add("dra")
    records.add("dra", fingerprint="0" * 64)
    (table,) = tables(records.frame())
    assert [name for name, _ in table.blocks[0].rows] == ["ELPV (00000000)", "ELPV (ffffffff)"]


def test_validation_records_and_diagnostics_never_enter_a_table(records):
    record = records.add("dra", diagnostics={"oracle": {"auroc": 0.999}})
    records.add("dra", part="validation", separation=9.0)
    frame = records.frame()
    line = summary(frame).iloc[0]
    assert line["mean"] == pytest.approx(record.metrics.auroc)
    assert line["n"] == 1
    assert any("1 records of validation" in note for note in tables(frame)[0].notes)


def test_nothing_but_validation_records_gives_no_table(records):
    records.add("dra", part="validation")
    assert tables(records.frame()) == []
    assert isinstance(summary(records.frame()), pd.DataFrame)


def test_a_lower_false_positive_rate_is_the_better_one(records):
    records.add("dra", separation=1.0)
    records.add("dpdl", separation=4.0)
    lines = summary(records.frame(), "fpr95").set_index("method")
    assert lines.loc["dpdl", "rank"] == 1


def test_means_that_print_alike_share_the_first_rank(records):
    records.add("dra", scores=None, separation=50.0)
    records.add("dpdl", separation=60.0)
    assert list(summary(records.frame())["rank"]) == [1, 1]
