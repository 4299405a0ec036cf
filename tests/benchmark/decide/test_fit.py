"""Fitting and keeping models: what is fitted to what, and that a model survives its folder to the last bit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save

from osad_bench.benchmark.cell.execute import execute, register_file
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.split import Split
from osad_bench.benchmark.decide.about import ABOUT, BELOW, CALIBRATION, METHOD, digest_of
from osad_bench.benchmark.decide.fit import division, fit, fit_cell, plan_fit, to_hold_out
from osad_bench.benchmark.decide.model import load_model
from osad_bench.benchmark.grid.plan import plan, read_grid
from osad_bench.core.errors import InputError
from osad_bench.core.registry import methods
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.methods.base import Method

SMALL = {"image_size": [64], "schedule.epochs": [1], "schedule.steps": [2]}


@pytest.mark.parametrize("method", methods.names())
def test_every_method_can_be_kept_and_scores_the_same_afterwards(method, fitted, parts, tmp_path):
    model = fitted(method)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model", device="cpu")
    assert np.array_equal(again.calibration, model.calibration)
    before, after = (one.score(parts / "test", 0.1) for one in (model, again))
    assert before["score"].tolist() == after["score"].tolist()
    assert before["decision"].tolist() == after["decision"].tolist()


@pytest.mark.parametrize(
    ("method", "tiles"), [("evidence", 1), ("devnet", 2), ("dra", 1), ("mahalanobis", 1), ("patchcore", 2)]
)
def test_scores_are_those_of_the_benchmark_to_the_last_bit_whatever_is_scored_with_them(
    method, tiles, settings, parts, cache
):
    machine = Machine(cache=cache)
    grid = read_grid(None, {
        "methods": [method], "datasets": [f"folder:{parts}"], "shots": [3], "seeds": [0], "floor": None,
        "set": settings(method) | {"tiles": [tiles]},
    })  # fmt: skip
    (planned,) = plan(grid, machine)
    assert ("tiles" in planned.cell.preset) == (tiles > 1), "keys without tiles are what they were"
    record, test = execute(planned, machine)
    assert test is not None, record.error
    model = fit_cell(planned, machine)
    benchmark = dict(zip(test.ids.tolist(), test.scores.tolist()))
    files = [
        parts / name for name in sorted(benchmark, key=lambda name: name[::-1])
    ]  # another order, one broken between
    scored = model.score([*files[:3], parts / "train/good/00.png", *files[3:]], None)
    found = {Path(name).relative_to(parts).as_posix(): score for name, score in zip(scored["file"], scored["score"])}
    assert {name: found[name] for name in benchmark} == benchmark
    few = model.score(files[:2], None)
    assert few["score"].tolist() == [benchmark[path.relative_to(parts).as_posix()] for path in files[:2]]


def test_a_fine_tuned_backbone_is_kept_and_its_held_out_scores_are_those_it_gives(parts, tmp_path, cache):
    weights = tmp_path / "resnet18.pth"
    from torchvision.models import resnet18

    torch.manual_seed(0)
    torch.save(resnet18(weights=None).state_dict(), weights)
    machine = Machine(cache, weights=weights, precision="bfloat16")
    changes = SMALL | {"schedule.batch": [8], "tiles": [2]}
    planned = plan_fit("devnet", f"folder:{parts}", machine, calibrate=10, preset="paper", set=changes)
    model = fit_cell(planned, machine)
    held = model.score([parts / name for name in planned.division.test_normal], None)
    assert held["score"].tolist() == model.calibration.tolist(), "in one number format, whatever the machine prefers"
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model", device="cpu", weights=weights)
    assert again.score(parts / "test", None)["score"].tolist() == model.score(parts / "test", None)["score"].tolist()


def test_the_held_out_normals_are_not_fitted_to_and_no_image_is_on_both_sides(parts):
    dataset = open_dataset(f"folder:{parts}")
    found = division(dataset, None, 0)
    assert len(found.test_normal) == 18, "half, as a quarter of 36 cannot promise 1 %"
    assert not found.test_anomaly
    assert len(found.train_anomaly) == 8
    assert len(found.train_normal) + len(found.test_normal) == 36
    assert division(dataset, None, 0) == found != division(dataset, None, 1)
    assert isinstance(found, Split)


@pytest.mark.parametrize(("normals", "held"), [(8, 4), (100, 50), (198, 99), (300, 99), (396, 99), (1000, 250)])
def test_a_quarter_is_held_out_or_what_one_percent_needs_but_never_more_than_half(normals, held):
    assert to_hold_out(normals) == held


def test_copies_are_used_once_and_contradicting_labels_not_at_all(parts, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(parts, folder)
    shutil.copy(folder / "train/good/02.png", folder / "test/good/again.png")
    shutil.copy(folder / "train/good/03.png", folder / "test/hole/which.png")
    model = fit("mahalanobis", f"folder:{folder}", calibrate=10, set=SMALL)
    to = model.about.fitted_to
    assert (to.normals + to.calibration, to.copies, to.contradictory) == (35, 1, 2)
    assert to.anomalies == {"burr": 3, "hole": 5}


def test_a_model_holds_tensors_and_text_and_no_image(fitted, tmp_path):
    fitted("devnet").save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "below.safetensors", "calibration.safetensors", "method.safetensors", "model.json",
    ]  # fmt: skip
    about = json.loads((tmp_path / "model" / ABOUT).read_text("utf-8"))
    assert about["fitted_to"]["normals"] == 24
    assert about["backbone"] == "efficientnet_lite0"
    assert about["preset"]["image_size"] == 64


def test_what_lies_at_the_place_of_a_model_is_never_lost(fitted, tmp_path):
    model = fitted("devnet")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists and is no model"):
        model.save(tmp_path / "photos", replace=True)
    model.save(tmp_path / "model")
    with pytest.raises(InputError, match="add --replace"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", replace=True)
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds more than a model"):
        model.save(tmp_path / "model", replace=True)
    assert (tmp_path / "photos" / "one.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["fit", "mahalanobis", "folder:nothing", "--out", "{place}"], "--out"),
        (["fit", "whitened", "folder:nothing", "--out", "model", "--onnx", "{place}"], "--onnx"),
        (["score", "nothing", "nothing", "--sheet", "{place}"], "--sheet"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(cli, tmp_path, command, option):
    if option == "--onnx":
        pytest.importorskip("onnxscript", reason="pip install 'osad-bench[onnx]'")
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / "below" / "it.html"
    done = cli(*(part.format(place=place) for part in command))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {option} {place} cannot be written: {tmp_path / 'file'}: Not a directory")


@pytest.mark.parametrize("name", ["a folder.html", "x" * 300 + ".html"], ids=["a folder", "too long"])
def test_a_sheet_that_cannot_be_a_file_of_that_name_is_refused_before_the_work(cli, tmp_path, name):
    (tmp_path / "a folder.html").mkdir()
    done = cli("score", "nothing", "nothing", "--sheet", name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --sheet {name} ")


def test_the_root_of_the_file_system_is_no_place_for_a_model(cli):
    done = cli("fit", "mahalanobis", "folder:nothing", "--out", "/")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --out / ")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / ABOUT).unlink(), "is no model"),
        (lambda folder: (folder / ABOUT).write_text("{"), "it is no JSON"),
        (lambda folder: (folder / ABOUT).write_text('{"format": 99}'), "newer osad-bench"),
        (lambda folder: (folder / ABOUT).write_text('{"format": 1}'), "is damaged: method is missing"),
        (lambda folder: edited(folder, '"image_size": 64', '"image_size": 128'), "is damaged or was changed"),
        (lambda folder: edited(folder, '"seed": 0', '"seed": "x"'), "is damaged: seed"),
        (lambda folder: (folder / METHOD).unlink(), "cannot be read"),
        (lambda folder: (folder / METHOD).write_bytes(b"\x80\x04."), "is damaged"),
        (lambda folder: (folder / CALIBRATION).write_bytes(b""), "is damaged"),
        (lambda folder: replaced(folder / METHOD, os.mkfifo), "no regular file"),
        (lambda folder: replaced(folder / BELOW, lambda path: path.symlink_to("/dev/zero")), "no regular file"),
        (lambda folder: os.truncate(folder / METHOD, 2**31), "is damaged"),
        (lambda folder: rewritten(folder, BELOW, {}), "holds 0 normalisers"),
        (lambda folder: refilled(folder, METHOD, float("nan")), "no numbers"),
        (lambda folder: refilled(folder, BELOW, float("nan")), "no numbers"),
        (lambda folder: refilled(folder, CALIBRATION, float("inf")), "finite"),
        (lambda folder: changed(folder, "method", "gone"), "needs the method 'gone' of osad-bench"),
        (lambda folder: changed(folder, "method_version", 99), "fitted by version 99 of devnet"),
        (lambda folder: changed(folder, "method_config", {"legs": 4}), "another version of devnet"),
        (lambda folder: changed(folder, "shapes", [[3, 4, 4]]), "cannot be restored"),
    ],
)
def test_a_damaged_model_is_refused_in_one_sentence(fitted, tmp_path, damage, message):
    folder = fitted("devnet").save(tmp_path / "model")
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_model(folder, device="cpu")
    assert "\n" not in str(caught.value)


def changed(folder: Path, name: str, value: object) -> None:
    """As if the model had been made so: its digest fits."""
    about = json.loads((folder / ABOUT).read_text("utf-8")) | {name: value}
    (folder / ABOUT).write_text(json.dumps(about | {"digest": digest_of(about)}), "utf-8")


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def rewritten(folder: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """As if the model had been made with these tensors in one of its files: the digests fit."""
    (folder / name).write_bytes(save(tensors))
    files = json.loads((folder / ABOUT).read_text("utf-8"))["files"]
    changed(folder, "files", files | {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()})


def refilled(folder: Path, name: str, value: float) -> None:
    rewritten(folder, name, {one: torch.full_like(x, value) for one, x in load_file(folder / name).items()})


def edited(folder: Path, before: str, after: str) -> None:
    text = (folder / ABOUT).read_text("utf-8")
    assert text.count(before) == 1
    (folder / ABOUT).write_text(text.replace(before, after), "utf-8")


OWN = '''
from osad_bench.methods.base import Method

class Far(Method):
    """Distance from the mean."""
    name, title, citation = "far", "Far", "nobody"

    def fit(self, train, context):
        self.mean = train.normals()[0].mean(dim=(0, 2, 3))

    def score(self, pyramid):
        return (pyramid[0].mean(dim=(2, 3)) - self.mean).square().sum(1)
'''


def test_a_method_of_a_file_is_named_in_its_model_and_asked_for(parts, tmp_path):
    (tmp_path / "far.py").write_text(OWN)
    model = fit(str(tmp_path / "far.py"), f"folder:{parts}", calibrate=10, set=SMALL)
    folder = model.save(tmp_path / "model")
    assert model.about.method_file == "far.py"
    methods._added.pop("far")  # as in another process
    with pytest.raises(InputError, match=r"needs the method 'far' of the file far\.py \(give it with --method-file\)"):
        load_model(folder)
    again = load_model(folder, method_file=tmp_path / "far.py")
    assert again.score(parts / "test", None)["score"].tolist() == model.score(parts / "test", None)["score"].tolist()
    methods._added.pop("far")
    assert register_file(tmp_path / "far.py") == ["far"]
    methods._added.pop("far")


class _Object:
    pass


def test_a_method_that_keeps_more_than_tensors_cannot_be_a_model(parts):
    from osad_bench.methods.mahalanobis import Mahalanobis

    class Keeps(Mahalanobis):
        name, title = "keeps-an-object", "Keeps"

        def fit(self, train, context):
            super().fit(train, context)
            self.thing = _Object()

    with pytest.raises(InputError, match="keeps-an-object cannot be kept as a model: thing is a _Object"):
        fit(Keeps, f"folder:{parts}", calibrate=10, set=SMALL)
    methods._added.pop("keeps-an-object")


def test_too_few_normals_and_too_many_settings_are_said(parts, tmp_path):
    with pytest.raises(InputError, match="36 different normals; with 33 held out for calibration, 3 are left"):
        fit("mahalanobis", f"folder:{parts}", calibrate=33, set=SMALL)
    with pytest.raises(InputError, match="a model is one method with one value per setting"):
        fit("devnet", f"folder:{parts}", set=SMALL | {"devnet.margin": [2, 5]})


def test_a_broken_image_among_those_to_fit_to_is_named(parts, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(parts, folder)
    (folder / "train/good/05.png").write_bytes((folder / "train/good/05.png").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"05\.png is broken"):
        fit("mahalanobis", f"folder:{folder}", set=SMALL)


def test_photographs_are_turned_as_the_models_own_were(fitted, part, tmp_path):
    """A phone writes the same picture upright or on its side with a note; the model sees the same."""
    image, exif = part(77, True), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "upright.png")
    image.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    scored = fitted("mahalanobis").score([tmp_path / "upright.png", tmp_path / "turned.png"], None)
    assert scored["score"][0] == scored["score"][1]


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_score_that_is_no_number_is_no_decision(fitted, parts, value, word):
    model = replace(fitted("mahalanobis"), method=Lost(value))
    found = model.score(parts / "test" / "burr", 0.1)
    assert set(found["decision"]) == {"broken"}
    assert found["problem"].str.endswith(f"the score {word}").all()


def test_a_method_that_fails_on_a_photograph_is_named(fitted, parts):
    model = replace(fitted("mahalanobis"), method=Lost(None))
    with pytest.raises(InputError, match="mahalanobis fails on these photographs: ZeroDivisionError"):
        model.score(parts / "test" / "burr", 0.1)


class Lost(Method):
    """Gives one value for everything, or fails."""

    name, title = "lost", "Lost"

    def __init__(self, value):
        super().__init__()
        self.value = value

    def fit(self, train, context):
        """Learn nothing."""

    def score(self, pyramid):
        return torch.full((len(pyramid[0]),), 1 / 0 if self.value is None else self.value)
