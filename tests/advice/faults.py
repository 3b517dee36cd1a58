"""Every fault that `src` can tell, read from its text: the parts that each has, and each sentence of advice there is.

A sentence is written as the source has it, with `{}` for each value in it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from model_provisioner.invocation import command_of_doit

SOURCE = Path(__file__).parents[2] / "src" / "model_provisioner"
HOLE = "{}"
ADVICE = {"fix", "remedy", "remedies", "accepting", "_also"}
"""What names of the source hold advice, and what functions give or take some."""


@dataclass(frozen=True)
class Module:
    name: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST]

    def function(self, node: ast.AST | None) -> ast.FunctionDef | None:
        """Return the function that `node` stands in."""
        while node is not None and not isinstance(node, ast.FunctionDef):
            node = self.parents.get(node)
        return node

    def place(self, node: ast.AST) -> str:
        function = self.function(node)
        return f"{self.name}.{function.name}" if function else self.name


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
        found.append(Module(str(path.relative_to(SOURCE).with_suffix("")).replace("/", "."), tree, parents))
    return tuple(found)


@cache
def kinds() -> frozenset[str]:
    """Return the names of the classes of the tree of errors, and of what model-check tells."""
    found = {"ProvisionError", "Difference"}
    classes = [node for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    while more := {
        node.name
        for node in classes
        if node.name not in found and any(isinstance(base, ast.Name) and base.id in found for base in node.bases)
    }:
        found |= more
    return frozenset(found)


@cache
def sentences() -> dict[str, set[str]]:
    """Return every sentence of advice, with the places (module and function) that have it."""
    found: dict[str, set[str]] = {}
    for module in modules():
        for node in ast.walk(module.tree):
            for value, at in _sinks(node, module):
                for text in _Reading(module).of(value, at):
                    if text.replace(HOLE, "").strip(" ;:,`"):
                        found.setdefault(text, set()).add(module.place(node))
    return found


def _sinks(node: ast.AST, module: Module) -> Iterator[tuple[ast.expr, int | None]]:
    """Yield the expressions of a node that become advice; with a number, the value at that place of a tuple."""
    match node:
        case ast.keyword(arg="fix" | "remedy", value=value):
            yield value, None
        case ast.arguments(args=args, defaults=defaults):
            for parameter, value in zip(args[::-1], defaults[::-1], strict=False):
                if parameter.arg == "fix":
                    yield value, None
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "fix":
                    yield value, None
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
            for at, each in enumerate(target.elts if isinstance(target, ast.Tuple) else [target]):
                if getattr(each, "id", getattr(each, "attr", "")) in ADVICE:
                    yield value, at if isinstance(target, ast.Tuple) else None
        case ast.Call(func=function, args=args):
            for name in _parameters().get(getattr(function, "id", getattr(function, "attr", "")), ()):
                if name < len(args):
                    yield args[name], None
        case ast.Return(value=ast.expr() as value):
            function = module.function(node)
            if function is not None and function.name in ADVICE:
                yield value, None


@cache
def _parameters() -> dict[str, list[int]]:
    """Return, for each function that takes advice by its place, which argument that is."""
    found: dict[str, list[int]] = {}
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef):
                names = [each.arg for each in node.args.args if each.arg not in {"self", "cls"}]
                if "fix" in names:
                    found.setdefault(node.name, []).append(names.index("fix"))
    return found


class _Reading:
    """Reads the texts that an expression can be."""

    def __init__(self, module: Module, within: frozenset[str] = frozenset()) -> None:
        self._module, self._within = module, within

    def of(self, node: ast.expr, at: int | None = None) -> Iterator[str]:
        match node:
            case ast.IfExp():
                yield from self.of(node.body, at)
                yield from self.of(node.orelse, at)
            case ast.Tuple() if at is not None:
                yield from self.of(node.elts[at])
            case ast.Subscript(value=ast.Name() as table):
                yield from self._named(table, at)
            case ast.Call(func=ast.Name(id="called"), args=[line]):  # our commands are told as doit calls them
                yield from map(command_of_doit, self.of(line))
            case ast.Call(func=ast.Name(id="build" | "_again" | "another" as function)):
                yield from self._returned(function)
            case ast.Call(func=ast.Attribute(attr="get", value=table), args=[_, default]):
                yield from self._named(table, at) if isinstance(table, ast.Name) else self.of(table, at)
                yield from self.of(default, at)
            case ast.Dict():
                for each in node.values:
                    yield from self.of(each, at)
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr():
                yield from self._joined(node.values)
            case ast.BinOp(op=ast.Add()):
                yield from self._joined([node.left, node.right])
            case ast.BoolOp():
                for each in node.values:
                    yield from self.of(each, at)
            case ast.Name(id=name) if name not in ADVICE:
                yield from self._named(node, at)
            case _:
                yield HOLE

    def _joined(self, values: list[ast.expr]) -> Iterator[str]:
        if not values:
            yield ""
            return
        first, *rest = values
        inner = first.value if isinstance(first, ast.FormattedValue) else first
        match inner:
            case ast.Call(func=ast.Name(id="called" | "build" | "_again" | "another")):
                begins = list(dict.fromkeys(self.of(inner)))
            case ast.Name():
                begins = list(dict.fromkeys(self._named(inner, None)))
            case ast.IfExp() | ast.Constant() | ast.JoinedStr() | ast.BinOp():
                begins = list(dict.fromkeys(self.of(inner)))
            case _:
                begins = [HOLE]
        ends = list(self._joined(rest))
        for begin in begins:
            for end in ends:
                yield begin + end

    def _named(self, node: ast.Name, at: int | None) -> Iterator[str]:
        """Yield what a name stands for: of the function, of its module, or of the one that it is imported from."""
        if node.id in self._within:
            yield HOLE
            return
        function = self._module.function(node)
        if function is not None:
            taken = function.args
            if node.id in {each.arg for each in (*taken.args, *taken.kwonlyargs)}:
                yield HOLE
                return
            if found := self._assigned(node.id, function, self._module, at):
                yield from found
                return
        found = self._assigned(node.id, self._module.tree, self._module, at)
        for each in self._module.tree.body:
            if not found and isinstance(each, ast.ImportFrom) and node.id in {alias.name for alias in each.names}:
                for other in modules():
                    if each.module == f"model_provisioner.{other.name}":
                        found = self._assigned(node.id, other.tree, other, at)
        yield from found or [HOLE]

    def _returned(self, name: str) -> Iterator[str]:
        """Yield what a function that words advice returns, in whatever module it is."""
        for module in modules():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    for each in ast.walk(node):
                        if isinstance(each, ast.Return) and each.value is not None:
                            yield from _Reading(module, self._within).of(each.value)

    def _assigned(self, name: str, scope: ast.AST, module: Module, at: int | None) -> list[str]:
        reading, found = _Reading(module, self._within | {name}), []
        for each in ast.walk(scope):
            if isinstance(scope, ast.Module) and module.function(each) is not None:
                continue
            match each:
                case (
                    ast.Assign(targets=[ast.Name(id=there)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=there), value=ast.expr() as value)
                    | ast.NamedExpr(target=ast.Name(id=there), value=value)
                ) if there == name:
                    found += reading.of(value, at)
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=value):
                    for place, target in enumerate(names):
                        if isinstance(target, ast.Name) and target.id == name:
                            found += reading.of(value, place)
                case ast.For(target=ast.Tuple(elts=names), iter=ast.Call(func=ast.Name(id=function))):
                    for place, target in enumerate(names):
                        if isinstance(target, ast.Name) and target.id == name:
                            found += [text for value in _yielded(function, module) for text in reading.of(value, place)]
        return found


def _yielded(name: str, module: Module) -> Iterator[ast.expr]:
    for function in ast.walk(module.tree):
        if isinstance(function, ast.FunctionDef) and function.name == name:
            for node in ast.walk(function):
                if isinstance(node, ast.Yield) and node.value is not None:
                    yield node.value


if __name__ == "__main__":
    for text, places in sorted(sentences().items(), key=lambda each: sorted(each[1])):
        print(*sorted(places), "\n     ", text)
