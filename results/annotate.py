"""A check's findings for machines: JUnit XML, and annotations of GitHub Actions."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

from osad_bench.results.gate import BAD, Finding

# Characters that XML 1.0 cannot hold, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(findings: list[Finding]) -> str:
    """JUnit XML: a test case a finding, bad ones as failures."""
    bad = [finding for finding in findings if finding.status in BAD]
    suite = ElementTree.Element(
        "testsuite", name="osad-bench check", tests=str(len(findings)), failures=str(len(bad)), errors="0"
    )
    for finding in findings:
        name = finding.title + (f", kind {finding.kind}" if finding.kind else "")
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"osad-bench.{finding.status.replace(' ', '-')}", name=_NOT_XML.sub("?", name)
        )
        message = _NOT_XML.sub("?", finding.message)
        if finding.status in BAD:
            ElementTree.SubElement(case, "failure", message=message, type=finding.status).text = message
        else:
            ElementTree.SubElement(case, "system-out").text = message
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


NEW = 5
"""Rows that the baseline lacks, of which more are told as a number."""


def condensed(findings: list[Finding]) -> list[Finding]:
    """The findings for people: of many rows that the baseline lacks the first few, and how many more there are."""
    new = [finding for finding in findings if finding.status == "new"]
    if len(new) <= NEW:
        return findings
    last = replace(new[NEW - 1], message=f"{new[NEW - 1].message}, as it lacks {len(new) - NEW} further rows")
    return [*(finding for finding in findings if finding.status != "new"), *new[: NEW - 1], last]


def to_github(findings: list[Finding]) -> str:
    """Workflow commands: an error a bad finding, a notice for what rose, is new, absent or slower; nothing for the same."""
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
