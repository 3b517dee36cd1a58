"""What a message advises, read from the output as a user reads it, and done as it says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import yaml

from tests.support.project import Answer, Project

PARTS = ["where", "expected", "found", "fix"]
_FIELD = re.compile(r"^ +(where|expected|found|fix) +(.*)$")


def faults(answer: Answer) -> Iterator[dict[str, str]]:
    """Yield the parts of every error of an answer."""
    for text in (answer.out, answer.err):
        parts: dict[str, str] = {}
        for line in [*text.splitlines(), ""]:
            if found := _FIELD.match(line):
                parts[found[1]] = found[2]
            elif parts:
                yield parts
                parts = {}


def advised(answer: Answer, sentence: str) -> tuple[str, ...]:
    """Return the values in the advice `sentence`, which has `{}` for each, of an error that has all its parts."""
    pattern = "(.*)".join(map(re.escape, sentence.split("{}")))
    found = [(each, match) for each in faults(answer) if (match := re.fullmatch(pattern, each.get("fix", "")))]
    assert found, f"nothing advises {sentence!r}:\n{answer.all}"
    for parts, _ in found:
        assert list(parts) == PARTS, answer.all
    return found[0][1].groups()


def fixes(answer: Answer) -> list[str]:
    """Return the advice of every error in an answer."""
    return re.findall(r"^ *fix       (.*)$", answer.all, re.MULTILINE)


def fix(answer: Answer) -> str:
    (found,) = fixes(answer)
    return found


def commands(text: str) -> list[list[str]]:
    """Return the doit commands of an advice, in their order, each as its words."""
    return [shlex.split(found)[1:] for found in re.findall(r"`(doit [^`]+)`", text)]


def put(project: Project, name: str, text: str) -> None:
    """Put the line of YAML that an advice shows into the entry, with its own reference for the dots."""
    path = project.root / "models.yaml"
    document = yaml.safe_load(path.read_bytes())
    entry = document["models"][name]
    (line,) = re.findall(r"put   (.*?)   into models\.yaml", text)
    for field, value in yaml.safe_load(line.replace("…", '"…"')).items():
        if isinstance(value, dict):
            there = entry[field] if isinstance(entry[field], str) else entry[field]["model_ref"]
            value = {**value, "model_ref": there}
        entry[field] = value
    path.write_text(json.dumps(document))


def follow(project: Project, name: str, text: str) -> None:
    """Do what an advice says: each line that it has, then each command."""
    if "put   " in text:
        put(project, name, text)
    for words in commands(text):
        project.doit(*words)
