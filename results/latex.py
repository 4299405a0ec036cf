"""Tables as LaTeX with booktabs; any text is escaped, and no table is wider than the page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

import pandas as pd

from osad_bench.core.text import printable
from osad_bench.results.tables import Table

LATEX_PREAMBLE = r"\usepackage[T1]{fontenc}\usepackage{booktabs,longtable,array,color,graphicx}"
"""What the preamble of a document with these tables needs."""

# A table wider than the page is scaled down to it.
_SHRINK = r"\ifdim\wd0>\textwidth\resizebox{\textwidth}{!}{\usebox0}\else\usebox0\fi"

_OTHER_SCRIPTS = (
    r"\ifdefined\otherscript\else\protected\def\otherscript#1#2{\ifdefined\CJK\begin{CJK}{UTF8}{gbsn}#1\end{CJK}\else"
    r"\ifdefined\XeTeXversion#1\else\ifdefined\directlua#1\else\texttt{#2}\fi\fi\fi}\fi"
)
r"""``\otherscript{text}{code points}``: the text where the engine or the package CJKutf8 can print it, else its code points."""

_PLAIN = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "–": "--", "—": "---", "\N{ZERO WIDTH SPACE}": "{}",
    "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$", "≈": r"$\approx$", "×": r"$\times$", "·": r"$\cdot$", "−": "$-$",
    "→": r"$\to$", "←": r"$\leftarrow$", "∞": r"$\infty$", "∑": r"$\sum$", "√": r"$\surd$", "∈": r"$\in$", "∂": r"$\partial$",
    "∇": r"$\nabla$", "…": r"\dots{}", "‘": "`", "’": "'", "“": "``", "”": "\u0027\u0027", "°": r"\textdegree{}",
    "µ": r"$\mu$", "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}", "Œ": r"\OE{}",
    "ł": r"\l{}", "Ł": r"\L{}", "đ": r"\dj{}", "Đ": r"\DJ{}", "ð": r"\dh{}", "þ": r"\th{}", "ı": r"\i{}",
}  # fmt: skip
"""Characters with a meaning in LaTeX, or with another name in its standard fonts, to what prints them."""

_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u0308": '"',
    "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0323": "d", "\u0327": "c", "\u0328": "k", "\u0331": "b",
}  # fmt: skip
"""Combining marks to LaTeX's commands for them."""

