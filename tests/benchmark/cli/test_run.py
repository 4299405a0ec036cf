"""The command line as a user meets it: quick help, one-line errors with the remedy, tables on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SMALL = ["--set", "image_size=64", "--set", "schedule.epochs=2", "--set", "schedule.steps=3"]


def one_line_error(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a command that was refused: its last line, exit code 2, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) <= 1, done.stderr
    assert all(line.startswith(("plan: ", "features  ")) for line in lines[:-1]), "only what was under way comes before"
    return lines[-1]


def test_help_imports_nothing_heavy():
    """How long it takes is measured by tests/perf.py."""
    program = (
        "import sys; sys.argv = ['osad-bench', '--help']\n"
        "from osad_bench.benchmark.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', sorted({'torch', 'pandas', 'matplotlib', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    assert "osad-bench run --methods dpdl,dra" in done.stdout


def test_importing_the_results_imports_no_torch():
    program = "import sys, osad_bench.results, osad_bench.results.tables; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize(
    "verb",
    [
        "run",
        "report",
        "merge",
        "ablate",
        "sweep",
        "baseline",
        "check",
        "splits",
        "doctor",
        "datasets",
        "methods",
        "submit",
        "verify",
        "board",
    ],
)
def test_every_verb_teaches(cli, verb):
    done = cli(verb, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "dpld"], "unknown method 'dpld'; did you mean dpdl"),
        (["--methods", "dra", "--datasets", "elvp"], "unknown data set 'elvp'; did you mean elpv"),
        (["--methods", "dra", "--datasets", "textures", "--shots", "500"], "fewer than the 500 shots asked for; use --shots 71 or fewer"),
        (["--methods", "dra", "--datasets", "textures", "--shots", "ten"], "whole numbers"),
        (["--methods", "dra", "--datasets", "folder:nowhere"], "nowhere"),
        (["--methods", "dra", "--datasets", "textures", "--set", "dra.topk=7"], "topk"),
        (["--methods", "dra", "--datasets", "textures", "--device", "cuda:9"], "use --device cpu or auto"),
        (["--methods", "dra", "--precision", "half"], "expected auto, float32 or bfloat16"),
        (["--methods", "dra", "--datasets", "textures", "--backend", "slurm"], "expected local or dask"),
        (["--methods", "dra", "--datasets", "textures", "--weights", "none.pth"], "no weights file none.pth"),
        (["--config", "grid.toml"], "cannot read grid.toml"),
        ([], "--methods is missing"),
        (["--frobnicate"], "No such option"),
        (["--methods", "dra", "--jobs", "0"], "--jobs"),
        (["--methods", "dra", "--time-limit", "inf"], "--time-limit"),
        (["--methods", "dra", "--datasets", "textures", "--seeds", "0"], "--seeds: give at least one"),
        (["--methods", "dra", "--datasets", "textures", "--shots", ","], "--shots: give at least one"),
        (["--methods", "dra", "--datasets", "elpv/mono"], "unknown data set 'elpv/mono'; known: elpv"),
        (["--methods", "dra", "--datasets", "mvtec/carpt"], "did you mean mvtec/carpet?"),
        (["--methods", "dra", "--datasets", "textures", "--set", "dar.topk=0.2"], "did you mean dra"),
        (["--methods", "dra", "--datasets", "textures", "--set", "dra=0.2"], "expected dra.SETTING"),
        (["--methods", "dra", "--datasets", "textures", "--set", "image_size.x=3"], "image_size is a single value"),
        (["--methods", "dra", "--datasets", "textures", "--set", "schedule.epoch=3"], "schedule.epoch: no such setting"),
        (["--methods", "dra", "--datasets", "textures", "--set", "schedule.epochs=many"], "valid integer"),
        (["--methods", "dra", "--datasets", "textures", "--set", "stages=[9]"], "stages count from 0"),
        (["--methods", "dra", "--datasets", "textures", "--preset", "paper", "--weights", "."], "takes a file"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_the_remedy(cli, arguments, message):
    assert message in one_line_error(cli("run", *arguments))


@pytest.mark.parametrize("verb", [["runn"], ["datasets", "lst"], ["methods", "show"], ["check", "x"], ["sweep", "dra"]])
def test_wrong_usage_of_any_verb_is_one_line_with_the_way_to_help(cli, verb):
    line = one_line_error(cli(*verb))
    assert line.startswith("error: ")
    assert "; see osad-bench" in line
    assert line.endswith("--help")


@pytest.mark.parametrize("verb", [[], ["datasets"], ["methods"]])
def test_without_arguments_the_help_is_shown_and_nothing_else(cli, verb):
    done = cli(*verb)
    assert "Usage" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_an_interruption_says_that_nothing_is_lost(tmp_path: Path):
    """Ctrl-C, sent as soon as the plan stands."""
    running = subprocess.Popen(
        [Path(sys.executable).with_name("osad-bench"), "run", "--methods", "dra", "--datasets", "textures", "--jobs", "1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background ignore it
    )  # fmt: skip
    assert running.stderr is not None
    assert running.stderr.readline().startswith("plan: ")
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "Traceback" not in told
    assert "the same command goes on from there" in told


@pytest.mark.parametrize("option", ["--out", "--cache"])
def test_a_place_that_cannot_be_written_is_one_line_before_any_work(cli, tmp_path: Path, option):
    (tmp_path / "file").write_text("in the way")
    done = cli("run", "--methods", "mahalanobis", "--datasets", "textures", "--set", "image_size=64", option, "file")
    assert "file" in one_line_error(done)
    assert "features  " not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line_that_says_what_is_safe():
    command = [Path(sys.executable).with_name("osad-bench"), "datasets", "list", "textures", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: no space left on the disk. Finished records are safe")


def test_a_path_typed_as_a_name_is_told_how_it_is_written(cli, photos: Path):
    assert "folder:photos" in one_line_error(cli("run", "--methods", "dra", "--datasets", "photos"))


def test_a_small_test_part_is_said_to_be_coarse(cli, photos: Path):
    done = cli("run", "--methods", "mahalanobis", "--datasets", f"folder:{photos}", "--shots", 2, *SMALL[:2])
    assert "tested on 6 normals and 10 anomalies only: one image moves an AUROC by up to 0.17" in done.stderr


def test_a_folder_without_train_good_says_what_it_should_look_like(cli, photos: Path):
    (photos / "train" / "good").rename(photos / "train" / "fine")
    assert "train/good" in one_line_error(
        cli("run", "--methods", "dra", "--datasets", f"folder:{photos}", "--shots", 2)
    )


def test_a_broken_image_is_named(cli, photos: Path):
    (photos / "train" / "good" / "003.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    line = one_line_error(cli("run", "--methods", "dra", "--datasets", f"folder:{photos}", "--shots", 2, *SMALL))
    assert "003.png" in line


def test_the_hard_setting_with_one_kind_points_to_the_general_one(cli, photos: Path):
    for image in (photos / "test" / "blue").iterdir():
        image.unlink()
    (photos / "test" / "blue").rmdir()
    line = one_line_error(
        cli("run", "--methods", "dra", "--datasets", f"folder:{photos}", "--setting", "hard", "--shots", 2)
    )
    assert "at least two kinds" in line
    assert "--setting general" in line


def test_a_folder_of_ones_own_gives_a_table_and_then_json(cli, photos: Path, tmp_path: Path):
    command = ["run", "--methods", "devnet", "--datasets", f"folder:{photos}", "--shots", 2, "--seeds", 2, *SMALL]
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert "DevNet" in done.stdout or "devnet" in done.stdout
    assert "Mahalanobis" in done.stdout or "mahalanobis" in done.stdout
    assert "±" in done.stdout
    rows = [json.loads(line) for line in cli(*command, "--json").stdout.splitlines()]
    assert {row["method"] for row in rows} == {"devnet", "mahalanobis"}
    assert all(0 <= row["auroc"] <= 1 for row in rows)
    assert "4 done, 0 to do" in cli(*command, "--dry-run").stderr


def test_an_rgba_and_a_palette_image_are_read_like_any_other(cli, photos: Path):
    path = photos / "train" / "good" / "003.png"
    Image.open(path).convert("RGBA").save(path)
    other = photos / "test" / "red" / "001.png"
    Image.open(other).convert("P").save(other)
    done = cli("run", "--methods", "mahalanobis", "--datasets", f"folder:{photos}", "--shots", 2, "--seeds", 1, *SMALL)
    assert done.returncode == 0, done.stderr


def test_splits_are_written_and_checked_against_the_data(cli, tmp_path: Path):
    done = cli("splits", "--datasets", "textures", "--setting", "general,hard", "--shots", "10,1", "--seeds", 2)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "osad-splits").iterdir())
    assert len(files) == (1 + 3) * 2 * 2
    assert done.stdout.splitlines() == [
        str(Path("osad-splits") / name) for name in map(Path.name.fget, map(Path, done.stdout.split()))
    ]
    checked = cli("splits", "--check", *files)
    assert checked.returncode == 0
    assert checked.stdout.count("the same split, same images") == len(files)
    files[0].write_text(files[0].read_text().replace("/textures", "").replace("# fingerprint: ", "# fingerprint: 0"))
    other = cli("splits", "--check", files[0])
    assert other.returncode == 1
    assert "other images" in other.stdout


def test_a_split_of_ones_own_images_is_checked_where_they_lie(cli, photos: Path, tmp_path: Path):
    cli("splits", "--datasets", f"folder:{photos}", "--shots", 2, "--seeds", "7,", "--out", "s")
    (file,) = (tmp_path / "s").iterdir()
    assert file.name == "folder-photos_general_m2_seed7.tsv"
    assert "--datasets folder:photos" in one_line_error(cli("splits", "--check", file))
    assert cli("splits", "--check", file, "--datasets", "folder:photos").returncode == 0
    (photos / "train" / "good" / "000.png").unlink()
    changed = cli("splits", "--check", file, "--datasets", "folder:photos")
    assert (changed.returncode, changed.stdout) == (1, f"{file}: another split, other images (fingerprints differ)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shots", "0"], "greater than or equal to 1"),
        (["--setting", "easy"], "'general' or 'hard'"),
        (["--out", "/dev/null/x"], "/dev/null/x"),
        (["--check"], "--check needs files"),
        (["--check", "none.tsv"], "cannot read the split none.tsv"),
        (["split.tsv"], "with --check only"),
    ],
)
def test_splits_refuses_bad_input_in_one_line(cli, arguments, message):
    assert message in one_line_error(
        cli("splits", *(["--datasets", "textures"] if "--check" not in arguments else []), *arguments)
    )


def test_the_doctor_names_what_it_finds(cli):
    done = cli("doctor")
    assert "efficientnet_lite0 (preset quick)" in done.stdout
    for noun in ("python", "packages", "device", "methods", "cache"):
        assert noun in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["splits", "--check"], ["published", "--datasets"], ["run", "--methods", "dra", "--set"], ["check", "DIR", "--against"],
     ["score", "DIR", "--fail-on"], ["methods", "show"], ["run", "--no-such-option"]],
)  # fmt: skip
def test_no_text_that_was_given_starts_a_line_or_moves_the_cursor(cli, arguments):
    done = cli(*arguments, "x\x1b[2J\n::error::forged\u202e")
    assert done.returncode == 2
    assert not {"\x1b", "\u202e"} & set(done.stderr)
    assert not [line for line in done.stderr.splitlines() if line.startswith("::")]
