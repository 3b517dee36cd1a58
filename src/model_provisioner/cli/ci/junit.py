"""What a command found as JUnit XML, which CI systems read: one test case a model. See `docs/reference/junit.md`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from model_provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model_provisioner.cli.ci.cases import Case, Problem

_HEAD = 4096
_OURS = re.compile(rb'<testsuites>\s*<testsuite name="(?P<suite>[\w-]+)" ')


def render(suite: str, cases: Iterable[Case]) -> bytes:
    """Return the report; `suite` is the command that it is of."""
    found = [_element(suite, case) for case in cases]
    counts = {
        name: str(sum(case.find(tag) is not None for case in found))
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    root = ET.Element("testsuites")
    element = ET.SubElement(root, "testsuite", {"name": suite, "tests": str(len(found)), **counts})
    element.extend(found)
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def is_report(suite: str, data: bytes) -> bool:
    """Tell of the first bytes of a file whether it is a report of this command."""
    found = _OURS.search(data[:_HEAD]) if data.startswith(b"<?xml") else None
    return found is not None and found["suite"] == suite.encode()


def _element(suite: str, case: Case) -> ET.Element:
    element = ET.Element("testcase", classname=suite, name=case.name)
    if case.line is not None:
        element.attrib |= {"file": "models.yaml", "line": str(case.line)}
    if case.wrong:
        tag = "error" if case.is_error else "failure"
        ET.SubElement(element, tag, message=_message(case.wrong), type=case.wrong[0].kind).text = _text(case.wrong)
    elif case.skipped:
        ET.SubElement(element, "skipped", message=case.skipped)
    if case.warnings:
        ET.SubElement(element, "system-err").text = _text(case.warnings)
    return element


def _message(every: Sequence[Problem]) -> str:
    more = len(every) - 1
    return printable(every[0].what) + (f" (and {more} more)" if more else "")


def _text(every: Sequence[Problem]) -> str:
    """Return problems as errors are worded, in which what XML can't hold is escaped."""
    return "\n\n".join("\n".join(map(printable, each.text.split("\n"))) for each in every)
