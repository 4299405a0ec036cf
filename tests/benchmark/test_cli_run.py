"""The command line as a user meets it: quick help, one-line errors with the remedy, tables on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
import time
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


def test_help_comes_at_once_and_without_torch(cli):
    program = (
        "import sys; sys.argv = ['osad-bench', '--help']\n"
        "from osad_bench.benchmark.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', sorted({'torch', 'pandas', 'matplotlib', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        help_text = cli("--help").stdout
        seconds.append(time.perf_counter() - start)
    assert "osad-bench run --methods dpdl,dra" in help_text
    # 0.5 s on a quiet machine; the tests' other processes may be busy.
    assert min(seconds) < 1.5


def test_importing_the_results_imports_no_torch():
    program = "import sys, osad_bench.results, osad_bench.results.tables; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("verb", ["run", "report", "splits", "doctor", "datasets", "methods"])
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
        (["--methods", "dra", "--datasets", "textures", "--backend", "slurm"], "expected local or dask"),
        (["--methods", "dra", "--datasets", "textures", "--weights", "none.pth"], "no weights file none.pth"),
        (["--config", "grid.toml"], "cannot read grid.toml"),
        ([], "methods"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_the_remedy(cli, arguments, message):
    assert message in one_line_error(cli("run", *arguments))


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
    checked = cli("splits", "--check", files[0])
    assert checked.returncode == 0
    assert "the same split, same images" in checked.stdout
    files[0].write_text(files[0].read_text().replace("/textures", "").replace("# fingerprint: ", "# fingerprint: 0"))
    other = cli("splits", "--check", files[0])
    assert other.returncode == 1
    assert "other images" in other.stdout


def test_the_doctor_names_what_it_finds(cli):
    done = cli("doctor")
    assert "efficientnet_lite0 (preset quick)" in done.stdout
    for noun in ("python", "packages", "device", "methods", "cache"):
        assert noun in done.stdout
    assert "Traceback" not in done.stderr