_MARKS = "\u0300-\u036f"


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is.

    Latin letters with accents and Greek letters become LaTeX commands. Other scripts, such as Chinese, are printed where the
    engine or the package CJKutf8 can (`_OTHER_SCRIPTS`), else as Unicode code points, so that the file always compiles.
    """
    text = re.sub(r"([-'`,?!<>])(?=[-'`,<>])", "\\1\N{ZERO WIDTH SPACE}", printable(text))  # two can form a ligature
    parts: list[str] = []
    other = ""
    for letter in re.findall(f".[{_MARKS}]*", text):
        written = _letter(letter)
        if written is None:
            other += letter
            continue
        if other:
            parts.append(_other_script(other))
            other = ""
        parts.append(written)
    return "".join([*parts, _other_script(other) if other else ""])


def _other_script(text: str) -> str:
    return rf"\otherscript{{{text}}}{{{' '.join(f'U+{ord(one):04X}' for one in text)}}}"


@cache
def _letter(character: str) -> str | None:
    """LaTeX for one letter with its combining marks; None if its script is not in the standard fonts."""
    if character in _PLAIN:
        return _PLAIN[character]
    if character.isascii():
        return character if character.isprintable() else " "
    base, *marks = list(unicodedata.normalize("NFD", character))
    if marks and base.isascii() and base.isalpha() and all(mark in _ACCENTS for mark in marks):
        for mark in marks:
            base = rf"\{_ACCENTS[mark]}{{{base}}}"
        return base
    if len(character) > 1:
        return None
    name = unicodedata.name(character, "").split()
    if name[:1] == ["GREEK"] and "LETTER" in name and len(name) == 4:
        return _greek(name[1] == "CAPITAL", name[3].lower())
    simple = unicodedata.normalize("NFKC", character)
    if (
        simple != character and simple.isascii() and simple.isalnum()
    ):  # such as a superscript, a circled or a bold letter
        shape = unicodedata.decomposition(character)
        raised = {"<super>": "textsuperscript", "<sub>": "textsubscript"}.get(shape.split(" ")[0])
        return rf"\{raised}{{{simple}}}" if raised else simple
    return None


def _greek(capital: bool, name: str) -> str | None:
    if capital:
        drawn = name.capitalize()
        latin = {
            "Alpha": "A", "Beta": "B", "Epsilon": "E", "Zeta": "Z", "Eta": "H", "Iota": "I", "Kappa": "K", "Mu": "M",
            "Nu": "N", "Omicron": "O", "Rho": "P", "Tau": "T", "Chi": "X",
        }  # fmt: skip
        if drawn in latin:
            return latin[drawn]
        return rf"$\{'Lambda' if drawn == 'Lamda' else drawn}$"
    return "o" if name == "omicron" else rf"$\{'lambda' if name == 'lamda' else name}$"


def _line(cells: Iterable[str]) -> str:
    r"""A row of a table, with a guard: a leading ``[`` or ``*`` would be read as an argument of the ``\\`` before it."""
    text = " & ".join(cells)
    return ("{}" if text.startswith(("[", "*")) else "") + text + r" \\"


def _head(body: str) -> str:
    """`body` after comments on what the preamble needs, and the definitions for other scripts where it has some."""
    lines = [f"% preamble: {LATEX_PREAMBLE}"]
    if r"\otherscript{" in body:
        lines += [r"% for Chinese names: \usepackage{CJKutf8}, or xelatex and a font that has them", _OTHER_SCRIPTS]
    return "\n".join([*lines, body])


def to_latex(shown: Iterable[Table], *, percent: bool = False) -> str:
    r"""Booktabs tables, best in red and second best in blue as in the DPDL paper; `percent`: 88.9 instead of 0.889.

    The preamble needs `LATEX_PREAMBLE`.
    """
    parts = []
    for table in shown:
        width = len(table.columns) + 1
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(table.title)}. {escape_latex(' '.join(table.notes))}}}",
            r"\footnotesize\setlength{\tabcolsep}{3pt}",
            r"\sbox0{%",
            rf"\begin{{tabular}}{{l{'c' * len(table.columns)}}}",
            r"\toprule",
            _line(map(escape_latex, (table.corner, *table.columns))),
        ]
        for block in table.blocks:
            parts += [r"\midrule", rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(block.title)}}} \\", r"\midrule"]
            for name, entries in block.rows:
                cells = []
                for entry in entries:
                    text = escape_latex(entry.text(percent=percent))
                    colour = {1: "red", 2: "blue"}.get(entry.rank or 0)
                    cells.append(rf"\textcolor{{{colour}}}{{{text}}}" if colour else text)
                parts.append(_line([escape_latex(name), *cells]))
        parts += [r"\bottomrule", r"\end{tabular}}", _SHRINK, r"\end{table}", ""]
    return _head("\n".join(parts))


def frame_to_latex(frame: pd.DataFrame, caption: str) -> str:
    """Any frame of short texts and numbers as a booktabs table that may break across pages.

    Together the columns are as wide as the page, each in proportion to its longest text; texts that do not fit are broken
    into lines. The preamble needs `LATEX_PREAMBLE`.
    """
    texts = [[str(name) for name in frame.columns], *([str(value) for value in row] for row in frame.to_numpy())]
    columns = [[row[place] for row in texts] for place in range(len(frame.columns))]
    crowded = sum(map(_least, columns)) + 0.7 * len(columns) > _LETTERS
    shares = _shares(columns, _LETTERS * 1.5 if crowded else _LETTERS)
    gaps = 2 * len(shares)
    layout = "".join(
        rf">{{\raggedright\arraybackslash}}p{{\dimexpr {share:.4f}\linewidth-{gaps * share:.4f}\tabcolsep\relax}}"
        for share in shares
    )
    lines = [_line(_breakable(text) for text in row) for row in texts]
    return _head(
        "\n".join(
            [
                (r"{\tiny\setlength{\tabcolsep}{1.2pt}" if crowded else r"{\scriptsize\setlength{\tabcolsep}{2.5pt}") + r"\setlength{\LTleft}{0pt}\setlength{\LTright}{0pt}",
                rf"\begin{{longtable}}{{{layout}}}",
                rf"\caption{{{escape_latex(caption)}}}\\",
                r"\toprule", lines[0], r"\midrule", r"\endhead", *lines[1:], r"\bottomrule", r"\end{longtable}}", "",
            ]
        )
    )  # fmt: skip


_LETTERS = 76
"""Letters of small type that fit on a line of the narrowest common page (345 pt), without the gaps between columns."""


_NUMBER = re.compile(r"[-+]?[0-9.]{1,7}(±[0-9.]{1,7})?")


def _least(texts: Sequence[str]) -> float:
    """Width, in letters, that a column needs for its longest unbreakable piece."""
    return max(_width(piece) for text in texts for piece in _pieces(text)) + 0.9


def _shares(columns: Sequence[Sequence[str]], letters: float) -> list[float]:
    """Share of the page width per column: enough for its longest unbreakable piece, the rest in proportion to its texts."""
    least = [_least(texts) for texts in columns]
    wish = [max(_width(text) for text in texts) + 0.9 for texts in columns]
    room = max(0.0, letters - 0.7 * len(columns) - sum(least))
    more = sum(wish) - sum(least)
    scale = min(1.0, room / more) if more else 0.0
    needs = [low + (high - low) * scale for low, high in zip(least, wish)]
    total = max(sum(needs), letters - 0.7 * len(columns))
    return [need / total for need in needs]


def _width(text: str) -> float:
    """Approximate width of `text` in letters; a letter of another script counts as much as its code point."""
    return sum(
        9.0 if _letter(one) is None else 1.7 if one in "mwMW%&@+=<>±" else 1.4 if one.isupper() else 1.0 for one in text
    )


def _pieces(text: str) -> list[str]:
    """The parts of `text` between which it may break: words; long words also after a punctuation mark or ten letters."""
    return [
        piece
        for word in text.split(" ")
        for piece in (
            re.findall(r"[^-_/=.,:]{1,10}[-_/=.,:]*|[-_/=.,:]+", word)
            if len(word) > 10 and not _NUMBER.fullmatch(word)
            else [word]
        )
    ] or [""]


def _breakable(text: str) -> str:
    """`text` escaped, with permission to break between its `_pieces`."""
    words = (r"\allowbreak ".join(map(escape_latex, _pieces(word))) for word in text.split(" "))
    return " ".join(words)
