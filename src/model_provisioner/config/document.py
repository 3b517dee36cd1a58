"""YAML or JSON text to plain data, with the line of every value, and every fault of the text itself.

The tree is built from libyaml's events and not by PyYAML's composer, which recurses in C: ten kilobytes of brackets would end
the process. Here depth is bounded, aliases are bounded by what they expand to, keys are strings and stand once.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model_provisioner.config.faults import MAX_FAULTS, MOST_FAULTS, TOO_MANY, place, shown
from model_provisioner.config.source_map import SourceMap, line_of
from model_provisioner.errors import ConfigError, InputError
from model_provisioner.json_text import parse_json

if TYPE_CHECKING:
    from model_provisioner.config.source_map import Path, Places

MAX_DEPTH = 64
MAX_VALUES = 1_000_000
"""After the expansion of aliases."""
MAX_DIGITS = 100

_CORE = "tag:yaml.org,2002:"
_MERGE = "<<"
# Every escape is matched, so that a backslash that is itself escaped begins none.
_ESCAPE = re.compile(r"\\(?:(?:u(d[89ab]..))\\(?:u(d[c-f]..))|.)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Document:
    """The data of a file, where its values stand, and the faults that did not keep it from being read."""

    name: str
    data: Any
    source_map: SourceMap
    faults: tuple[InputError, ...] = ()

    def where(self, path: Path) -> str:
        """Return the place of a value in words: file, line and the way to it."""
        return place(self.name, self.source_map.line(path), path)


def read_document(data: bytes, name: str) -> Document:
    """Read the bytes of a YAML or JSON file that is called `name` in messages. Raises `ConfigError` for what can't be read."""
    return _Builder(name).build(data)


def _joined(escape: re.Match[str]) -> str:
    """Return the character of a pair of escaped surrogates; any other escape as it is."""
    if escape[1] is None:
        return escape[0]
    return f"\\U{0x10000 + ((int(escape[1], 16) & 0x3FF) << 10) + (int(escape[2], 16) & 0x3FF):08x}"


@dataclass(slots=True)
class _Frame:
    """A collection that is open: its values so far, and where the next one goes."""

    start: Any
    """The event that opened it, for its line and its anchor."""
    values: dict[str, Any] | list[Any]
    places: Places
    before: int
    """How many values the file has before it."""
    step: str | int | None
    """The name or the number of the next value; None where a name has to come first."""
    merges: list[dict[str, Any]] = field(default_factory=list)


