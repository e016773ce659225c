"""CEL over a token's claims and over the user made of them.

Before: `validation`, `mapping`. After: `apimachinery.cel`.
Source: k8s.io/apiserver/pkg/authentication/cel/{compile,mapper,interface}.go.
"""

from __future__ import annotations

from functools import lru_cache

from kcp.apimachinery.cel.admission import object_type
from kcp.apimachinery.cel.ast import Ident, Node, Select, walk
from kcp.apimachinery.cel.checker import Environment
from kcp.apimachinery.cel.errors import CompileError
from kcp.apimachinery.cel.parser import parse
from kcp.apimachinery.cel.program import Program
from kcp.apimachinery.cel.types import DYN, STRING, list_of, map_of

CLAIMS, USER = "claims", "user"
_USER_TYPE = object_type(username=STRING, uid=STRING, groups=list_of(STRING), extra=map_of(STRING, list_of(STRING)))
_ENVIRONMENTS = {CLAIMS: Environment({CLAIMS: map_of(STRING, DYN)}), USER: Environment({USER: _USER_TYPE})}
TEXT, TEXTS, BOOL = ("string",), ("string", "list"), ("bool",)
"""Kinds of type that an expression may have."""


@lru_cache(maxsize=512)
def compiled(text: str, over: str) -> Program:
    """Args: over: CLAIMS or USER. Raises CompileError."""
    return Program(text, _ENVIRONMENTS[over])


def fault_of(text: str, over: str, kinds: tuple[str, ...]) -> str:
    """ "" for an expression that can be used; otherwise what is wrong with it. Args: kinds: of type that its value may have."""
    try:
        kind = compiled(text, over).type.kind
    except CompileError as fault:
        return f"compilation failed: {fault}"
    return "" if kind in (*kinds, "dyn") else f"must evaluate to {' or '.join(kinds)}"


def reads_claim(text: str, claim: str) -> bool:
    """Whether a good expression has `claims.<claim>` in it. Source: apis/apiserver/validation/validation.go (hasSelectExp)."""
    return any(_is_claim(node, claim) for node in walk(parse(text)))


def _is_claim(node: Node, claim: str) -> bool:
    return isinstance(node, Select) and node.field == claim and isinstance(node.operand, Ident) and node.operand.name == CLAIMS
