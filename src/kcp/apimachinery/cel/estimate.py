"""The cost an expression may come to, worked out from the sizes that its variables' types allow.

Before: `program`, `rulecheck` (which refuses CRDs whose rules may cost too much). After: `costs`.
Source: github.com/google/cel-go/checker/cost.go.
"""

from __future__ import annotations

from kcp.apimachinery.cel.ast import Call, Ident, ListLiteral, Literal, Macro, MapLiteral, Node, Select, Struct
from kcp.apimachinery.cel.costs import (
    ANY_SIZE,
    LIST_BASE,
    MAP_BASE,
    ONE,
    STRUCT_BASE,
    ZERO,
    Estimated,
    Operand,
    Range,
    exactly,
)
from kcp.apimachinery.cel.types import SCALARS, Type
from kcp.apimachinery.cel.values import size_of

LOOP = {"all": 3, "exists": 4, "exists_one": 0, "map": 12, "filter": 0, "transformList": 12, "transformMap": 3, "transformMapEntry": 2}
"""What each turn of a macro's loop costs beside its arguments, as the folds that they stand for would."""
RESULT = {"all": 1, "exists": 1, "exists_one": 2, "map": 11, "filter": 11, "transformList": 11, "transformMap": 31, "transformMapEntry": 31}
"""What starting with an accumulator and giving its value costs."""
CHOSEN = {"exists_one": 2, "filter": 13}
NOT_CHOSEN = 1


def estimate(root: Node) -> Range:
    """The least and the most that evaluating a checked expression costs."""
    return _Estimator().cost(root)


class _Estimator:
    def __init__(self) -> None:
        self._sizes: dict[int, Range] = {}
        """Sizes worked out for results, by the identity of their nodes."""
        self._item_sizes: dict[int, Range] = {}
        self._bound: dict[str, Range | None] = {}

    def cost(self, node: Node) -> Range:
        match node:
            case Literal():
                return ZERO
            case Ident():
                return ONE
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case Macro():
                return self._macro(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                parts = [self.cost(part) for entry in node.entries for part in (entry.key, entry.value)]
                return _sum(parts).plus(exactly(MAP_BASE))
            case Struct():
                return _sum([self.cost(init.value) for init in node.fields]).plus(exactly(STRUCT_BASE))
        raise TypeError(node)

    # --- sizes ---

    def size(self, node: Node) -> Range:
        found = self._sizes.get(id(node))
        if found is not None:
            return found
        match node:
            case Literal():
                return exactly(size_of(node.value))
            case ListLiteral():
                return exactly(len(node.items))
            case MapLiteral():
                return exactly(len(node.entries))
            case Ident() if node.name in self._bound and (held := self._bound[node.name]) is not None:
                return held
        return _declared(node.type)

    def _item_size(self, node: Node) -> Range:
        found = self._item_sizes.get(id(node))
        if found is not None:
            return found
        return _declared(node.type.params[0]) if node.type.kind == "list" else ANY_SIZE

    # --- nodes ---

    def _select(self, node: Select) -> Range:
        if node.qualified:
            return ONE
        inner = self.cost(node.operand)
        if node.is_test:
            return inner
        return inner.plus(ONE) if node.operand.type.kind in ("map", "object", "dyn", "optional") else inner

    def _list(self, node: ListLiteral) -> Range:
        costs = [self.cost(item) for item in node.items]
        sizes = [self.size(item) for item in node.items]
        if sizes:
            total = sizes[0]
            for one in sizes[1:]:
                total = total.union(one)
            self._item_sizes[id(node)] = total
        return _sum(costs).plus(exactly(LIST_BASE))

    def _call(self, node: Call) -> Range:
        operands = [self._operand(child) for child in node.operands]
        match node.function:
            case "_&&_" | "_||_":
                left, right = operands[0].cost, operands[1].cost
                return Range(left.low, left.plus(right).high)
            case "_?_:_":
                self._sizes[id(node)] = operands[1].size.union(operands[2].size)
                return operands[0].cost.plus(operands[1].cost.union(operands[2].cost))
        found = self._dearest(node, operands)
        if found.size is not None:
            self._sizes[id(node)] = found.size
        elif node.function in ("_[_]", "_[?_]"):
            self._sizes[id(node)] = self._indexed(node)
        return found.cost.plus(_sum([operand.cost for operand in operands]))

    def _operand(self, node: Node) -> Operand:
        cost = self.cost(node)
        literal = node.value if isinstance(node, Literal) else None
        return Operand(node.type, self.size(node), cost, literal, self._item_size(node))

    def _dearest(self, node: Call, operands: list[Operand]) -> Estimated:
        """Over all the overloads that may be meant."""
        found: Estimated | None = None
        for overload in node.overloads:
            one = overload.cost.estimate(operands)
            if found is None:
                found = one
            else:
                size = one.size if found.size is None else found.size if one.size is None else found.size.union(one.size)
                found = Estimated(found.cost.union(one.cost), size)
        return found or Estimated(ONE)

    def _indexed(self, node: Call) -> Range:
        container = node.args[0]
        return self._item_size(container) if container.type.kind == "list" else _declared(node.type)

    def _macro(self, node: Macro) -> Range:
        over = self.cost(node.range)
        if node.name in ("optMap", "optFlatMap"):
            return over.plus(self._scoped(node, [None])).plus(exactly(3))
        sizes: list[Range | None] = [self._item_size(node.range)] if node.range.type.kind == "list" else [None]
        if len(node.variables) == 2:
            sizes = [None, *sizes]
        turn = self._scoped(node, sizes).plus(exactly(LOOP[node.name]))
        if node.name in CHOSEN:
            turn = turn.plus(Range(NOT_CHOSEN, CHOSEN[node.name]))
        count = self.size(node.range)
        if node.name not in ("all", "exists", "exists_one"):
            self._sizes[id(node)] = Range(0, count.high) if node.name == "filter" or len(node.args) == 2 else count
        return over.plus(count.times(turn)).plus(exactly(RESULT[node.name]))

    def _scoped(self, node: Macro, sizes: list[Range | None]) -> Range:
        before = dict(self._bound)
        for name, size in zip(node.variables, sizes, strict=True):
            self._bound[name] = size if size != ANY_SIZE else None
        total = _sum([self.cost(arg) for arg in node.args])
        last = node.args[-1]
        if node.name in ("map", "transformList"):
            self._item_sizes[id(node)] = self.size(last)
        self._bound = before
        return total


def _sum(costs: list[Range]) -> Range:
    total = ZERO
    for cost in costs:
        total = total.plus(cost)
    return total


def _declared(held: Type) -> Range:
    if held.max_size is not None:
        return Range(0, held.max_size)
    return ONE if held.kind in SCALARS else ANY_SIZE
