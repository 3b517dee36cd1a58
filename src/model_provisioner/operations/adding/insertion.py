"""Add values to a YAML or JSON file: every byte that is there stays, and the result is read back before it counts.

A parser says where the collection ends to which something is added; what is added is written there as text, in the manner of
what stands around it. No library that reads and writes YAML keeps every byte.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from model_provisioner.config.document import read_document
from model_provisioner.errors import ConfigError, InputError
from model_provisioner.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Value: TypeAlias = "str | Sequence[str] | Mapping[str, Value]"

_BOM = b"\xef\xbb\xbf"
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_TRAILING_COMMA = re.compile(r"(?:\s++|(?<=\s)#[^\r\n]*+)*+,")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STEP = 2
# Every escape is matched, so that a backslash that is itself escaped begins none.
_SURROGATE = re.compile(r"\\(?:(u)d[89a-f]..|.)", re.IGNORECASE | re.DOTALL)


def with_added(data: bytes, name: str, path: tuple[str, ...], new: Value) -> bytes:
    """Return the bytes of a file with all of `new` added to the mapping or list at `path`, which is made where it is not.

    `name` is what messages call the file. Raises `ConfigError` for a file that can't be read, and `InputError` for one of a
    layout in which no place is found.
    """
    before = _read(data, name)
    mark = _BOM if data.startswith(_BOM) else b""
    edit = _Edit(data[len(mark) :].decode())
    with suppress(_NoPlaceError):
        meant = _merged(before, path, new)
        for text in edit.with_added(path, new):
            with suppress(ConfigError):
                if _read(result := mark + text.encode(), name) == meant:
                    return result
    raise InputError(
        "nothing can be added to a file of this layout",
        where=f"{name}: {'.'.join(path)}",
        expected="a mapping or a list that is written out",
        found="an alias, a text, or a mixture of styles",
        fix=f"add this to it by hand:   {_flow(_nested(path, new), is_json=False)[1:-1]}",
    )


def _read(data: bytes, name: str) -> Any:
    document = read_document(data, name)
    if document.faults:
        raise ConfigError(name, document.faults)
    return document.data


def _merged(before: Any, path: tuple[str, ...], new: Value) -> Any:
    """Return data with `new` added at `path`. Raises `_NoPlaceError` where something else stands there."""
    there = before
    if path or isinstance(new, dict):
        there = {} if before is None else before
        if isinstance(there, dict) and path:
            return {**there, path[0]: _merged(there.get(path[0]), path[1:], new)}
        if isinstance(there, dict) and isinstance(new, dict):
            return {**there, **new}
    elif isinstance(there, list | None):
        return [*(there or ()), *new]
    raise _NoPlaceError


def _nested(path: tuple[str, ...], new: Value) -> Value:
    for step in reversed(path):
        new = {step: new}
    return new


class _NoPlaceError(Exception):
    """There is no place that the text can be added at."""


@dataclass(slots=True)
class _Node:
    """A value in the text, by character."""

    kind: Literal["mapping", "list", "empty", "other"]
    start: int
    end: int
    """Where a text ends; of a collection, where its last value does."""
    in_flow: bool = False
    column: int = 0
    """Of the names of a mapping, and of the dashes of a list, in block style."""
    first: int = -1
    """Where its first name or value begins; -1 where it is empty."""
    last: int = -1
    """Where its last name or value begins."""
    values: dict[str, _Node] = field(default_factory=dict)
    name: str | None = None
    """The name whose value comes next."""


class _Edit:
    def __init__(self, text: str) -> None:
        self._text = text
        self._is_json = False
        if text.lstrip()[:1] in ("{", "["):
            with suppress(ValueError):
                parse_json(text.encode())
                self._is_json = True
        breaks = _BREAK.search(text)
        self._break = "\n" if breaks is None else breaks[0]

    def with_added(self, path: tuple[str, ...], new: Value) -> Iterator[str]:
        """Yield the text with `new` added at `path`, in the best place first. Raises `_NoPlaceError`."""
        around, node = None, self._root()
        while path and node.kind == "mapping" and path[0] in node.values:
            around, node, path = node, node.values[path[0]], path[1:]
        new = _nested(path, new)
        if node.kind == "other" or (isinstance(new, dict) != (node.kind == "mapping") and node.kind != "empty"):
            raise _NoPlaceError
        if node.kind == "empty":
            yield self._in_place_of_nothing(node, around, new)
        elif node.in_flow:
            yield self._in_flow(node, _flow(new, self._is_json)[1:-1])
        else:
            lines = _block(new, node.column, self._step(around, node), self._is_json)
            yield self._lines(node.end, lines)
            # A text in block style at the end of the file would get a line break more.
            yield self._lines(node.first - node.column, lines)

    def _in_place_of_nothing(self, node: _Node, around: _Node | None, new: Value) -> str:
        if around is not None and around.in_flow:
            return f"{self._text[: node.end]} {_flow(new, self._is_json)}{self._text[node.end :]}"
        column = 0 if around is None else around.column + _STEP
        return self._lines(node.end, _block(new, column, _STEP))

    def _step(self, around: _Node | None, node: _Node) -> int:
        """Return by how much more what is in `node` is indented than what it stands in, as far as that can be told."""
        child = next((each for each in node.values.values() if each.kind == "mapping" and not each.in_flow), None)
        step = node.column - around.column if around is not None else child.column - node.column if child else 0
        return step if step > 0 else _STEP

    def _lines(self, place: int, lines: Sequence[str]) -> str:
        """Return the text with lines behind the one that holds a place, or before it where it begins one."""
        text, end = self._text, self._break
        if place and not _BREAK.fullmatch(text[place - 1]):
            found = _BREAK.search(text, place)
            if found is None:
                return f"{text}{end}{end.join(lines)}"
            place, end = found.end(), found[0]
        return f"{text[:place]}{end.join(lines)}{end}{text[place:]}"

    def _in_flow(self, node: _Node, items: str) -> str:
        text = self._text
        if node.first < 0:
            return f"{text[: node.start + 1]}{items}{text[node.start + 1 :]}"
        line = max((found.end() for found in _BREAK.finditer(text, 0, node.last)), default=0)
        indent = text[line : node.last]
        between = f"{self._break}{indent}" if line and not indent.strip(" \t") else " "
        place = node.end
        if (found := _TRAILING_COMMA.match(text, place)) is not None:
            return f"{text[: found.end()]}{between}{items},{text[found.end() :]}"
        return f"{text[:place]},{between}{items}{text[place:]}"

    # ---- where things stand

    def _root(self) -> _Node:
        import yaml

        text = self._text
        if self._is_json:  # YAML takes JSON but for these; each takes as many characters as before
            text = _SURROGATE.sub(lambda found: "\\u0041" if found[1] else found[0], text.replace("\t", " "))
        root = _Node("empty", len(text), len(text))
        around: list[_Node] = []
        events: Iterator[Any] = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for event in events:
            start, end = event.start_mark.index, event.end_mark.index
            if not isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                node = around.pop()
                self._closed(around, end if node.in_flow else node.end)
                continue
            node = _made(event, start, end)
            if around:
                self._entered(around[-1], node, event)
            else:
                root = node
            if isinstance(event, yaml.CollectionStartEvent):
                around.append(node)
            else:
                self._closed(around, end)
        return root

    def _entered(self, parent: _Node, node: _Node, event: Any) -> None:
        """Note where a value, or the name of one, begins."""
        if parent.kind == "mapping" and parent.name is not None:
            parent.values.setdefault(parent.name, node)
            parent.name = None
            return
        parent.last = node.start
        if parent.first < 0:
            parent.first = node.start
            parent.column = event.start_mark.column
            if parent.kind == "list":
                parent.column -= node.start - self._text.rfind("-", 0, node.start)
        if parent.kind == "mapping":
            parent.name = str(getattr(event, "value", ""))

    @staticmethod
    def _closed(around: list[_Node], end: int) -> None:
        """Note where the last value of the collection ends that is open now."""
        if around:
            around[-1].end = end


def _made(event: Any, start: int, end: int) -> _Node:
    import yaml

    if isinstance(event, yaml.CollectionStartEvent):
        kind: Literal["mapping", "list"] = "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
        # An anchor or a tag stands before the bracket.
        return _Node(kind, end - 1 if event.flow_style else start, end, in_flow=bool(event.flow_style))
    is_empty = isinstance(event, yaml.ScalarEvent) and start == end and event.implicit[0]
    return _Node("empty" if is_empty else "other", start, end)


# ---- how things are written


def _block(value: Value, column: int, step: int, is_json: bool = False) -> list[str]:
    """Return the lines of a mapping or list in block style, its names or dashes at a column."""
    indent = " " * column
    if not isinstance(value, dict):
        return [f"{indent}- {_scalar(str(each), is_json)}" for each in value]
    lines = []
    for name, each in value.items():
        if isinstance(each, dict):
            lines += [f"{indent}{_scalar(name, is_json)}:", *_block(each, column + step, step, is_json)]
        else:
            lines.append(f"{indent}{_scalar(name, is_json)}: {_flow(each, is_json)}")
    return lines


def _flow(value: Value, is_json: bool) -> str:
    if isinstance(value, str):
        return _scalar(value, is_json)
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_scalar(name, is_json)}: {_flow(each, is_json)}" for name, each in value.items()) + "}"
        )
    return "[" + ", ".join(_scalar(str(each), is_json) for each in value) + "]"


def _scalar(text: str, is_json: bool) -> str:
    import yaml

    if not is_json and _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    return '"' + "".join(_escaped(each, is_json) for each in text) + '"'


def _escaped(character: str, is_json: bool) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    if ord(character) <= 0xFFFF:
        return f"\\u{ord(character):04x}"
    if not is_json:
        return f"\\U{ord(character):08x}"
    units = character.encode("utf-16-be").hex()
    return f"\\u{units[:4]}\\u{units[4:]}"
