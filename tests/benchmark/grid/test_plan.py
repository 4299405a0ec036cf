"""From a request to cells, and what is wrong with a request said before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.seeds import seed_of
from osad_bench.benchmark.cell.split import split
from osad_bench.benchmark.grid.plan import parse_change, plan, read_grid
from osad_bench.benchmark.preset import load_preset
from osad_bench.core.errors import InputError
from osad_bench.datasets.catalogue import open_dataset


def cells(tmp_path: Path, **request):
    return plan(read_grid(None, {"datasets": ["textures"], **request}), Machine(tmp_path))


def test_a_grid_is_every_combination_with_the_floor_beside_it(tmp_path: Path):
    found = cells(tmp_path, methods=["devnet"], setting=["general", "hard"], shots=[10, 1], seeds=2)
    assert len(found) == 2 * (1 + 3) * 2 * 2, "methods x (general + 3 known kinds) x shots x seeds"
    assert len({cell.cell.key for cell in found}) == len(found)
    assert {cell.cell.method for cell in found} == {"devnet", "mahalanobis"}


def test_settings_of_a_method_and_of_the_preset_make_variants(tmp_path: Path):
    found = cells(
        tmp_path, methods=["dra"], seeds=1, floor=None, set={"dra.topk": [0.1, 0.2], "schedule.epochs": [1, 2]}
    )
    assert len(found) == 4
    assert {cell.variant for cell in found} == {"", "topk=0.2"}
    assert {cell.label for cell in found} == {"quick+schedule.epochs=1", "quick+schedule.epochs=2"}


def test_a_key_does_not_depend_on_paths_and_machines(tmp_path: Path):
    one = plan(
        read_grid(None, {"methods": ["mahalanobis"], "datasets": ["textures"], "seeds": 1}),
        Machine(tmp_path / "a", device="cpu"),
    )
    two = plan(
        read_grid(None, {"methods": ["mahalanobis"], "datasets": ["textures"], "seeds": 1}),
        Machine(tmp_path / "b", threads=3),
    )
    assert [c.cell.key for c in one] == [c.cell.key for c in two]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dpdl.prototypes=16,32", ("dpdl.prototypes", [16, 32])),
        ("scales=[1.0,0.5],[1.0]", ("scales", [[1.0, 0.5], [1.0]])),
        ("backbone=resnet18", ("backbone", ["resnet18"])),
        ("a.b=true", ("a.b", [True])),
    ],
)
def test_changes_are_json_or_words(text, expected):
    assert parse_change(text) == expected


@pytest.mark.parametrize("text", ["", "dpdl", "=3", "a="])
def test_a_malformed_change_is_refused_with_an_example(text):
    with pytest.raises(InputError, match="such as dpdl.prototypes"):
        parse_change(text)


def test_flags_lie_over_the_file(tmp_path: Path):
    path = tmp_path / "grid.toml"
    path.write_text('methods = ["dra"]\nseeds = 3\n[set]\n"dra.topk" = [0.1, 0.2]\n')
    grid = read_grid(path, {"seeds": 1})
    assert grid.seeds == [0]
    assert grid.methods == ["dra"]
    assert grid.set == {"dra.topk": [0.1, 0.2]}


def test_a_dotted_name_in_the_file_is_the_setting_it_names(tmp_path: Path):
    """TOML reads dra.topk = 0.2 as a table within a table."""
    path = tmp_path / "grid.toml"
    path.write_text('methods = "dra"\n[set]\ndra.topk = 0.2\nschedule.epochs = [2, 3]\n[set.schedule.more]\nx = 1\n')
    assert read_grid(path, {}).set == {"dra.topk": [0.2], "schedule.epochs": [2, 3], "schedule.more.x": [1]}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'methods = "dra"\nset = 5', "grid.toml: set: expected a table"), (b"\xff\xfe", "not text in UTF-8"),
     (b"methods = [", "not valid TOML"), (b'method = "dra"', "grid.toml: methods is missing; settings: methods")],
)  # fmt: skip
def test_a_file_that_is_no_grid_is_named(tmp_path: Path, content, message):
    path = tmp_path / "grid.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_grid(path, {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not text in UTF-8"):
        load_preset(str(path))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"methods": []}, "methods"),
        ({"methods": ["dra"], "color": 1}, "color.*settings: methods"),
        ({"methods": ["dra"], "setting": ["easy"]}, "setting.*'general' or 'hard'.*easy"),
        ({"methods": ["dra"], "set": {"dra.topkk": [1]}}, "topkk.*settings of dra"),
        ({"methods": ["dra"], "set": {"dpdl.prototypes": [1]}}, "dpdl is not among --methods"),
        ({"methods": ["dra"], "set": {"image_sise": [64]}}, "image_sise.*image_size"),
        ({"methods": ["dra"], "set": {"schedule.steps": [0]}}, "schedule.steps.*settings of the schedule: optimizer"),
        ({"methods": ["dra"], "set": {"scales": [[0]]}}, "makes no pyramid of .*scales are above 0"),
        ({"methods": ["dra"], "preset": "quik"}, "unknown preset 'quik'; use quick or paper"),
        ({"methods": ["dra"], "shots": [0]}, "shots"),
        ({"methods": ["dra"], "shots": [1], "validate": True}, "at least 2 shots"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_clear_line(request_, message, tmp_path: Path):
    with pytest.raises(InputError, match=message) as caught:
        cells(tmp_path, **request_)
    assert "\n" not in str(caught.value)


def test_a_preset_of_ones_own(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('backbone = "resnet18"\nfrozen = true\nimage_size = 128\n')
    label, preset = load_preset(str(path), {"schedule.epochs": 2})
    assert label == "mine+schedule.epochs=2"
    assert (preset.image_size, preset.schedule) == (128, {"epochs": 2})


def test_random_numbers_do_not_depend_on_the_key(tmp_path: Path):
    plain, changed = cells(tmp_path, methods=["devnet"], seeds=1, floor=None, set={"devnet.topk": [0.1, 0.2]})
    (dra,) = cells(tmp_path, methods=["dra"], seeds=1, floor=None)
    (preset,) = cells(tmp_path, methods=["devnet"], seeds=1, floor=None, set={"image_size": [64]})
    assert len({plain.key, changed.key, dra.key, preset.key}) == 4
    for purpose in ("batches", "adapter"):
        assert len({seed_of(one.cell, purpose) for one in (plain, changed, dra, preset)}) == 1
    own = [seed_of(one.cell, "method", of_method=True) for one in (plain, changed, preset, dra)]
    assert own[0] == own[1] == own[2] != own[3]
    newer = plain.cell.model_copy(update={"version": 9})
    assert seed_of(newer, "method", of_method=True) == own[0]


def test_the_seed_of_a_protocol_is_that_of_its_defaults_left_out(tmp_path: Path):
    one, other = cells(tmp_path, methods=["devnet"], seeds=2, floor=None)
    (reserved,) = cells(tmp_path, methods=["devnet"], seeds=1, floor=None, reserve=20)
    assert len({seed_of(cell.cell, "batches") for cell in (one, other, reserved)}) == 3


def test_a_planned_cell_carries_its_key_its_preset_and_its_split(tmp_path: Path):
    (cell,) = cells(tmp_path, methods=["devnet"], seeds=1, floor=None, set={"image_size": [64]})
    assert cell.key == cell.cell.key
    assert cell.preset.image_size == 64
    assert cell.division == split(open_dataset("textures"), cell.cell.protocol)


def test_a_folder_given_in_two_spellings_is_planned_once(tmp_path: Path, photos: Path):
    request = {"methods": ["mahalanobis"], "shots": [2], "seeds": 1}
    once = cells(tmp_path, **request, datasets=[f"folder:{photos}"])
    twice = cells(tmp_path, **request, datasets=[f"folder:{photos}", f"folder:{photos}/../photos/"])
    assert [cell.key for cell in twice] == [cell.key for cell in once]


OWN = """
from osad_bench.methods.base import Method

