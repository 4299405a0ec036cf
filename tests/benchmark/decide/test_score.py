"""`osad-bench fit` and `score` as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from osad_bench.benchmark.decide.about import FittedTo
from osad_bench.benchmark.decide.fit import fit
from osad_bench.benchmark.decide.model import Fitted
from osad_bench.benchmark.decide.score import Verdict, find, other_shape, verdicts, watching
from osad_bench.benchmark.decide.sheet import MOST_JPEG, caption, draw_tiles, encoded, on_one_scale, overlay
from osad_bench.benchmark.decide.tables import row
from osad_bench.core.errors import InputError


@pytest.fixture
def model(fitted, tmp_path) -> Path:
    """An Evidence model with 12 held-out normals: it can promise 8 % and more."""
    return fitted("evidence").save(tmp_path / "model")


@pytest.fixture
def photos(parts, tmp_path) -> Path:
    """Photographs of all sorts, in sub-folders, one of them broken, one no image."""
    folder = tmp_path / "photos"
    shutil.copytree(parts / "test", folder)
    (folder / "hole" / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_every_photograph_is_a_row_of_csv_and_a_broken_one_stops_nothing(cli, model, photos):
    done = cli("score", model, photos, "--false-alarms", "0.1")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["file", "score", "p_value", "decision", "problem"]
    assert len(rows) == 21
    broken = [one for one in rows if one["decision"] == "broken"]
    assert [one["file"] for one in broken] == ["hole/broken.jpg"]
    assert "broken.jpg" in broken[0]["problem"]
    assert broken[0]["score"] == ""
    found = [one["file"] for one in rows if one["decision"] == "anomaly"]
    assert sum(name.startswith(("hole", "burr")) for name in found) >= 6, "dark spots, which the model was fitted to"
    for one in rows:
        if one["decision"] in ("anomaly", "normal"):
            assert (float(one["p_value"]) <= 0.1) == (one["decision"] == "anomaly")
    assert "1 .txt" in done.stderr
    assert "at most 10 %" in done.stderr


def test_a_photograph_of_another_shape_is_scored_and_said_to_be_outside_the_promise(cli, model, photos, part):
    part(900).rotate(90, expand=True).save(photos / "across.png")
    part(901).resize((58, 80)).save(photos / "nearly.png")
    done = cli("score", model, photos, "--false-alarms", "0.1")
    rows = {one["file"]: one for one in csv.DictReader(io.StringIO(done.stdout))}
    told = [name for name, one in rows.items() if one["problem"] and one["decision"] != "broken"]
    assert told == ["across.png"], "not the photograph that its EXIF orientation turns upright"
    assert rows["across.png"]["score"]
    assert "80 x 56 pixels, width / height 1.43" in rows["across.png"]["problem"]
    assert "0.70" in rows["across.png"]["problem"]
    (said,) = [line for line in done.stderr.splitlines() if "another shape" in line]
    assert (
        said == "1 photograph of another shape than the normals fitted to, first across.png: nothing is promised for it"
    )
    assert "another shape" in cli("score", model, photos, "--false-alarms", "0").stderr
    (verdict,) = verdicts(Fitted.load(model), [("across.png", photos / "across.png")], 0.1)
    assert caption(verdict)[1].endswith(", another shape")


def test_a_shape_is_another_beyond_five_percent_and_where_the_model_knows_its_own(part):
    assert part(1).width / part(1).height == 0.7
    assert not other_shape(part(1), None)
    for low, high, found in (
        (0.5, 0.9, ""),
        (0.73, 0.9, ""),
        (0.5, 0.67, ""),
        (0.74, 0.9, "0.74 to 0.90"),
        (0.66, 0.66, "0.66"),
    ):
        assert found in other_shape(part(1), (low, high))
        assert bool(found) == bool(other_shape(part(1), (low, high)))


def test_the_shapes_of_all_normals_count_and_none_of_an_anomaly(tmp_path, part):
    folder = tmp_path / "mixed"
    sizes = {"train/good": [(56, 80)] * 7, "test/good": [(80, 56)] + [(56, 80)] * 4, "test/hole": [(160, 40)] * 3}
    for kind, shapes in sizes.items():
        (folder / kind).mkdir(parents=True)
        for number, shape in enumerate(shapes):
            part(len(kind) * 100 + number, "hole" in kind).resize(shape).save(folder / kind / f"{number}.png")
    model = fit("mahalanobis", f"folder:{folder}", calibrate=4, set={"image_size": [64]})
    assert model.about.fitted_to.aspects == (56 / 80, 80 / 56)


@pytest.mark.parametrize("aspects", [[float("nan"), 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0, float("inf")]])
def test_a_shape_that_none_can_have_is_a_damaged_model(fitted, aspects):
    told = fitted("evidence").about.fitted_to.model_dump() | {"aspects": aspects}
    with pytest.raises(ValidationError):
        FittedTo.model_validate(told)


def test_json_lines_hold_the_same_as_the_csv_and_as_python(cli, model, photos):
    lines = [
        json.loads(line) for line in cli("score", model, photos, "--false-alarms", "0.1", "--json").stdout.splitlines()
    ]
    rows = list(csv.DictReader(io.StringIO(cli("score", model, photos, "--false-alarms", "0.1").stdout)))
    frame = Fitted.load(model).score(photos, 0.1)
    assert [line["file"] for line in lines] == [one["file"] for one in rows] == frame["file"].tolist()
    assert [line["score"] for line in lines] == [float(one["score"]) if one["score"] else None for one in rows]
    assert [line["score"] or 0.0 for line in lines] == frame["score"].fillna(0).tolist()
    assert [line["decision"] for line in lines] == frame["decision"].tolist()


def test_too_few_held_out_normals_are_an_error_that_says_how_many_are_needed(cli, model, photos):
    done = cli("score", model, photos)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--false-alarms 0.01 needs at least 99 held-out normals, and this model has 12" in done.stderr
    assert "it can promise 0.077 or more" in done.stderr


def test_a_model_without_held_out_normals_scores_and_decides_nothing(cli, fitted, photos, tmp_path):
    model = fitted("mahalanobis", 0).save(tmp_path / "bare")
    assert cli("score", model, photos).returncode == 2
    done = cli("score", model, photos, "--false-alarms", "0", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["decision"] for line in lines} == {"", "broken"}
    assert {line["p_value"] for line in lines} == {None}


@pytest.mark.parametrize(
    ("what", "where", "code"),
    [("anomaly", "hole", 1), ("anomaly", "none", 0), ("broken", "hole", 1), ("broken", "good", 0), ("any", "hole", 1)],
)
def test_the_exit_code_says_what_was_asked_for(cli, model, photos, what, where, code):
    (photos / "none").mkdir()
    shutil.copy(photos / "good" / "00.png", photos / "none" / "00.png")
    assert cli("score", model, photos / where, "--false-alarms", "0.08", "--fail-on", what).returncode == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{model}", "{photos}", "--fail-on", "legs"], "--fail-on legs: expected one of anomaly, broken, any"),
        (["{model}", "{photos}", "--sheet", "sheet.doc"], "--sheet sheet.doc: expected a name that ends in .html"),
        (["{model}", "{photos}", "--false-alarms", "1.5"], "expected a share above 0 and below 1"),
        (["{model}", "nowhere"], "there is no file or folder nowhere"),
        (["{model}", "{photos}/none"], "there is no photograph in"),
        (["{photos}", "{photos}"], "is no model (model.json: No such file or directory)"),
    ],
)
def test_wrong_input_is_one_line_with_the_remedy(cli, model, photos, arguments, message):
    (photos / "none").mkdir()
    done = cli("score", *[text.format(model=model, photos=photos) for text in arguments])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ending", ["html", "png", "jpg"])
def test_the_sheet_shows_the_most_anomalous_with_their_heat_maps(cli, model, photos, tmp_path, ending):
    sheet = tmp_path / "out" / f"sheet.{ending}"
    done = cli("score", model, photos, "--false-alarms", "0.1", "--sheet", sheet, "--most", "6")
    assert done.returncode == 0, done.stderr
    if ending != "html":
        with Image.open(sheet) as image:
            assert image.width > 4 * 220
        return
    text = sheet.read_text("utf-8")
    assert text.count("<figure") == 6
    assert text.count("data:image/jpeg") == 12
    assert text.count('class="anomaly"') == 6, "the most anomalous of 20, 8 of them with a spot"
    assert "broken.jpg" in text
    assert "<strong>anomaly, score " in text
    assert "<p>Promised: a normal like those" in text
    assert "http" not in text.replace("http-equiv", "")


def test_names_are_text_on_the_page_and_no_formula_in_a_spreadsheet(cli, fitted, photos, tmp_path):
    odd = photos / "odd"
    odd.mkdir()
    for name in ("=1+1.png", "<b>x</b>".replace("/", "") + ".png", "line\nbreak.png"):
        shutil.copy(photos / "good" / "00.png", odd / name)
    model = fitted("evidence").save(tmp_path / "m")
    done = cli("score", model, odd, "--false-alarms", "0.1", "--sheet", tmp_path / "s.html")
    assert done.returncode == 0, done.stderr
    names = [one["file"] for one in csv.DictReader(io.StringIO(done.stdout))]
    assert names == ["<b>x<b>.png", "'=1+1.png", r"line\nbreak.png"]
    assert "<b>" not in (tmp_path / "s.html").read_text("utf-8")
    verdict = Verdict("=1+1.png", odd, 0.5, 0.5, "normal")
    assert json.loads(row(verdict, as_json=True))["file"] == "=1+1.png", "JSON is no spreadsheet"


def test_a_heat_map_is_red_where_the_map_is_highest_and_grey_where_it_is_low():
    maps = np.zeros((2, 8, 8))
    maps[1, 2, 5] = 4.0
    low, high = on_one_scale(list(maps))
    assert low.max() == 0.0
    assert high.max() == 1.0
    drawn = np.asarray(overlay(Image.new("RGB", (80, 80), (120, 120, 120)), high)).astype(int)
    redness = drawn[:, :, 0] - drawn[:, :, 2]
    top, left = np.unravel_index(redness.argmax(), redness.shape)
    assert (abs(top - 25) <= 5, abs(left - 55) <= 5) == (True, True)
    assert redness[60:, :20].max() == 0


@pytest.mark.parametrize("wide", [False, True])
def test_the_heat_map_of_a_long_photograph_in_tiles_lies_on_its_defect(wide, tmp_path, settings):
    random = np.random.default_rng(5)
    for name, count in (("train/good", 12), ("test/good", 4), ("test/hole", 3)):
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.normal(140, 14, (150, 50, 3)).clip(0, 255).astype(np.uint8)
            if name == "test/hole":
                pixels[110:122, 20:32] = 20
            turned = pixels.transpose(1, 0, 2) if wide else pixels
            Image.fromarray(turned).save(tmp_path / name / f"{number}.png")
    model = fit("patchcore", f"folder:{tmp_path}", calibrate=0, set={"image_size": [128], "tiles": [3]})
    path = tmp_path / "test" / "hole" / "0.png"
    (tile,) = draw_tiles(model, [Verdict("0.png", path, 1.0, None, "")])
    drawn = np.asarray(tile.heat).astype(int)
    top, left = np.unravel_index((drawn[:, :, 0] - drawn[:, :, 2]).argmax(), drawn.shape[:2])
    along, across = (left, top) if wide else (top, left)
    assert along / max(drawn.shape[:2]) == pytest.approx(116 / 150, abs=0.08)
    assert across / min(drawn.shape[:2]) == pytest.approx(26 / 50, abs=0.25)


def test_files_and_folders_are_found_once_each_in_order(photos):
    found = find([photos])
    assert list(found.files)[:3] == ["burr/00.png", "burr/01.png", "burr/02.png"]
    assert found.passed_over == {".txt": 1}
    assert len(find([photos / "good", photos / "burr/00.png"]).files) == 13


def test_a_folder_that_is_not_looked_into_is_counted(photos, monkeypatch):
    (photos / "more").symlink_to(photos / "good", target_is_directory=True)
    assert find([photos]).said() == "1 .txt, 1 linked folder"
    scan = os.scandir

    def locked(folder: str):
        if Path(folder).name in ("burr", "alone"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", locked)
    found = find([photos])
    assert found.said() == "1 .txt, 1 folder that cannot be read, 1 linked folder"
    assert next(iter(found.files)) == "good/00.png"
    (photos / "alone").mkdir()
    with pytest.raises(InputError, match="alone cannot be read: Permission denied"):
        find([photos / "alone"])


def test_a_watched_folder_that_is_away_for_a_while_is_looked_for_again(fitted, photos):
    found = watching(fitted("evidence"), [photos / "good"], None, pause=0)
    assert next(found).file == "00.png"
    (photos / "good").rename(photos / "away")
    threading.Timer(0.2, (photos / "away").rename, [photos / "good"]).start()
    shutil.copy(photos / "away" / "00.png", photos / "away" / "new.png")
    assert "new.png" in [next(found).file for _ in range(12)]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_watched_folder_gives_a_row_per_file_as_it_arrives_and_ends_by_ctrl_c(model, photos, tmp_path):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    command = [
        Path(sys.executable).with_name("osad-bench"), "score", model, incoming, "--watch", "--false-alarms", "0.1",
    ]  # fmt: skip
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background ignore it
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "file,score,p_value,decision,problem\n"
            shutil.copy(photos / "hole" / "00.png", incoming / "first.png")
            assert process.stdout.readline().startswith("first.png,")
            whole = (photos / "good" / "00.png").read_bytes()
            (incoming / "second.png").write_bytes(whole[:200])  # stands still half-written, then goes on
            assert ",broken," in process.stdout.readline()
            (incoming / "second.png").write_bytes(whole)
            assert process.stdout.readline().startswith("second.png,")
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "3 photographs" in process.stderr.read()


def test_fit_says_what_was_fitted_to_what_and_what_can_be_promised(cli, parts, tmp_path):
    small = ["--set", "image_size=64"]
    done = cli("fit", "mahalanobis", f"folder:{parts}", "--out", "model", "--calibrate", "12", *small)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Mahalanobis fitted to 24 normals and 8 anomalies (3 burr, 5 hole)" in done.stderr
    assert "next: osad-bench score model PHOTOS --false-alarms 0.1 --sheet" in done.stderr
    assert (
        "12 other normals held out for the threshold: the smallest share of false alarms that it can promise is 7.69 %"
        in done.stderr
    )
    assert "for 1 % it needs 99 held-out normals" in done.stderr
    again = cli("fit", "mahalanobis", f"folder:{parts}", "--out", "model", *small)
    assert again.returncode == 2
    assert "add --replace" in again.stderr
    assert cli("fit", "mahalanobis", f"folder:{parts}", "--out", "model", "--replace", *small).returncode == 0


def test_a_reader_that_goes_away_costs_no_sheet(model, photos, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [Path(sys.executable).with_name("osad-bench"), "score", model, photos, "--false-alarms", "0.1"]
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [*command, "--sheet", tmp_path / "s.html"], stdout=gone, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 0, done.stderr
    assert "</html>" in (tmp_path / "s.html").read_text("utf-8")


@pytest.mark.parametrize(("option", "message"), [("--weights", "no regular file"), ("--device", "expected cpu, cuda")])
def test_what_is_wrong_with_the_model_s_machine_is_said_before_the_first_line(
    cli, model, photos, tmp_path, option, message
):
    os.mkfifo(tmp_path / "meta")
    done = cli("score", model, photos, "--false-alarms", "0.1", option, "meta")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_sheet_longer_than_a_jpeg_can_be_is_refused_in_one_sentence(tmp_path):
    long = Image.new("RGB", (8, MOST_JPEG + 1))
    with pytest.raises(InputError, match=r"--sheet s\.jpg.*show fewer photographs \(--most\)"):
        encoded(long, Path("s.jpg"))
    with Image.open(io.BytesIO(encoded(long, Path("s.png")))) as image:
        assert image.size == long.size
