"""`osad-bench ablate` and `sweep` on small images: the right grid, nothing computed twice, table, figure and words."""

from __future__ import annotations

import pytest

from osad_bench.results.store import load

SMALL = ["--set", "image_size=64", "--set", "schedule.epochs=1", "--set", "schedule.steps=2", "--shots", "2"]


def test_ablate_runs_the_complete_method_and_each_part_away_and_names_them(cli, photos, tmp_path):
    arguments = ["ablate", "dra", "--only", "without pseudo", "--only", "without residual"]
    arguments += ["--datasets", f"folder:{photos}", "--seeds", "2", *SMALL, "--out", "out"]
    done = cli(*arguments)
    assert done.returncode == 0, done.stderr
    frame = load(tmp_path / "out")
    assert sorted(frame["variant"]) == ["", "", "pseudo=False", "pseudo=False", "residual=False", "residual=False"]
    assert set(frame["ablation"]) == {"", "without pseudo", "without residual"}
    assert all(
        config["pseudo"] == (variant != "pseudo=False") for config, variant in zip(frame["config"], frame["variant"])
    )
    rows = [line.split()[0] for line in done.stdout.splitlines() if "±" in line and line.startswith("  ")]
    assert rows == ["without", "without", "complete"]
    assert "dra without pseudo" in done.stdout
    assert "2 seeds" in done.stdout
    for kind in ("pdf", "png"):
        assert (tmp_path / "out" / f"ablation-dra.{kind}").stat().st_size > 1000
    again = cli(*arguments)
    assert "0 to do" in again.stderr


def test_sweep_varies_one_setting_at_a_time_beside_the_default(cli, photos, tmp_path):
    arguments = ["sweep", "devnet", "--over", "margin=2,8", "--over", "topk=0.5", "--datasets", f"folder:{photos}"]
    done = cli(*arguments, "--seeds", "1", *SMALL, "--out", "out")
    assert done.returncode == 0, done.stderr
    frame = load(tmp_path / "out")
    assert sorted(frame["variant"]) == ["", "margin=2.0", "margin=8.0", "topk=0.5"]
    assert (tmp_path / "out" / "sweep-devnet.pdf").exists()


def test_a_dry_run_prints_the_cells_and_writes_nothing(cli, photos, tmp_path):
    out = tmp_path / "out"
    arguments = ["--datasets", f"folder:{photos}", "--seeds", "1", *SMALL, "--out", str(out), "--dry-run"]
    done = cli("ablate", "dra", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablate", "mahalanobis"], "declares no ablations; vary its settings with osad-bench sweep mahalanobis"),
        (["ablate", "dra", "--only", "without legs"], "the ablations of dra are 'without seen', 'without pseudo'"),
        (["ablate", "drat"], "unknown method 'drat'; did you mean dra"),
        (["sweep", "devnet", "--over", "legs=1,2"], "settings of devnet:"),
        (["sweep", "devnet", "--over", "margin"], "expected NAME=VALUE"),
        (["sweep", "devnet", "--over", "margin=inf"], "margin: Input should be a finite number"),
        (
            ["sweep", "devnet", "--over", "margin=1", "--set", "schedule.lr=1e999"],
            "lr: Input should be a finite number",
        ),
    ],
)
def test_wrong_input_is_one_line_with_the_remedy(cli, photos, arguments, message):
    done = cli(*arguments, "--datasets", f"folder:{photos}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
