"""Published numbers as data, and ours beside them."""

from __future__ import annotations

import numpy as np
import pytest

from osad_bench.results.compare import compare_published, compared_for_print
from osad_bench.results.published import published
from osad_bench.results.record import TestScores
from osad_bench.results.titles import Titles


@pytest.mark.parametrize(("table", "rows"), [(1, 9 * 7 * 2), (2, 6 * 7 * 2), (3, 4 * 3 * 2)])
def test_every_number_of_the_papers_tables_is_there_once_with_its_source_and_origin(table, rows):
    frame = published(table)
    assert len(frame) == rows
    assert (
        frame[["source", "table", "origin", "setting", "shots", "dataset", "method", "mean", "std"]]
        .notna()
        .all(axis=None)
    )
    assert set(frame["origin"]) <= {"own run", "copied"}
    names = ["setting", "shots", "dataset", "method", *(["variant"] if table == 3 else [])]
    assert not frame.duplicated(names).any()
    assert frame["mean"].between(0.4, 1).all()


def test_some_numbers_read_off_the_paper():
    first = published(1).set_index(["shots", "dataset", "method"])
    assert tuple(first.loc[(10, "elpv", "dpdl"), ["mean", "std"]]) == (0.937, 0.003)
    assert tuple(first.loc[(1, "headct", "ahl"), ["mean", "std"]]) == (0.825, 0.014)
    assert first.loc[(1, "elpv", "ahl"), "origin"] == "copied"
    second = published(2).set_index(["shots", "dataset", "method"])
    assert tuple(second.loc[(1, "hyper-kvasir", "saoe"), ["mean", "std"]]) == (0.406, 0.018)


def test_table_3s_middle_rows_are_marked_unknown_and_its_last_is_table_1s_dpdl():
    third, first = published(3), published(1)
    assert third["variant"].str.startswith("unknown").sum() == 12
    complete = third[(third["variant"] == "complete") & (third["setting"] == "general")].set_index("dataset")["mean"]
    same = first[(first["method"] == "dpdl") & (first["shots"] == 10)].set_index("dataset")["mean"]
    assert complete.to_dict() == same[complete.index].to_dict()


def test_ours_stands_beside_theirs_with_difference_and_flag(records):
    aucs = [records.add("dra", separation=0.5, seed=seed).metrics.auroc for seed in range(5)]
    records.add("dra", separation=0.5, variant="references=3")
    (line,) = compare_published(records.frame()).to_dict("records")
    assert line["published"] == 0.845
    assert line["ours"] == pytest.approx(np.mean(aucs))
    assert line["difference"] == pytest.approx(np.mean(aucs) - 0.845)
    assert line["spread"] == pytest.approx(np.hypot(np.std(aucs, ddof=1), 0.013))
    assert line["exceeds"] == (abs(line["difference"]) > line["spread"])
    assert line["exceeds"]


def test_a_difference_inside_the_spread_is_not_flagged(records):
    for seed, found in enumerate((83, 84, 85, 86)):  # one anomaly among 100 normals: AUC = share of normals below it
        scores = TestScores(
            [str(i) for i in range(101)], [0] * 100 + [1], [""] * 100 + ["mono"], [*range(100), found - 0.5]
        )
        records.add("dra", seed=seed, scores=scores)
    (line,) = compare_published(records.frame()).to_dict("records")
    assert line["ours"] == pytest.approx(0.845)
    assert not line["exceeds"]
    printed = compared_for_print(compare_published(records.frame()), Titles())
    assert printed.loc[0, "published"] == "0.845±0.013"
    assert printed.loc[0, "origin"] == "own paper"
    assert printed.loc[0, "source"] == "DRA paper (CVPR 2022), Table 1"


def test_one_seed_is_never_flagged_as_its_spread_is_unknown(records):
    records.add("dra", separation=0.2)
    (line,) = compare_published(records.frame()).to_dict("records")
    assert line["difference"] < -0.1
    assert not line["exceeds"]
    assert compared_for_print(compare_published(records.frame()), Titles()).loc[0, "beyond spread"] == "one seed"


def test_the_mean_of_mvtecs_classes_is_compared_only_when_all_fifteen_are_there(records):
    for place in range(14):
        records.add("dra", dataset=f"mvtec/class{place}")
    assert compare_published(records.frame()).empty
    records.add("dra", dataset="mvtec/class14")
    assert list(compare_published(records.frame())["dataset"]) == ["mvtec"]


def test_a_named_ablation_is_compared_with_table_3_and_the_unknown_rows_with_nothing(records):
    for seed in range(3):
        records.add("dpdl", seed=seed)
        records.add("dpdl", separation=1.0, seed=seed, variant="residual=False")
    records.store.name_ablations("dpdl", {"without M_r": "residual=False"})
    lines = compare_published(records.frame())
    third = lines[lines["table"] == 3]
    assert sorted(third["method"]) == [
        "dpdl unknown (second row: tick marks lost)", "dpdl unknown (third row: tick marks lost)", "dpdl without M_r"
    ]  # fmt: skip
    unknown = third[third["method"].str.contains("unknown")]
    assert unknown["ours"].isna().all()
    assert list(unknown["published"]) == [0.919, 0.930]
    assert not unknown["exceeds"].any()
    printed = compared_for_print(unknown, Titles()).iloc[0]
    assert (printed["ours"], printed["published"], printed["difference"]) == ("–", "0.919±0.011", "")
    assert third.set_index("method").loc["dpdl without M_r", "published"] == 0.914


def test_nothing_comparable_gives_an_empty_frame(records):
    records.add("mahalanobis")
    assert compare_published(records.frame()).empty
    assert compared_for_print(compare_published(records.frame()), Titles()).empty
