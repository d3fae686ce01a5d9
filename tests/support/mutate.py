"""Small changes to a module, one at a time: what mutation testing puts in the place of the real code.

A mutant is named by function, change and how often that change occurred before in the function, so that its
name outlives edits elsewhere in the file. Left alone are docstrings, annotations, type aliases, the texts of
errors, and the arguments of decorators: changing them changes nothing that a test should fix.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change.

    Attributes:
        name: For people and for the record: ``module: function: change (nth)``.
        line: Where, in the source as it is now.
        source: The whole changed module.
    """

    name: str
    line: int
    source: str


Change = tuple[str, Callable[[ast.AST], ast.AST]]


def _replaced(field: str, value: object) -> Callable[[ast.AST], ast.AST]:
    def apply(node: ast.AST) -> ast.AST:
        setattr(node, field, value)
        return node

    return apply


def _nothing(node: ast.AST) -> ast.AST:
    return ast.copy_location(ast.Pass(), node)


def _constant(value: object) -> Iterator[Change]:
    match value:
        case bool():
            yield f"{value} becomes {not value}", _replaced("value", not value)
        case int():
            yield f"{value} becomes {value + 1}", _replaced("value", value + 1)
        case str():
            yield f"{value!r} becomes {'X' + value!r}", _replaced("value", "X" + value)
        case bytes():
            yield f"{value!r} becomes {b'X' + value!r}", _replaced("value", b"X" + value)
        case _:
            return


def _comparison(node: ast.Compare) -> Iterator[Change]:
    for index, operator in enumerate(node.ops):
        other = COMPARISONS[type(operator)]
        ops = [*node.ops[:index], other(), *node.ops[index + 1 :]]
        where = f" of `{ast.unparse(node)}`"
        yield f"{type(operator).__name__} becomes {other.__name__}{where}", _replaced("ops", ops)


def _changes(node: ast.AST) -> Iterator[Change]:
    """Every change of one node."""
    match node:
        case ast.Compare():
            yield from _comparison(node)
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in ARITHMETIC:
            other = ARITHMETIC[type(operator)]
            change = f"{type(operator).__name__} becomes {other.__name__} in `{ast.unparse(node)}`"
            yield change, _replaced("op", other())
        case ast.BoolOp(op=ast.And()):
            yield f"and becomes or in `{ast.unparse(node)}`", _replaced("op", ast.Or())
        case ast.BoolOp(op=ast.Or()):
            yield f"or becomes and in `{ast.unparse(node)}`", _replaced("op", ast.And())
        case ast.UnaryOp(operand=operand):
            yield f"`{ast.unparse(node)}` loses its operator", lambda changed: changed.operand  # type: ignore[attr-defined]  # a UnaryOp again, in the copy
            del operand
        case ast.IfExp():
            yield f"`{ast.unparse(node.test)}` is negated", _negated_test
        case ast.If() | ast.While() if not isinstance(node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
            yield f"`{ast.unparse(node.test)}` is negated", _negated_test
        case ast.Constant(value=value):
            yield from _constant(value)
        case ast.Raise() if node.exc is not None:
            yield f"`{ast.unparse(node)}` is left out", _nothing
        case ast.Return(value=ast.Constant(value=None)):
            return
        case ast.Return(value=ast.expr()):
            yield f"`{ast.unparse(node)}` returns None", _replaced("value", ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Assign(targets=[ast.Attribute()]):
            yield f"`{ast.unparse(node)}` is left out", _nothing
        case ast.Assign(targets=[ast.Subscript()]):
            yield f"`{ast.unparse(node)}` is left out", _nothing
        case _:
            return
    if isinstance(node, ast.AugAssign):
        yield f"`{ast.unparse(node)}` is left out", _nothing


def _negated_test(node: ast.AST) -> ast.AST:
    if isinstance(node, (ast.If, ast.While, ast.IfExp)):
        node.test = ast.copy_location(ast.UnaryOp(op=ast.Not(), operand=node.test), node.test)
    return node


def _is_error(node: ast.AST) -> bool:
    """A call that makes an error: its text is for people."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Error", ".error"))


def _is_left_alone(parent: ast.AST, field: str, node: ast.AST) -> bool:
    if field in {"annotation", "returns", "decorator_list", "bases", "type_params"}:
        return True
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"__slots__", "__all__"}:
        return True
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"NewType", "TypeVar"}:
        return True
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text and _is_error(parent) and field == "args"


def _walk(node: ast.AST, inside: tuple[str, ...]) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, str]]:
    """(parent, field, index in the field, node, function) of every node that may be changed."""
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if not isinstance(child, ast.AST) or _is_left_alone(node, field, child):
                continue
            names = inside
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                names = (*inside, child.name)
            yield node, field, index, child, ".".join(inside) or "module"
            yield from _walk(child, names)


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module in the order of its text."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for position, (_, _, _, node, function) in enumerate(list(_walk(tree, ()))):
        for number, (change, _) in enumerate(list(_changes(node))):
            base = f"{module}: {function}: {change}"
            seen[base] += 1
            name = base if seen[base] == 1 else f"{base} ({seen[base]})"
            changed = copy.deepcopy(tree)
            parent, field, index, target, _ = list(_walk(changed, ()))[position]
            new = list(_changes(target))[number][1](target)
            if index is None:
                setattr(parent, field, new)
            else:
                getattr(parent, field)[index] = new
            text = ast.unparse(ast.fix_missing_locations(changed))
            yield Mutant(name=name, line=getattr(node, "lineno", 0), source=text)
