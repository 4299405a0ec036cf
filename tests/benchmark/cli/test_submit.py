"""From a run to a page: submit, verify, board; and a plan that is frozen first."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from osad_bench.benchmark.grid.verify import check_names
from osad_bench.results.metrics import compute
from osad_bench.results.record import Cell, Record, TestScores
from osad_bench.results.registered import read_plan
from osad_bench.results.store import Store

SMALL = [
    "--datasets", "textures", "--set", "image_size=64", "--set", "scales=[1.0]", "--set", "schedule.epochs=1",
    "--set", "schedule.steps=2", "--jobs", "1", "--seeds", "2", "--shots", "3",
]  # fmt: skip


def plan_digest(path: Path) -> str:
    return read_plan(path).digest[:12]


@pytest.fixture
def run(cli) -> Callable[..., None]:
    """Run two methods, one of them trained, into the folder ``store``."""

    def of(*more: str) -> None:
        done = cli("run", "--methods", "devnet", *SMALL, "--out", "store", *more)
        assert done.returncode == 0, done.stderr

    return of


def test_a_run_is_submitted_verified_and_shown(cli, run, tmp_path: Path):
    run()
    done = cli("submit", "store", "--title", "Mine", "--out", "mine.osad.zip")
    assert done.returncode == 0, done.stderr
    done = cli("verify", "mine.osad.zip")
    assert done.returncode == 0, done.stderr
    assert "2 cells of devnet: all metrics agree with the scores" in done.stdout
    assert "images, splits and labels are those here" in done.stdout
    assert "not checked: rerun: devnet: not run again; --rerun devnet does that" in done.stdout
    assert "verified: mahalanobis" in done.stderr
    assert cli("board", "mine.osad.zip", "--out", "half.html").returncode == 0
    page = (tmp_path / "half.html").read_text()
    assert page.index("<h3>Verified</h3>") < page.index("Mahalanobis") < page.index("<h3>Not verified</h3>")
    assert "no cell of it was run again" in page

    done = cli("verify", "mine.osad.zip", "--rerun", "all")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the same scores") == 2
    assert cli("board", "mine.osad.zip").returncode == 0
    page = (tmp_path / "board.html").read_text()
    assert "<h3>Not verified</h3>" not in page
    assert "noise" in page
    assert "http" not in page.replace("http-equiv", ""), "the page needs no network"


def test_scores_that_another_method_made_are_found_by_running_it_again(cli, run, tmp_path: Path):
    run()
    store = Store(tmp_path / "store")
    for record in store:  # the submitter passes other scores off as the floor's, with metrics that fit them
        if record.cell.method == "mahalanobis":
            own = store.scores(record.key)
            forged = TestScores(own.ids, own.labels, own.kinds, -own.scores)
            store.put(record.model_copy(update={"metrics": compute(forged)}), forged)
    cli("submit", "store", "--out", "forged.osad.zip")
    done = cli("verify", "forged.osad.zip")
    assert done.returncode == 1
    assert "WRONG: rerun:" in done.stdout
    assert "1 wrong; verified: no method" in done.stderr


def test_a_submission_about_images_that_are_not_here_is_recomputed_and_called_unverified(cli, photos: Path):
    done = cli("run", "--methods", "mahalanobis", *SMALL[2:], "--datasets", f"folder:{photos}", "--out", "store")
    assert done.returncode == 0, done.stderr
    cli("submit", "store", "--out", "mine.osad.zip")
    done = cli("verify", "mine.osad.zip")
    assert done.returncode == 0
    assert "not checked: splits: mahalanobis on folder/photos: these are the submitter's own images" in done.stdout
    assert "verified: no method" in done.stderr
    elsewhere = photos.rename(photos.with_name("as the reviewer calls them"))
    done = cli("verify", "mine.osad.zip", "--datasets", f"folder:{elsewhere}")
    assert "verified: mahalanobis on folder/photos" in done.stderr
    others = Path(shutil.copytree(elsewhere, photos.with_name("others")))
    next((others / "train" / "good").iterdir()).unlink()
    done = cli("verify", "mine.osad.zip", "--datasets", f"folder:{others}")
    assert f"these are the submitter's own images, and folder:{others} holds other ones" in done.stdout


def test_what_is_called_otherwise_than_it_is_is_found(run, tmp_path: Path):
    """Titles, settings and presets are words beside the configuration, which is in the key."""
    run()
    store = Store(tmp_path / "store")
    assert check_names(store) == []
    record = next(record for record in store if record.cell.method == "devnet")
    tuned = Cell(**(dict(record.cell) | {"config": record.cell.config | {"topk": 0.5}}))
    other = Cell(**(dict(record.cell) | {"preset": record.cell.preset | {"image_size": 448}}))
    own = Cell(**(dict(record.cell) | {"method": "mine"}))
    for change, message in (
        ({"method_title": "Best"}, "it is called Best, and devnet is DevNet"),
        ({"method_title": "DPDL"}, "it is called DPDL as dpdl is, and is devnet"),
        ({"cell": own, "method_title": "DPDL"}, "it is called DPDL as dpdl is, and is mine"),
        ({"dataset_title": "ELPV"}, "its data set is called ELPV, and is textures"),
        ({"cell": tuned}, "its settings are told as the defaults, and are topk=0.5"),
        ({"cell": other}, f"its preset is told as {record.preset}, and has another image_size"),
        ({"preset": "quick"}, "its preset is told as quick, and has another image_size, scales, schedule"),
    ):
        forged = Store(tmp_path / "forged" / message[:60])
        values = dict(record) | change
        forged.put(Record(**(values | {"key": values["cell"].key})), store.scores(record.key))
        (found,) = check_names(forged)
        assert found.state == "bad"
        assert found.message.endswith(message)


def test_two_submissions_of_one_method_stand_side_by_side_under_their_titles(cli, run, tmp_path: Path):
    run()
    cli("submit", "store", "--title", "North", "--out", "north.osad.zip")
    cli("submit", "store", "--title", "<b>South</b>", "--out", "south.osad.zip")
    done = cli("board", "north.osad.zip", "south.osad.zip")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "board.html").read_text()
    assert "North" in page
    assert "&lt;b&gt;South" in page
    assert "<b>South" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "gone.osad.zip"], "cannot read the submission gone.osad.zip"),
        (["verify", "text.osad.zip"], "text.osad.zip is no submission"),
        (["board", "text.osad.zip"], "text.osad.zip is no submission"),
        (["submit", "nowhere"], "no records in nowhere"),
        (["run", "--methods", "devnet", "--freeze", "plan.json"], "--freeze needs --dry-run"),
        (["run", "--methods", "devnet", "--between", "devnet,dra"], "--between goes with --until decided"),
        (["run", "--methods", "devnet", "--until", "done"], "--until done: expected decided"),
        (["run", "--methods", "devnet", "--contamination", "much"], "--contamination much: expected shares"),
    ],
)
def test_bad_input_is_one_line(cli, tmp_path: Path, arguments, message):
    (tmp_path / "text.osad.zip").write_text("hello")
    done = cli(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_unknown_name_to_run_again_is_refused(cli, run):
    run()
    cli("submit", "store", "--out", "mine.osad.zip")
    done = cli("verify", "mine.osad.zip", "--rerun", "dpdl")
    assert done.returncode == 2
    assert (
        "--rerun dpdl: expected all, or a method or key of the submission; its methods are devnet, mahalanobis"
        in done.stderr
    )


def test_a_plan_that_was_frozen_first_tells_what_was_asked_for(cli, run, tmp_path: Path):
    run("--dry-run", "--freeze", "plan.json")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert len(plan["cells"]) == 4
    assert not (tmp_path / "store").exists(), "nothing is computed"
    again = cli("run", "--methods", "devnet", *SMALL, "--dry-run", "--freeze", "plan.json")
    assert again.returncode == 2
    assert "a frozen plan is not written over" in again.stderr
    assert json.loads((tmp_path / "plan.json").read_text()) == plan
    run()
    assert cli("run", "--methods", "whitened", *SMALL, "--out", "store").returncode == 0
    done = cli("report", "store", "--plan", "plan.json", "--no-figures")
    assert done.returncode == 0, done.stderr
    assert "4 of its 4 cells are here as registered." in done.stdout
    assert "Exploratory: 2 cells (not in the plan) of whitened." in done.stdout
    assert "as registered" in (tmp_path / "store" / "report.md").read_text()
    cli("submit", "store", "--plan", "plan.json", "--out", "mine.osad.zip")
    assert "plan.json" in zipfile.ZipFile(tmp_path / "mine.osad.zip").namelist()
    cli("board", "mine.osad.zip")
    page = (tmp_path / "board.html").read_text()
    assert "exploratory: not in the plan" in page
    assert f"plan {plan_digest(tmp_path / 'plan.json')}" in page


def test_seeds_are_added_until_it_is_decided_and_the_answer_is_told(cli, tmp_path: Path):
    done = cli("run", "--methods", "devnet", *SMALL, "--out", "store", "--until", "decided", "--max-seeds", "4")
    assert done.returncode == 0, done.stderr
    assert "decided with" in done.stderr
    assert "of at most 4 seeds; over all looks, at most 5% of such questions get a wrong answer." in done.stderr
    assert json.loads((tmp_path / "store" / "until.json").read_text())["question"]["most"] == 4