class Repel(Method):
    \"\"\"Pushes.\"\"\"
    name, title, citation = "repel", "Repel", "ours"
    def fit(self, train, context): ...
    def score(self, pyramid): return pyramid[0].mean((1, 2, 3))
"""


def test_a_file_names_the_methods_it_defines(tmp_path: Path, own_methods):
    (tmp_path / "repel.py").write_text(OWN)
    (cell,) = cells(tmp_path, methods=[str(tmp_path / "repel.py")], seeds=1, floor=None)
    assert (cell.cell.method, cell.method_file) == ("repel", tmp_path / "repel.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "defines no method"),
        (OWN.replace('"repel"', '"dra"'), "'dra' is taken by osad-bench"),
        (
            OWN.replace('name, title, citation = "repel", "Repel", "ours"', "title = 'R'"),
            "has no name: add name = 'repel'",
        ),
        (OWN + "    version = 'abc'", "has the version 'abc'; a whole number is expected"),
        (OWN + "    class Config: x = 1", "Config that does not derive from MethodConfig"),
        (OWN + "    title = None", "needs a title"),
        (OWN.replace("    def fit(self, train, context): ...\n", ""), "defines no method"),
    ],
)
def test_a_file_that_cannot_be_run_says_why(tmp_path: Path, own_methods, text, message):
    (tmp_path / "repel.py").write_text(text)
    with pytest.raises(InputError, match=message):
        cells(tmp_path, methods=[str(tmp_path / "repel.py")], seeds=1, floor=None)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"seeds": 3_000_000_000}, "more than 10000 seeds"),
        ({"seeds": [2**63]}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"set": {"image_size": ["9" * 5000]}}, "image_size.*…"),
        ({"set": dict([parse_change("image_size=" + "[" * 2000)])}, "image_size"),
    ],
)
def test_a_huge_number_is_refused_with_little_memory_and_few_words(tmp_path: Path, request_, message):
    with pytest.raises(InputError, match=message) as found:
        cells(tmp_path, methods=["mahalanobis"], **request_)
    assert len(str(found.value)) < 900


def test_no_floor_can_be_written_as_the_word_none(tmp_path: Path):
    assert {cell.cell.method for cell in cells(tmp_path, methods=["devnet"], seeds=1, floor="none")} == {"devnet"}


def test_keys_that_share_their_parts_are_the_cells_keys(tmp_path: Path):
    planned = cells(
        tmp_path, methods=["devnet", "evidence"], seeds=3, shots=[3, 2], setting=["general", "hard"], validate=True,
        set={"devnet.topk": [0.1, 0.2], "image_size": [64, 96]},
    )  # fmt: skip
    assert [one.key for one in planned] == [one.cell.key for one in planned]
    assert len({one.key for one in planned}) == len(planned)
    again = [type(one.cell).model_validate_json(one.cell.model_dump_json()) for one in planned]
    assert again == [one.cell for one in planned]
