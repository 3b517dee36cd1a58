"""YAML or JSON text to plain data, with the line of every value, and every fault of the text itself.

The tree is built from libyaml's events and not by PyYAML's composer, which recurses in C: ten kilobytes of brackets would end
the process. Here depth is bounded, aliases are bounded by what they expand to, keys are strings and stand once.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import ConfigError, InputError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 64
MAX_VALUES = 2_000_000
"""After the expansion of aliases."""
MAX_DIGITS = 100
MAX_FAULTS = 1000
MAX_SHOWN = 80

Path = tuple["str | int", ...]

_CORE = "tag:yaml.org,2002:"
_MERGE = "<<"
_NETWORK = re.compile(r"https?:/*|://", re.IGNORECASE)
# Every escape is matched, so that a backslash that is itself escaped begins none.
_ESCAPE = re.compile(r"\\(?:(?:u(d[89ab]..))\\(?:u(d[c-f]..))|.)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Document:
    """The data of a file, the lines of its values by path, and the faults that did not keep it from being read."""

    name: str
    data: Any
    lines: dict[Path, int]
    faults: tuple[InputError, ...] = ()

    def line(self, path: Path) -> int:
        """Return the line of a value, or of the nearest one around it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def where(self, path: Path) -> str:
        """Return the place of a value in words: file, line and the way to it."""
        return _place(self.name, self.line(path), path)


def cut(text: str) -> str:
    """Return as much of a text of the file as a message may tell: a line of it, and nothing of a URL but its scheme."""
    short = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    network = _NETWORK.search(short)
    return short[: network.end()] + "…" if network else short


def shown(text: str) -> str:
    """Return what `cut` leaves of a text, safe to print."""
    return printable(cut(text))


def _place(name: str, line: int, path: Path) -> str:
    way = " → ".join(shown(str(step)) for step in path)
    return f"{name}:{line}" + (f", {way}" if way else "")


def read_document(data: bytes, name: str) -> Document:
    """Read the bytes of a YAML or JSON file that is called `name` in messages. Raises `ConfigError` for what can't be read."""
    text = _decode(data, name)
    if text.lstrip()[:1] in ("{", "[") and ("\t" in text or _ESCAPE.search(text)):
        # YAML takes JSON but for tabs between its tokens (in its strings JSON has none) and for pairs of surrogates.
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            text = _ESCAPE.sub(_joined, text.replace("\t", " "))
    builder = _Builder(name)
    enabled = gc.isenabled()
    gc.disable()  # half the time of a large file would go into looking for garbage among its values
    try:
        return builder.build(text)
    finally:
        if enabled:
            gc.enable()


def _joined(escape: re.Match[str]) -> str:
    """Return the character that a pair of escaped surrogates stands for; any other escape as it is."""
    if escape[1] is None:
        return escape[0]
    return f"\\U{0x10000 + ((int(escape[1], 16) & 0x3FF) << 10) + (int(escape[2], 16) & 0x3FF):08x}"


