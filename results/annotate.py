"""A check's findings as JUnit XML and as annotations of GitHub Actions, and shortened for people."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

from osad_bench.results.gate import BAD, Finding

# Characters that XML 1.0 cannot hold, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(findings: list[Finding]) -> str:
    """JUnit XML: one test case per row and method, whatever was found, so that a test keeps its name when it fails.

    Rows of one name (with other settings, or other files of the data set) are one test case: which of them there are differs
    between checks.
    """
    cases: dict[str, list[Finding]] = {}
    for finding in findings:
        cases.setdefault(finding.title, []).append(finding)
    failures = sum(any(finding.status in BAD for finding in found) for found in cases.values())
    suite = ElementTree.Element(
        "testsuite", name="osad-bench check", tests=str(len(cases)), failures=str(failures), errors="0"
    )
    for title, found in sorted(cases.items()):
        case = ElementTree.SubElement(suite, "testcase", classname="osad-bench.check", name=_NOT_XML.sub("?", title))
        bad = [finding for finding in found if finding.status in BAD]
        if bad:
            what = ", ".join(dict.fromkeys(finding.status for finding in bad))
            failure = ElementTree.SubElement(case, "failure", message=_in_xml(bad[0]), type=what)
            failure.text = "\n".join(map(_in_xml, bad))
        notes = [_in_xml(finding) for finding in found if finding.status not in BAD]
        if notes:
            ElementTree.SubElement(case, "system-out").text = "\n".join(notes)
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _in_xml(finding: Finding) -> str:
    return _NOT_XML.sub("?", f"{finding.status}: {finding.message}")


NEW = 5
"""At most so many rows that the baseline lacks are listed; of the others the number is given."""


def condensed(findings: list[Finding]) -> list[Finding]:
    """The findings, of which at most `NEW` are of status ``new``; the last of these says how many more there are."""
    new = [finding for finding in findings if finding.status == "new"]
    if len(new) <= NEW:
        return findings
    last = replace(new[NEW - 1], message=f"{new[NEW - 1].message}, which also lacks {len(new) - NEW} further rows")
    return [*(finding for finding in findings if finding.status != "new"), *new[: NEW - 1], last]


def to_github(findings: list[Finding]) -> str:
    """Workflow commands: an error per bad finding, a notice per other finding, nothing for status ``same``."""
    lines = []
    for finding in findings:
        if finding.status == "same":
            continue
        command = "error" if finding.status in BAD else "notice"
        title = _escape(f"osad-bench: {finding.status}").replace(":", "%3A").replace(",", "%2C")
        lines.append(f"::{command} title={title}::{_escape(f'{finding.title}: {finding.message}')}")
    return "\n".join(lines)


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
