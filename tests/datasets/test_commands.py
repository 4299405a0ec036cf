"""`osad-bench datasets`, and what `run` and `splits` say about data, through the command line itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def test_list_shows_what_is_here_and_where_to_get_the_rest(cli, mvtec, hyper_kvasir):
    code, out, err = cli("datasets", "list", "--data-root", mvtec)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert {"aitex", "brainmri", "elpv", "headct", "hyper-kvasir", "mastcam", "mvtec", "optical", "sdd"} <= set(lines)
    assert lines["hyper-kvasir"].split()[-1] == "incomplete"
    assert lines["sdd"].split()[-1] == "missing"
    assert "1197" in lines["sdd"], "a missing one shows the published numbers"
    assert "https://www.vicos.si/resources/kolektorsdd/" in err
    assert "kos01 to kos50" in err.replace("\n", " ")
    assert "folder:PATH" in err
    assert "csv:FILE" in err


def test_list_json_of_the_classes_of_mvtec(cli, mvtec):
    code, out, _ = cli("datasets", "list", "mvtec", "--json", "--data-root", mvtec)
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert len(rows) == 15
    assert (rows["mvtec/carpet"]["images"], rows["mvtec/carpet"]["state"]) == (11, "incomplete")
    assert rows["mvtec/carpet"]["numbers_from"] == "data"
    assert (rows["mvtec/wood"]["state"], rows["mvtec/wood"]["normals"]) == ("missing", 266)


def test_the_data_root_can_come_from_the_environment(cli, mvtec, monkeypatch):
    monkeypatch.setenv("OSAD_BENCH_DATA", str(mvtec))
    _, out, _ = cli("datasets", "list", "mvtec/carpet", "--json")
    assert json.loads(out)[0]["folder"].endswith("mvtec_anomaly_detection/carpet")


def test_verify_gives_exit_code_0_for_a_sound_folder_and_1_for_a_broken_file(cli, mvtec):
    carpet = mvtec / "mvtec_anomaly_detection" / "carpet"
    code, out, _ = cli("datasets", "verify", f"folder:{carpet}")
    assert code == 0
    assert "sound  fingerprint" in out
    broken = carpet / "test" / "cut" / "000.png"
    broken.write_bytes(broken.read_bytes()[:100])
    code, out, _ = cli("datasets", "verify", f"folder:{carpet}")
    assert code == 1
    assert "error test/cut/000.png: image " in out
    assert "is broken" in out
    assert "restore it from its original, or remove it" in out


def test_verify_json_lists_zero_byte_files_and_duplicates(cli, mvtec):
    carpet = mvtec / "mvtec_anomaly_detection" / "carpet"
    (carpet / "test" / "good" / "000.png").write_bytes((carpet / "train" / "good" / "004.png").read_bytes())
    with Image.open(carpet / "train" / "good" / "003.png") as image:
        image.save(carpet / "test" / "good" / "001.png", compress_level=0)  # other bytes, same pixels
    code, out, _ = cli("datasets", "verify", f"folder:{carpet}", "--json")
    (report,) = json.loads(out)
    assert code == 0
    assert report["surplus_copies"] == 2
    groups = {tuple(group["ids"]): group for group in report["duplicates"]}
    same = groups["test/good/000.png", "train/good/004.png"]
    assert same["identical_files"]
    assert same["parts"] == ["test normal", "train normal"]
    assert not groups["test/good/001.png", "train/good/003.png"]["identical_files"]
    assert cli("datasets", "verify", f"folder:{carpet}", "--strict")[0] == 1
    (carpet / "train" / "good" / "000.png").write_bytes(b"")
    code, out, _ = cli("datasets", "verify", f"folder:{carpet}", "--json")
    (report,) = json.loads(out)
    assert code == 1
    assert [(problem["severity"], problem["file"]) for problem in report["problems"]] == [
        ("error", "train/good/000.png")
    ]


def test_verify_counts_copies_that_cross_the_split_that_run_makes(cli, tmp_path, draw):
    base = tmp_path / "f"
    for index in range(12):
        draw.image(base / "test" / "hole" / f"{index}.png")
        draw.image(base / "train" / "good" / f"{index}.png")
    (base / "test" / "good").mkdir()
    for index in range(3):
        (base / "test" / "good" / f"{index}.png").write_bytes((base / "train" / "good" / f"{index}.png").read_bytes())
    code, out, _ = cli("datasets", "verify", f"folder:{base}")
    assert code == 0
    assert "has 3 test images with a copy in training: run --dedup keeps one of each group" in out


def test_verify_of_what_is_not_there_says_where_to_get_it_and_gives_exit_code_2(cli, tmp_path):
    code, _, err = cli("datasets", "verify", "mastcam", "--data-root", tmp_path)
    assert code == 2
    assert err.startswith("error: data set 'mastcam' is missing:")
    assert "https://zenodo.org/records/3732485" in err
    assert "train_typical, test_typical and test_novel/<kind>" in err


def test_verify_examines_the_others_where_one_is_missing(cli, mvtec):
    code, out, err = cli("datasets", "verify", "mastcam", "mvtec/carpet", "--data-root", mvtec, "--json")
    assert code == 2
    assert [report["dataset"] for report in json.loads(out)] == ["mvtec/carpet"]
    assert err.splitlines()[-1].startswith("error: data set 'mastcam' is missing:")


def test_verify_of_a_download_that_cannot_be_listed_reports_all_reasons(cli, aitex):
    for name in ("0001_002_00_mask.png", "0044_019_04_mask1.png", "0044_019_04_mask2.png"):
        (aitex / "aitex" / "Mask_images" / name).unlink()
    code, out, _ = cli("datasets", "verify", "aitex", "--json", "--data-root", aitex)
    (report,) = json.loads(out)
    assert code == 1
    assert [problem["file"] for problem in report["problems"] if problem["severity"] == "fatal"] == [
        "Mask_images/0001_002_00_mask.png",
        "Mask_images/0044_019_04_mask.png",
    ]


def test_an_unknown_name_is_answered_with_the_nearest(cli):
    code, _, err = cli("datasets", "verify", "brain-mri")
    assert code == 2
    assert "did you mean brainmri" in err


def test_preview_has_a_row_of_normals_of_each_kind_and_of_each_generator(cli, mvtec, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    carpet = mvtec / "mvtec_anomaly_detection" / "carpet"
    code, printed, _ = cli(
        "datasets", "preview", f"folder:{carpet}", "--out", out, "--columns", 3, "--size", 60, "--seed", 1
    )
    assert (code, printed.strip()) == (0, str(out))
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (28 + 6 * 66 + 6, 170 + 3 * 66 + 6, 3)
    top = 28 + 6
    drawn = [sheet[top + row * 66 : top + row * 66 + 60, 170:].std() > 20 for row in range(6)]
    assert drawn == [True] * 6, "normal, color, cut, cutmix, cutpaste, texture"


def test_preview_outlines_what_each_generator_has_changed_and_nothing_else(cli, mvtec, tmp_path):
    out = tmp_path / "sheet.png"
    carpet = mvtec / "mvtec_anomaly_detection" / "carpet"
    cli("datasets", "preview", f"folder:{carpet}", "--out", out, "--columns", 1, "--size", 256)  # no resizing
    sheet = np.asarray(Image.open(out))
    rows = [sheet[34 + row * 262 : 34 + row * 262 + 256, 170:426] for row in range(6)]
    outlined = [bool((row == (255, 40, 40)).all(axis=2).sum() > 10) for row in rows]
    assert outlined == [False, False, False, True, True, True]


def test_preview_of_mvtec_asks_for_a_class_and_an_unwritable_place_is_named(cli, mvtec):
    code, _, err = cli("datasets", "preview", "mvtec", "--data-root", mvtec)
    assert code == 2
    assert "preview one, such as mvtec/bottle" in err
    code, _, err = cli("datasets", "preview", "textures", "--out", "/proc/sheet.png")
    assert code == 2
    assert "cannot write /proc/sheet.png" in err


@pytest.mark.parametrize(("name", "kind"), [("mvtec/toothbrush", "defective")])
def test_the_hard_setting_is_refused_where_there_is_one_kind(cli, mvtec, name, kind, tmp_path):
    code, _, err = cli(
        "splits", "--datasets", name, "--setting", "hard", "--shots", 1, "--data-root", mvtec, "--out", tmp_path / "s"
    )
    assert code == 2
    assert f"the hard setting needs at least two kinds of anomaly, and {name} has 1 ({kind})" in err
    assert "use --setting general" in err


def test_the_hard_setting_takes_every_kind_in_turn_where_there_are_two(cli, mvtec, tmp_path):
    code, out, _ = cli(
        "splits", "--datasets", "mvtec/carpet", "--setting", "hard", "--shots", 1, "--seeds", 1,
        "--data-root", mvtec, "--out", tmp_path / "s",
    )  # fmt: skip
    assert code == 0
    assert sorted(Path(line).name.split("_hard_")[1] for line in out.splitlines()) == [
        "color_m1_seed0.tsv",
        "cut_m1_seed0.tsv",
    ]
