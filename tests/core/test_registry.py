"""Registries: found by entry points, imported when used, and a broken plug-in harms nobody else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from osad_bench.core.errors import InputError
from osad_bench.core.registry import Registry, UnknownNameError, load_file, methods

TREE = """[osad_bench.methods]
good = plugin_good:Good
broken = plugin_broken:Method
leaver = plugin_leaver:Method
odd = plugin_odd:Method
noisy = plugin_noisy:Noisy
dra = plugin_good:Good
"""

ODD = """class Odd(Exception):
    def __str__(self): raise RuntimeError
raise Odd
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An installed distribution with a good method, some that fail to import, and one that takes a built-in's name."""
    (tmp_path / "plugin_good.py").write_text('"""A good one."""\n\nclass Good:\n    title = "Good"\n')
    (tmp_path / "plugin_broken.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "plugin_leaver.py").write_text("import sys; sys.exit(0)\n")
    (tmp_path / "plugin_odd.py").write_text(ODD)
    (tmp_path / "plugin_noisy.py").write_text(
        "import os\nprint('imported')\nos.chdir('/')\nclass Noisy:\n    title = 'Noisy'\n"
    )
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(TREE)
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("osad_bench.methods", "method")


def test_a_strangers_method_stands_beside_the_built_in_ones(plugins: Registry):
    assert {"good", "broken", "leaver", "dra", "dpdl"} <= set(plugins.names())
    assert (plugins.origin("good"), plugins.distribution("good")) == ("plugin", ("plugin", "1.0"))
    assert plugins.summary("good") == "A good one."
    assert "plugin_good" not in sys.modules, "listing imports nothing"
    assert plugins.get("good").title == "Good"


def test_two_packages_that_claim_one_name_are_both_named(plugins: Registry):
    with pytest.raises(
        UnknownNameError, match=r"'dra' is registered by .*osad-bench.* and .*uninstall one of them"
    ) as found:
        plugins.get("dra")
    assert "plugin (plugin_good:Good)" in str(found.value)


def test_one_package_found_twice_on_the_path_claims_nothing_twice(plugins: Registry, tmp_path: Path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "plugin-1.0.dist-info", copy / "plugin-1.0.dist-info")
    monkeypatch.syspath_prepend(copy)
    assert Registry("osad_bench.methods", "method").get("good").title == "Good"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("broken", "a_package_that_is_not_there"), ("leaver", "SystemExit: 0"), ("odd", "__str__ fails")],
)
def test_a_plug_in_that_fails_to_import_is_named_and_the_others_work(plugins: Registry, name, reason):
    with pytest.raises(UnknownNameError, match=rf"'{name}' of plugin .*{reason}"):
        plugins.get(name)
    assert plugins.get("mahalanobis").name == "mahalanobis"


def test_what_a_plug_in_prints_and_changes_while_it_is_imported_stays_out(plugins: Registry, capsys, tmp_path: Path):
    before = Path.cwd()
    assert plugins.get("noisy").title == "Noisy"
    assert Path.cwd() == before
    out, err = capsys.readouterr()
    assert (out, err) == ("", "imported\n")


def test_a_file_gives_its_module_once_and_may_import_what_lies_beside_it(tmp_path: Path):
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    (tmp_path / "own.py").write_text("from beside import VALUE\n")
    module = load_file(tmp_path / "own.py")
    assert module.VALUE == 7
    assert load_file(tmp_path / "own.py") is module
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot read .*own.py: No such file"), ("import nothing_like_it", "own.py cannot be imported: ModuleNotFound"),
     ("raise SystemExit(0)", "own.py cannot be imported: SystemExit: 0"), ("x = (", "own.py cannot be imported: SyntaxError")],
)  # fmt: skip
def test_a_file_that_is_no_module_is_one_sentence(tmp_path: Path, text, message):
    if text is not None:
        (tmp_path / "own.py").write_text(text)
    with pytest.raises(InputError, match=message):
        load_file(tmp_path / "own.py")


def test_a_name_of_an_installed_thing_cannot_be_taken():
    with pytest.raises(InputError, match="'dra' is taken by osad-bench: give yours another `name`"):
        Registry("osad_bench.methods", "method").add("dra", object)


@pytest.mark.parametrize(("given", "hint"), [("dpld", "did you mean dpdl"), ("zzz", "known: .*dpdl")])
def test_an_unknown_name_gets_a_suggestion(given, hint):
    with pytest.raises(UnknownNameError, match=hint):
        methods.get(given)


def test_every_registered_thing_can_be_had_under_the_name_it_gives_itself():
    for name in methods.names():
        assert methods.get(name).name == name