class _Builder:
    """Makes the tree of a file. What only a message needs is worked out for the message: it is called for every value."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file = self._frame = _Frame(None, [], {}, before=0, step=0)
        """The whole file, as a list of one value; and the innermost collection that is open."""
        self._around: list[_Frame] = []
        """The collections around that one."""
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        """Value and expanded size by anchor; None while the value is still open."""
        self._plain: dict[str, Any] = {}
        """What plain scalars mean: a large file says the same few again and again."""
        self._faults: list[InputError] = []
        self._size = 0

        from yaml.resolver import Resolver

        self._resolvers = Resolver.yaml_implicit_resolvers
        """By the first character of a plain scalar, the tags that YAML 1.1 may give it, each with its pattern."""

    def build(self, data: bytes) -> Document:
        import yaml

        text = self._text(data)
        documents = 0
        try:
            for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                kind = type(event)
                if kind is yaml.ScalarEvent:
                    self._scalar(event)
                elif kind is yaml.MappingStartEvent:
                    self._open({}, None, event)
                elif kind is yaml.SequenceStartEvent:
                    self._open([], 0, event)
                elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                    self._close()
                elif kind is yaml.AliasEvent:
                    self._alias(event)
                elif kind is yaml.DocumentStartEvent:
                    documents += 1
                    if documents > 1:
                        raise self._fatal(
                            "the file holds more than one document",
                            event,
                            expected="one document",
                            found="a line '---' that begins another",
                            fix="remove that line, and what follows it",
                        )
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error, text) from None
        except yaml.reader.ReaderError as error:
            line = text.encode().count(b"\n", 0, error.position) + 1  # libyaml counts bytes
            is_text = isinstance(error.character, str)
            found = f"the character {error.character!r}" if is_text else f"U+{error.character:04X}"
            what = "the file holds a character that YAML does not allow"
            raise self._fatal(what, line, expected="text", found=found, fix="remove it") from None
        root = next(iter(self._file.values), None)
        return Document(self._name, root, SourceMap(self._file.places.get(0)), tuple(self._faults))

    def _text(self, data: bytes) -> str:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise self._fatal("the file is not UTF-8", 1, expected="UTF-8", found="UTF-16", fix="save it as UTF-8")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            what, line = "the file is not UTF-8", data.count(b"\n", 0, error.start) + 1
            found = f"byte 0x{data[error.start]:02x} at offset {error.start}"
            raise self._fatal(what, line, expected="UTF-8", found=found, fix="save it as UTF-8") from None
        if (at := text.find("\0")) >= 0:
            line = text.count("\n", 0, at) + 1
            raise self._fatal(
                "the file holds a NUL character",
                line,
                expected="text",
                found="U+0000",
                fix="remove it, or take the file from version control if it is damaged",
            )
        if text.lstrip()[:1] in ("{", "[") and ("\t" in text or _ESCAPE.search(text)):
            # YAML takes JSON but for tabs between its tokens (in its strings JSON has none) and for pairs of surrogates.
            with contextlib.suppress(ValueError):
                parse_json(text.encode())
                return _ESCAPE.sub(_joined, text.replace("\t", " "))
        return text

    # ---- events

    def _scalar(self, event: Any) -> None:
        text, frame = event.value, self._frame
        if event.tag is None and event.implicit[0]:
            value = self._plain.get(text, event)
            if value is event:
                value = self._plain[text] = self._value(self._tag_of(text), event)
        else:
            value = self._value(event.tag, event)
        if frame.step is None:
            if not isinstance(value, str):
                value = self._no_text(value, event)
            if value in frame.values:
                self._twice(value, event)
            elif value not in frame.places:
                frame.places[value] = event.start_mark.line + 1
            frame.step = value
            return
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._count(1, event)
        self._add(value, event)

    def _alias(self, event: Any) -> None:
        anchor = shown(event.anchor)
        if event.anchor not in self._anchors:
            raise self._fatal(
                f"the alias *{anchor} names nothing",
                event,
                expected=f"&{anchor} before a value further up",
                found=f"no &{anchor} above this line",
                fix=f'write &{anchor} before the value that is meant, or the text in quotes: "*{anchor}"',
            )
        if (known := self._anchors[event.anchor]) is None:
            raise self._fatal(
                f"the alias *{anchor} stands inside the value that it names",
                event,
                expected="a value that ends before its alias",
                found=f"*{anchor} in the value of &{anchor}",
                fix="write the value out",
            )
        value, size = known
        if self._frame.step is None:
            raise self._fatal(
                "an alias can't be a name", event, expected="a plain name", found=f"*{anchor}", fix="write the name out"
            )
        self._count(size, event)
        self._add(value, event)

    def _open(self, values: dict[str, Any] | list[Any], step: int | None, event: Any) -> None:
        if event.tag not in (None, "!", f"{_CORE}map", f"{_CORE}seq"):
            raise self._tag(event)
        around = self._frame
        if around.step is None:
            raise self._fatal(
                "a name is not a text",
                event,
                expected="a plain name",
                found=_type_name(values),
                fix="write a plain name before the colon",
            )
        if len(self._around) >= MAX_DEPTH:
            raise self._fatal(
                "the values nest too deeply",
                event,
                expected=f"at most {MAX_DEPTH} levels",
                found="more",
                fix="write it flatter",
            )
        before = self._size
        self._count(1, event)
        if event.anchor:
            self._anchors[event.anchor] = None
        # The place of a name that stands twice is there already, and takes in what stands under either.
        found = around.places.get(around.step)
        if not isinstance(found, tuple):
            found = around.places[around.step] = (_line(event) if found is None else found, {})
        self._around.append(around)
        self._frame = _Frame(event, values, found[1], before, step)

    def _close(self) -> None:
        frame, self._frame = self._frame, self._around.pop()
        for merged in frame.merges:
            assert isinstance(frame.values, dict)
            for key, value in merged.items():
                frame.values.setdefault(key, value)
        if frame.start.anchor:
            self._anchors[frame.start.anchor] = (frame.values, self._size - frame.before)
        self._add(frame.values, frame.start)

    # ---- the tree

    def _count(self, size: int, event: Any) -> None:
        self._size += size
        if self._size > MAX_VALUES:
            what, most = "the file expands to too many values", f"at most {MAX_VALUES:,}"
            raise self._fatal(
                what, event, expected=most, found="more, with what the aliases stand for", fix="use fewer aliases"
            )

    def _add(self, value: Any, event: Any) -> None:
        frame = self._frame
        if isinstance(frame.step, int):
            assert isinstance(frame.values, list)
            frame.places.setdefault(frame.step, _line(event))
            frame.values.append(value)
            frame.step += 1
            return
        assert isinstance(frame.values, dict)
        if frame.step == _MERGE:
            self._merge(frame, value, event)
        elif frame.step is not None:
            frame.values.setdefault(frame.step, value)
        frame.step = None

    def _merge(self, frame: _Frame, value: Any, event: Any) -> None:
        merged = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in merged):
            what = "<< takes a mapping, or a list of them"
            expected = "an alias of a mapping"
            raise self._fatal(
                what, event, expected=expected, found=_type_name(value), fix="name a mapping by its alias"
            )
        frame.merges += merged

    def _tag_of(self, text: str) -> str:
        """Return the tag that YAML 1.1 gives to a plain scalar."""
        for tag, pattern in self._resolvers.get(text[:1], ()):
            if pattern.match(text):
                return str(tag)
        return f"{_CORE}str"

    def _value(self, tag: str | None, event: Any) -> Any:
        """Return what a scalar of a tag means: text, number, boolean or nothing. A date is text."""
        text = event.value
        if "\0" in text:
            raise self._fatal(
                "a text holds a NUL character",
                event,
                expected="text",
                found="the escape sequence of U+0000",
                fix="remove its escape sequence",
            )
        if tag in (None, "!"):
            return text
        kind = tag.removeprefix(_CORE)
        if kind in ("str", "timestamp", "merge", "value"):
            return text
        if kind not in ("null", "bool", "int", "float") or not tag.startswith(_CORE):
            raise self._tag(event)
        from yaml.constructor import ConstructorError, SafeConstructor
        from yaml.nodes import ScalarNode

        constructor: Any = SafeConstructor()
        with contextlib.suppress(ValueError, KeyError, IndexError, ConstructorError):
            if len(text) <= MAX_DIGITS:  # sexagesimal ones take the square of their length, and few can be printed
                return getattr(constructor, f"construct_yaml_{kind}")(ScalarNode(tag, text))
        raise self._fatal(
            f"not a value of the type {kind}",
            event,
            expected=f"a value of the type {kind}, or a text in quotes",
            found=shown(text),
            fix="put it in quotes",
        )

    # ---- faults

    def _fault(self, what: str, event: Any, path: Path = (), **fields: str) -> None:
        if len(self._faults) == MAX_FAULTS:
            raise self._fatal(TOO_MANY, event, expected=MOST_FAULTS, found="more", fix="fix the others first")
        self._faults.append(InputError(what, where=place(self._name, _line(event), path), **fields))

    def _no_text(self, name: Any, event: Any) -> str:
        """Note that a name is a number or the like; return it as it is written."""
        text = shown(event.value)
        self._fault(
            "a name is not a text",
            event,
            expected="a text",
            found=f"{text} ({_type_name(name)})",
            fix=f'put it in quotes: "{text}"',
        )
        return str(event.value)

    def _twice(self, name: str, event: Any) -> None:
        self._fault(
            f"{shown(name)!r} stands twice",
            event,
            path=tuple(frame.step for frame in self._around[1:] if frame.step is not None),
            expected="each name once",
            found=f"lines {line_of(self._frame.places[name])} and {_line(event)}",
            fix="keep one of the two",
        )

    def _fatal(self, what: str, at: Any, **fields: str) -> ConfigError:
        """Return the error of a text that can't be read on from an event or a line; it tells the faults before it too."""
        line = at if isinstance(at, int) else _line(at)
        return ConfigError(self._name, [*self._faults, InputError(what, where=f"{self._name}:{line}", **fields)])

    def _tag(self, event: Any) -> ConfigError:
        return self._fatal(
            "a YAML tag is not accepted", event, expected="plain values", found=shown(event.tag), fix="remove the tag"
        )

    def _syntax(self, error: Any, text: str) -> ConfigError:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        if (mark and text[mark.index : mark.index + 1] == "\t") or "tab character" in str(error.problem):
            return self._fatal(
                "a tab stands where YAML wants spaces",
                line,
                expected="spaces",
                found="a tab",
                fix="indent with spaces",
            )
        found = ", ".join(filter(None, (error.context, error.problem)))
        return self._fatal(
            "this is not YAML",
            line,
            expected='names and values, as in   models: {tiny: {model_ref: "file:models/tiny.gguf"}}',
            found=found,
            fix="look at this line and the one before: indent, colons, quotes",
        )


def _line(event: Any) -> int:
    """Return the line of an event. Call it only where the line is needed: it takes as long as all else for the event."""
    return int(event.start_mark.line) + 1


def _type_name(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", bool: "a boolean", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), "a text")
