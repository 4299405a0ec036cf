"""Which characters a figure can show with the fonts of this machine, so that none appears as an empty box."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from matplotlib import font_manager

from osad_bench.core.text import printable

# Fonts with a single weight are fine here; matplotlib would warn about them.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

USUAL = "DejaVu Sans"
"""The font that matplotlib ships and uses."""

PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Malgun Gothic", "Arial Unicode MS", "Noto Sans",
)  # fmt: skip
"""Fonts that are tried before the others, so that all characters of a name come from one font."""


@cache
def _fonts() -> dict[str, str]:
    """Font family to its file, the preferred ones first."""
    found = {
        font.name: font.fname for font in sorted(font_manager.fontManager.ttflist, key=lambda font: font.weight != 400)
    }
    first = [name for name in (USUAL, *PREFERRED) if name in found]
    return {name: found[name] for name in [*first, *sorted(set(found) - set(first))]}


@cache
def _has(file: str, character: str) -> bool:
    try:
        return Path(file).exists() and font_manager.get_font(file).get_char_index(ord(character)) != 0
    except (OSError, RuntimeError, ValueError):  # a font of a kind that matplotlib cannot read
        return False


@cache
def family_for(character: str) -> str | None:
    """Family of a font on this machine that has `character`; None if the usual one has it, or if none has."""
    if character.isspace():
        return None
    for name, file in _fonts().items():
        if _has(file, character):
            return None if name == USUAL else name
    return None


def drawable(text: str) -> str:
    r"""`text` such that matplotlib shows it unchanged.

    Dollar signs are escaped, as they would start mathematics; a character that no font has becomes an escape (``\\u8868``).
    """
    return "".join(
        one if _can_write(one) else one.encode("unicode_escape").decode("ascii") for one in printable(text)
    ).replace("$", r"\$")


def _can_write(character: str) -> bool:
    return character.isascii() or family_for(character) is not None or _has(_fonts()[USUAL], character)
