"""A check's report as JUnit XML, which CI systems read: one test case a model. See `docs/reference/model-check.md`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from model_provisioner.errors import ConfigError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.errors import ProvisionError
    from model_provisioner.operations.check import Checked, Report
    from model_provisioner.operations.differences import Difference

SUITE = "model-check"
_HEAD = 4096
_OURS = re.compile(rb'<testsuites>\s*<testsuite name="model-check" ')


def render(report: Report) -> bytes:
    """Return the report: what no entry claims is a test case of its own, which is there only if it fails."""
    cases = [_case(model) for model in report.models]
    if report.left_over:
        case = ET.Element("testcase", classname=SUITE, name="left over")
        _fail(case, [each.difference for each in report.left_over])
        cases.append(case)
    return _document(cases)


def render_error(error: ProvisionError) -> bytes:
    """Return the report of a check that came to no answer."""
    case = ET.Element("testcase", classname=SUITE, name="models.yaml")
    every = error.faults if isinstance(error, ConfigError) else (error,)
    ET.SubElement(case, "error", message=_message(every), type=type(error).__name__).text = str(error)
    return _document([case])


def is_report(data: bytes) -> bool:
    """Tell of the first bytes of a file whether it is a report of ours."""
    return data.startswith(b"<?xml") and _OURS.search(data[:_HEAD]) is not None


def _document(cases: Sequence[ET.Element]) -> bytes:
    counts = {
        name: str(sum(case.find(tag) is not None for case in cases))
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", {"name": SUITE, "tests": str(len(cases)), **counts})
    suite.extend(cases)
    ET.indent(suites)
    body: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _case(model: Checked) -> ET.Element:
    case = ET.Element("testcase", classname=SUITE, name=model.name, file="models.yaml", line=str(model.line))
    if model.state == "differs":
        _fail(case, model.differences)
    elif model.state == "retired":
        ET.SubElement(case, "skipped", message="retired")
    if model.warnings:
        ET.SubElement(case, "system-err").text = _text(model.warnings)
    return case


def _fail(case: ET.Element, differences: Sequence[Difference]) -> None:
    failure = ET.SubElement(case, "failure", message=_message(differences), type=differences[0].kind)
    failure.text = _text(differences)


def _message(every: Sequence[Difference | ProvisionError]) -> str:
    more = len(every) - 1
    return printable(every[0].what) + (f" (and {more} more)" if more else "")


def _text(differences: Sequence[Difference]) -> str:
    """Return differences as errors are worded; what XML can't hold is escaped by `printable`."""
    return "\n\n".join(str(each) for each in differences)
