"""Texts of plug-ins and paths of users are shown, and obeyed by nobody: no markup, no escape sequences."""

from __future__ import annotations

import pytest

from osad_bench.core import registry
from osad_bench.methods.base import Method

RAW = "[/red] \x1b[2J [bold]"


class Loud(Method):
    """[/x] A method of a stranger's \x1b[2J."""

    name, title, kind, citation, departures = "loud", RAW, RAW, RAW, RAW

    def fit(self, train, context): ...

    def score(self, pyramid): ...


@pytest.mark.parametrize("asked", [("methods", "show", "loud"), ("methods", "list"), ("doctor", "--data-root", RAW)])
def test_raw_text_reaches_the_terminal_written_out(cli, monkeypatch, asked):
    monkeypatch.setitem(registry.methods._added, "loud", Loud)
    code, out, told = cli(*asked)
    assert code == 0, told
    assert "\x1b[2J" not in out + told
    assert "\\x1b[2J" in out
    assert "[/red]" in out or "[/x]" in out