def _decode(data: bytes, name: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _fatal("the file is not UTF-8", f"{name}:1", expected="UTF-8", found="UTF-16", fix="save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _fatal(
            "the file is not UTF-8",
            f"{name}:{line}",
            expected="UTF-8",
            found=f"byte 0x{data[error.start]:02x} at offset {error.start}",
            fix="save it as UTF-8",
        ) from None
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise _fatal("the file holds a NUL character", f"{name}:{line}", fix="remove it: the file may be damaged")
    return text


@dataclass
class _Frame:
    """A collection that is open: its path, its values so far, and the key that waits for a value."""

    path: Path
    values: dict[str, Any] | list[Any]
    line: int
    anchor: str | None
    key: str | None = None
    merges: list[dict[str, Any]] = field(default_factory=list)
    size: int = 1


class _Builder:
    def __init__(self, name: str) -> None:
        self._name = name
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        """Value and expanded size by anchor; None while the value is still open."""
        self._lines: dict[Path, int] = {}
        self._faults: list[InputError] = []
        self._root: Any = None
        self._size = 0

    def build(self, text: str) -> Document:
        import yaml

        documents = 0
        try:
            for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                line = event.start_mark.line + 1 if event.start_mark else 1
                if isinstance(event, yaml.ScalarEvent):
                    self._scalar(event, line)
                elif isinstance(event, yaml.AliasEvent):
                    self._alias(event.anchor or "", line)
                elif isinstance(event, yaml.CollectionStartEvent):
                    self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event, line)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._close()
                elif isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        raise self._fatal(
                            "the file holds more than one document", line, fix="remove what follows the line '---'"
                        )
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error, text) from None
        except yaml.reader.ReaderError as error:
            line = text.encode().count(b"\n", 0, error.position) + 1  # libyaml counts bytes
            shown = (
                f"the character {error.character!r}" if isinstance(error.character, str) else f"U+{error.character:04X}"
            )
            raise self._fatal(
                "the file holds a character that YAML does not allow", line, found=shown, fix="remove it"
            ) from None
        return Document(self._name, self._root, self._lines, tuple(self._faults))

    # ---- events

    def _scalar(self, event: Any, line: int) -> None:
        if "\0" in event.value:
            raise self._fatal("a text holds a NUL character", line, fix="take the escape that stands for it out")
        value, is_key = self._value(event, line), self._wants_key()
        if event.anchor and not is_key:
            self._anchors[event.anchor] = (value, 1)
        if not is_key:
            self._count(1, line)
            self._add(value, line, 1)
            return
        if not isinstance(value, str):
            self._fault(
                "a name is not a text",
                line,
                found=f"{shown(event.value)} ({_type_name(value)})",
                fix=f'put it in quotes: "{shown(event.value)}"',
            )
            value = event.value
        self._key(value, line)

    def _alias(self, anchor: str, line: int) -> None:
        known, anchor = self._anchors.get(anchor, ()), shown(anchor)
        if known == ():
            raise self._fatal(
                f"the alias *{anchor} names nothing", line, fix=f"write &{anchor} before the value that is meant"
            )
        if known is None:
            raise self._fatal(
                f"the alias *{anchor} stands inside the value that it names", line, fix="write the value out"
            )
        value, size = known  # type: ignore[misc]  # () and None are gone
        if self._wants_key():
            raise self._fatal("an alias can't be a name", line, fix="write the name out")
        self._count(size, line)
        self._add(value, line, size)

    def _open(self, values: dict[str, Any] | list[Any], event: Any, line: int) -> None:
        if event.tag not in (None, "!", f"{_CORE}map", f"{_CORE}seq"):
            raise self._tag(event.tag, line)
        if self._wants_key():
            raise self._fatal(
                "a name is not a text", line, found=_type_name(values), fix="write a plain name before the colon"
            )
        if len(self._stack) >= MAX_DEPTH:
            raise self._fatal(
                "the values nest too deeply", line, expected=f"at most {MAX_DEPTH} levels", fix="write it flatter"
            )
        self._count(1, line)
        path = self._next_path()
        self._lines.setdefault(path, line)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Frame(path, values, line, event.anchor))

    def _close(self) -> None:
        frame = self._stack.pop()
        for merged in frame.merges:
            assert isinstance(frame.values, dict)
            for key, value in merged.items():
                frame.values.setdefault(key, value)
        if frame.anchor:
            self._anchors[frame.anchor] = (frame.values, frame.size)
        self._add(frame.values, frame.line, frame.size)

    # ---- the tree

    def _wants_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].values, dict) and self._stack[-1].key is None

    def _next_path(self) -> Path:
        if not self._stack:
            return ()
        frame = self._stack[-1]
        return (*frame.path, len(frame.values) if isinstance(frame.values, list) else frame.key or "")

    def _key(self, key: str, line: int) -> None:
        frame = self._stack[-1]
        assert isinstance(frame.values, dict)
        path = (*frame.path, key)
        if key in frame.values:
            self._fault(
                f"{shown(key)!r} stands twice",
                line,
                path=frame.path,
                found=f"lines {self._lines[path]} and {line}",
                fix="keep one of the two",
            )
        else:
            self._lines.setdefault(path, line)
        frame.key = key

    def _count(self, size: int, line: int) -> None:
        self._size += size
        if self._size > MAX_VALUES:
            raise self._fatal(
                "the file expands to too many values", line, expected=f"at most {MAX_VALUES:,}", fix="use fewer aliases"
            )

    def _add(self, value: Any, line: int, size: int) -> None:
        if not self._stack:
            self._lines.setdefault((), line)
            self._root = value
            return
        frame = self._stack[-1]
        frame.size += size
        if isinstance(frame.values, list):
            self._lines.setdefault((*frame.path, len(frame.values)), line)
            frame.values.append(value)
            return
        key, frame.key = frame.key or "", None
        if key == _MERGE:
            self._merge(frame, value, line)
        else:
            frame.values.setdefault(key, value)

    def _merge(self, frame: _Frame, value: Any, line: int) -> None:
        merged = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in merged):
            raise self._fatal(
                "<< takes a mapping, or a list of them",
                line,
                found=_type_name(value),
                fix="name a mapping by its alias",
            )
        frame.merges += merged

    def _value(self, event: Any, line: int) -> Any:
        """Return what a scalar means: text, number, boolean or nothing. A date is text."""
        from yaml.constructor import ConstructorError, SafeConstructor
        from yaml.nodes import ScalarNode

        tag = event.tag
        if tag in (None, "!"):
            tag = _resolve(event.value) if event.implicit[0] and tag is None else f"{_CORE}str"
        kind = tag.removeprefix(_CORE)
        if kind in ("str", "timestamp", "merge", "value"):
            return event.value
        if kind not in ("null", "bool", "int", "float") or not tag.startswith(_CORE):
            raise self._tag(tag, line)
        constructor: Any = SafeConstructor()
        with contextlib.suppress(ValueError, KeyError, IndexError, ConstructorError):
            if (
                len(event.value) <= MAX_DIGITS
            ):  # sexagesimal ones take the square of their length, and few can be printed
                return getattr(constructor, f"construct_yaml_{kind}")(ScalarNode(tag, event.value))
        raise self._fatal(f"not a value of the type {kind}", line, found=shown(event.value), fix="put it in quotes")

    # ---- faults

    def _fault(self, what: str, line: int, path: Path = (), **fields: str) -> None:
        if len(self._faults) == MAX_FAULTS:
            raise self._fatal("there are more faults than are told at once", line, fix="mend the others first")
        self._faults.append(InputError(what, where=_place(self._name, line, path), **fields))

    def _fatal(self, what: str, line: int, **fields: str) -> ConfigError:
        """Return the error of a text that can't be read on; it tells the faults before it too."""
        return ConfigError(self._name, [*self._faults, InputError(what, where=f"{self._name}:{line}", **fields)])

    def _tag(self, tag: str, line: int) -> ConfigError:
        return self._fatal(
            "a YAML tag is not accepted", line, expected="plain values", found=shown(tag), fix="remove the tag"
        )

    def _syntax(self, error: Any, text: str) -> ConfigError:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        if (mark and text[mark.index : mark.index + 1] == "\t") or "tab character" in str(error.problem):
            return self._fatal("a tab stands where YAML wants spaces", line, fix="indent with spaces")
        found = ", ".join(filter(None, (error.context, error.problem)))
        return self._fatal(
            "this is not YAML", line, found=found, fix="look at this line and the one before: indent, colons, quotes"
        )


def _fatal(what: str, where: str, **fields: str) -> ConfigError:
    return ConfigError(where.rpartition(":")[0], [InputError(what, where=where, **fields)])


def _resolvers() -> Iterator[tuple[str, str, re.Pattern[str]]]:
    from yaml.resolver import Resolver

    for first, rules in Resolver.yaml_implicit_resolvers.items():
        for tag, pattern in rules:
            yield first, tag, pattern


_rules: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


def _resolve(value: str) -> str:
    """Return the tag that YAML 1.1 gives to a plain scalar."""
    if not _rules:
        for first, tag, pattern in _resolvers():
            _rules.setdefault(first, []).append((tag, pattern))
    for tag, pattern in _rules.get(value[:1], ()):
        if pattern.match(value):
            return tag
    return f"{_CORE}str"


def _type_name(value: Any) -> str:
    names = {
        dict: "a mapping",
        list: "a list",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }
    return names.get(type(value), "a text")
