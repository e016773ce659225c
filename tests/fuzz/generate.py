"""Objects out of schemas: of the right types with values at the edges, and with here and there a part that is none of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from kcp.apimachinery.schema.structural import Schema

GARBAGE: Sequence[Any] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e300, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, "", "x", "\x00", "\u2028", "é", "💩", "../..", "a" * 300,
    "%s%n", "{{}}", "$(x)", "1e999", "-", "=", ",", "/", "*", " ", "\n", [], [[]], [None], [1, "a"], {}, {"": ""}, {"a": {}}, {"$patch": "delete"},
    {"type": "x"}, {"name": "x"},
)  # fmt: skip
TEXTS = (
    "", "a", "a", "x-y", "A", "default", "kube-system", "a.b/c", "1", "0", "-1", "10", "100m", "1Gi", "0.1", "1e3", "50%", "200%", "-5%", "http", "TCP",
    "10.0.0.1", "::1", "10.0.0.0/8", "*.example.com", "https://example.com/x", "/", "/a", "2020-01-01T00:00:00Z", "Always", "RollingUpdate",
    "Recreate", "Exists", "In", "NoSchedule", "v1", "apps/v1", "Pod", "pods", "get", "*", "\x00", "a" * 64, "a" * 254, "é", "a\nb", "* * * * *",
    "@daily", "metadata.name", "status.phase", "YWJj", "=", "true", "null", "self.spec == 1", "kubernetes.io/hostname", "example.com/x",
)  # fmt: skip
NUMBERS = (0, 1, 1, 2, 3, -1, 10, 65535, 65536, 2**31 - 1, -(2**31), 2**53, 2**63 - 1)
_DEEPEST = 12


class Maker:
    """Everything it makes follows from its seed."""

    def __init__(self, seed: int, *, optional: float = 0.25, garbage: float = 0.0) -> None:
        """Args: optional: share of optional fields that are there; garbage: share of values that are anything at all."""
        self.random = random.Random(seed)
        self._optional = optional
        self._garbage = garbage

    def make(self, node: Schema | None, depth: int = 0) -> Any:
        chance = self.random
        if node is None or (self._garbage and depth and chance.random() < self._garbage):
            return self.garbage()
        if node.enum and chance.random() < 0.9:
            return chance.choice(node.enum)
        if node.int_or_string:
            return chance.choice((chance.choice(NUMBERS), chance.choice(TEXTS)))
        if node.quantity:
            return chance.choice(("1", "100m", "1Gi", "0", "-1", "x", "1e3", "9" * 30, 5))
        match node.type:
            case "object":
                return self._object(node, depth)
            case "array":
                return [self.make(node.items, depth + 1) for _ in range(chance.choice((0, 1, 1, 2)) if depth < _DEEPEST else 0)]
            case "string":
                return chance.choice(TEXTS)
            case "integer":
                return chance.choice(NUMBERS)
            case "number":
                return chance.choice((*NUMBERS, 0.5, -1e300))
            case "boolean":
                return chance.random() < 0.5
        return self.garbage()

    def _object(self, node: Schema, depth: int) -> dict[str, Any]:
        chance = self.random
        share = self._optional if depth < _DEEPEST else 0.0
        names = [name for name in node.properties if name in node.required or chance.random() < share]
        made = {name: self.make(node.properties[name], depth + 1) for name in names}
        if node.additional is not None and depth < _DEEPEST:
            made |= {chance.choice(TEXTS): self.make(node.additional, depth + 1) for _ in range(chance.choice((0, 1, 2)))}
        if self._garbage and chance.random() < self._garbage:
            made[chance.choice(TEXTS)] = self.garbage()
        return made

    def garbage(self) -> Any:
        return self.random.choice(GARBAGE)

    def damaged(self, value: Any) -> Any:
        """A copy of `value` in which one or two parts are something else, gone or doubled."""
        for _ in range(self.random.choice((1, 1, 2))):
            value = self._damage(value)
        return value

    def _damage(self, value: Any) -> Any:
        chance = self.random
        if isinstance(value, dict) and value and chance.random() < 0.9:
            key = chance.choice(list(value))
            rest = dict(value)
            if chance.random() < 0.05:
                del rest[key]
            else:
                rest[key] = self._damage(value[key])
            return rest
        if isinstance(value, list) and value and chance.random() < 0.8:
            at = chance.randrange(len(value))
            return [*value[:at], self._damage(value[at]), *value[at : at + chance.choice((0, 1, 1))], *value[at + 1 :]]
        return self.garbage()
