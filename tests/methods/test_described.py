"""What `osad-bench methods show` prints: every setting with its source, equations, departures, a citation."""

from __future__ import annotations

import inspect
import re

import pytest
from pydantic_core import PydanticUndefined

from osad_bench.benchmark.cli.methods import show
from osad_bench.core.registry import methods

SOURCE = re.compile(r"\([^()]*(Sec\. |Eqs?\. |Fig\. |Table |paper|public code|ours|DRA|DevNet)[^()]*\)")


@pytest.fixture(params=methods.names())
def name(request) -> str:
    return request.param


def test_every_setting_has_a_default_and_says_where_it_comes_from(name):
    for key, field in methods.get(name).Config.model_fields.items():
        assert field.default is not PydanticUndefined, f"{name}.{key} has no default"
        assert SOURCE.search(field.description or ""), (
            f"{name}.{key}: name the source, or (ours): {field.description!r}"
        )


def test_every_method_is_cited_and_tells_its_equations_and_departures(name):
    method = methods.get(name)
    text = inspect.getdoc(inspect.getmodule(method)) or ""
    assert method.citation, f"{name}: give the class a citation"
    assert "Source" in text or method.kind == "ours", f"{name}: the module's docstring names no source"
    assert re.search(r"Eqs?\. \d|=", text), f"{name}: the module's docstring has no equation"
    assert re.search(r"Departures|docs/deviations\.md", text), f"{name}: the module's docstring tells no departures"


def test_departures_point_at_a_section_that_exists(name, root):
    document, _, anchor = methods.get(name).departures.partition("#")
    titles = re.findall(r"^## (.*)$", (root / document).read_text("utf-8"), re.MULTILINE)
    assert anchor in {title.lower().replace(" ", "-") for title in titles}


def without_markup(text: str) -> str:
    """Words and formulas without blanks and what marks lists, code and emphasis."""
    return re.sub(r"\n- |[\s`*•]", "", text)


def test_show_prints_all_of_it(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    method = methods.get(name)
    show(name)
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    assert method.citation in words
    assert method.departures in words
    described = inspect.getdoc(inspect.getmodule(method)) or "?"
    assert without_markup(described) in without_markup(words)
    assert "\n • " in shown or "\n- " not in described, "a list is shown as one"
    for key, field in method.Config.model_fields.items():
        assert re.search(rf"^│ {key} +│ {re.escape(str(field.default))} +│", shown, re.MULTILINE), key
