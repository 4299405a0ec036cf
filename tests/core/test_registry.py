"""Registries: found by entry points, imported when used, and a broken plug-in harms nobody else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from osad_bench.core.registry import Registry, UnknownNameError, methods

TREE = """[osad_bench.methods]
good = plugin_good:Good
broken = plugin_broken:Method
dra = plugin_good:Good
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An installed distribution with a good method, one that fails to import, and one that takes a built-in's name."""
    (tmp_path / "plugin_good.py").write_text('"""A good one."""\n\nclass Good:\n    title = "Good"\n')
    (tmp_path / "plugin_broken.py").write_text("import a_package_that_is_not_there\n")
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(TREE)
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("osad_bench.methods", "method")


def test_a_strangers_method_stands_beside_the_built_in_ones(plugins: Registry):
    with pytest.warns(UserWarning, match="registered twice"):
        assert {"good", "broken", "dra", "dpdl"} <= set(plugins.names())
    assert plugins.origin("good") == "plugin"
    assert plugins.summary("good") == "A good one."
    assert "plugin_good" not in sys.modules, "listing imports nothing"
    assert plugins.get("good").title == "Good"


@pytest.mark.filterwarnings("ignore:.*registered twice")
def test_a_built_in_keeps_its_name_against_a_plug_in(plugins: Registry):
    assert plugins.get("dra").__module__ == "osad_bench.methods.dra"


@pytest.mark.filterwarnings("ignore:.*registered twice")
def test_a_broken_plug_in_is_named_and_the_others_work(plugins: Registry):
    with pytest.raises(UnknownNameError, match=r"'broken' of plugin .*a_package_that_is_not_there"):
        plugins.get("broken")
    assert plugins.get("mahalanobis").name == "mahalanobis"


@pytest.mark.parametrize(("given", "hint"), [("dpld", "did you mean dpdl"), ("zzz", "known: .*dpdl")])
def test_an_unknown_name_gets_a_suggestion(given, hint):
    with pytest.raises(UnknownNameError, match=hint):
        methods.get(given)


def test_every_registered_thing_can_be_had_under_the_name_it_gives_itself():
    for name in methods.names():
        assert methods.get(name).name == name
