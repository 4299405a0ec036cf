"""Cards in the Croissant format; where MLCommons' own library is there (tox -e nightly), it reads them back."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    card = json.loads(path.read_text("utf-8"))
    (records,) = card["recordSet"]
    fields = {field["@id"] for field in records["field"]}
    assert all(set(row) == fields for row in records["data"])
    assert records["key"]["@id"] in fields
    return card, records["data"]


def test_a_card_lists_every_sample_and_no_path_of_this_machine(cli, mvtec, tmp_path):
    path = tmp_path / "card.json"
    code, out, err = cli("datasets", "card", "mvtec/carpet", "--out", path, "--data-root", mvtec)
    assert (code, out.strip()) == (0, str(path)), err
    _, rows = read(path)
    assert len(rows) == len({row["samples/id"] for row in rows}) == 11
    assert {row["samples/label"] for row in rows} == {0, 1}
    assert all((row["samples/kind"] == "") == (row["samples/label"] == 0) for row in rows)
    assert all(len(row["samples/sha256"]) == 64 for row in rows)
    assert str(tmp_path) not in path.read_text("utf-8")
    assert str(mvtec) not in path.read_text("utf-8")


def test_a_card_of_a_users_folder_needs_no_licence_and_no_home(cli, mvtec, tmp_path):
    path = tmp_path / "card.json"
    folder = next(place for place in mvtec.rglob("carpet") if place.is_dir())
    assert cli("datasets", "card", f"folder:{folder}", "--out", path)[0] == 0
    card, _ = read(path)
    assert {"url", "license"} & set(card) == set()
    assert "anomalous images" in card["description"]


def test_a_card_is_of_one_task(cli, mvtec):
    code, _, err = cli("datasets", "card", "mvtec", "--data-root", mvtec)
    assert code != 0
    assert "write the card of one" in err.replace("\n", " ")


@pytest.mark.skipif(find_spec("mlcroissant") is None, reason="mlcroissant is not installed (tox -e nightly has it)")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_makers_of_the_format_can_read_a_card(cli, mvtec, tmp_path):
    import mlcroissant

    path = tmp_path / "card.json"
    assert cli("datasets", "card", "mvtec/carpet", "--out", path, "--data-root", mvtec)[0] == 0
    rows = list(mlcroissant.Dataset(str(path)).records("samples"))  # raises where the card breaks the format
    assert len(rows) == 11
