"""Text from users' files, made safe to show: in a terminal, a log, a table, a file name.

Names of data sets, kinds and methods, and the messages of foreign errors, may hold anything: escape sequences that
clear a screen, line breaks that start a line of their own in a CI log, marks that reverse the reading direction.
"""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from typing import TextIO

_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Invisible, but part of the spelling in several scripts and of emoji."""


def printable(text: object) -> str:
    r"""`text` on one line, with invisible characters written as escapes: ``a\nb`` for a line break, ``\x1b`` for ESC.

    Composed accents (e + U+0301) become single letters where there is one.
    """
    shown = str(text)
    if not shown.isascii():
        shown = unicodedata.normalize("NFC", shown)
    if shown.isprintable():
        return shown
    return "".join(map(_seen, shown))


def lines(text: str) -> str:
    """`text` as `printable` makes it, its line breaks kept: for tracebacks and messages of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def _seen(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    if unicodedata.category(character) == "Zs":  # such as a no-break space
        return " "
    return character.encode("unicode_escape").decode("ascii")


_PLAIN = {
    "±": "+-",
    "–": "-",
    "—": "-",
    "−": "-",
    "→": "->",
    "…": "...",
    "’": "'",
    "“": '"',
    "”": '"',
    "×": "x",
    "·": "-",
}


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(one) or one.encode("unicode_escape").decode("ascii") for one in missing), error.end


codecs.register_error("osad_bench.plainer", _plainer)


def forgive(*streams: TextIO) -> None:
    """Make streams write a plainer character (``+-`` for ``±``) or an escape for one that they cannot encode, not fail.

    Without arguments: standard output and standard error.
    """
    for stream in streams or (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a stream that a test or a notebook put there may have none
            reconfigure(errors="osad_bench.plainer")


def open_closed() -> None:
    """Give a process that was started without standard input, output or error (``>&-``) one that goes nowhere.

    Otherwise the next file that is opened takes the free number, and gets what is meant for the terminal.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: the stream's, if no file has it yet
            os.set_inheritable(nowhere, True)
            setattr(sys, name, os.fdopen(nowhere, "r" if name == "stdin" else "w", encoding="utf-8"))


_MOST = 80
"""Most characters of a file name that is made of a user's text."""


def file_name(text: str) -> str:
    """`text` as part of a file's name on any system: 1 to 80 letters, digits and ``-_.=``, of which the first is no dot."""
    kept = "".join(one if one.isalnum() or one in "-_.=" else "_" for one in printable(text))
    return (kept.lstrip(".") or "_")[:_MOST]
