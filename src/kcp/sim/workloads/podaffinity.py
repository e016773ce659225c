"""What pods want of each other: affinity and anti-affinity to pods that run, and an even spread over topology domains.

Pure. Before: `scheduling`. Source: pkg/scheduler/framework/plugins/{interpodaffinity,podtopologyspread}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.selectors import LabelSelector
from kcp.sim.workloads.podview import PodView

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = f"{SPREAD} (missing required label)"

NamespaceLabels = Callable[[str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Term:
    """One required or preferred term, its selectors ready to be asked."""

    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    topology_key: str

    @classmethod
    def of(cls, term: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> Term:
        """Args: namespace, labels: of the pod that has the term; matchLabelKeys take values from its labels (KEP-3633)."""
        selector = LabelSelector.from_object(term.get("labelSelector"))
        same = {k: labels[k] for k in term.get("matchLabelKeys") or () if k in labels}
        names = frozenset(term.get("namespaces") or ())
        of_namespaces = term.get("namespaceSelector")
        return cls(
            selector=selector.joined(LabelSelector.from_labels(same)) if same else selector,
            namespaces=names if names or of_namespaces is not None else frozenset((namespace,)),
            namespace_selector=LabelSelector.from_object(of_namespaces) if of_namespaces is not None else None,
            topology_key=term.get("topologyKey") or "",
        )

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: NamespaceLabels) -> bool:
        if namespace not in self.namespaces:
            selector = self.namespace_selector
            if selector is None or not (selector.is_everything or selector.matches(namespace_labels(namespace))):
                return False
        return self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class Site:
    """A node as these rules see it."""

    name: str
    labels: Mapping[str, str]
    pods: Sequence[PodView]
    shy: Sequence[PodView]
    """Those of the pods that keep others away."""


@dataclass(slots=True)
class Rules:
    """The rules of one pod against what runs now; made once per pod, asked once per node."""

    affinity: list[tuple[str, bool, set[str]]] = field(default_factory=list)
    """(topology key, whether the pod matches the term itself, domains with a match)."""
    anti: list[tuple[str, set[str]]] = field(default_factory=list)
    existing: set[tuple[str, str]] = field(default_factory=set)
    """(topology key, domain) where a pod runs that does not want this one near."""
    spread: list[tuple[Mapping[str, Any], Counter[str], bool]] = field(default_factory=list)
    """(constraint, matching pods per domain, whether the pod matches itself)."""

    def fault(self, labels: Mapping[str, str]) -> str:
        """Why a node with these labels does not take the pod; "" if it does."""
        if self.spread and (told := self._spread_fault(labels)):
            return told
        for key, matches_itself, domains in self.affinity:
            first_of_all = matches_itself and not domains and key in labels
            if labels.get(key) not in domains and not first_of_all:
                return AFFINITY
        if any(labels.get(key) in domains for key, domains in self.anti):
            return ANTI_AFFINITY
        if any(labels.get(key) == domain for key, domain in self.existing):
            return EXISTING_ANTI_AFFINITY
        return ""

    def _spread_fault(self, labels: Mapping[str, str]) -> str:
        for constraint, counts, matches_itself in self.spread:
            domain = labels.get(constraint["topologyKey"])
            if domain is None:
                return SPREAD_LABEL
            least = min(counts.values(), default=0)
            if len(counts) < (constraint.get("minDomains") or 1):
                least = 0
            if counts[domain] + matches_itself - least > constraint.get("maxSkew", 1):
                return SPREAD
        return ""


def rules_for(
    pod: Mapping[str, Any], sites: Sequence[Site], namespace_labels: NamespaceLabels, is_eligible: Callable[[Site], bool]
) -> Rules | None:
    """The rules of a pod, or None if there is nothing to ask. Args: is_eligible: whether a node counts as a domain for its spreading."""
    spec, namespace, labels = pod.get("spec") or {}, meta.namespace(pod), meta.labels(pod)
    wanted = _terms(spec, "podAffinity", namespace, labels)
    unwanted = _terms(spec, "podAntiAffinity", namespace, labels)
    spread = [c for c in spec.get("topologySpreadConstraints") or () if c.get("whenUnsatisfiable") != "ScheduleAnyway"]
    shy = [(site, p) for site in sites for p in site.shy]
    if not (wanted or unwanted or spread or shy):
        return None
    rules = Rules()
    for term in wanted:
        rules.affinity.append(
            (term.topology_key, term.matches(namespace, labels, namespace_labels), _domains(term, sites, namespace_labels))
        )
    rules.anti = [(term.topology_key, _domains(term, sites, namespace_labels)) for term in unwanted]
    for site, other in shy:
        for raw in other.keeps_away:
            term = Term.of(raw, other.key.namespace, other.labels)
            if term.topology_key in site.labels and term.matches(namespace, labels, namespace_labels):
                rules.existing.add((term.topology_key, site.labels[term.topology_key]))
    rules.spread = [_spread(c, namespace, labels, [s for s in sites if is_eligible(s)]) for c in spread]
    return rules


def _terms(spec: Mapping[str, Any], kind: str, namespace: str, labels: Mapping[str, str]) -> list[Term]:
    required = meta.nested(spec, "affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution", default=())
    return [Term.of(term, namespace, labels) for term in required or ()]


def _domains(term: Term, sites: Iterable[Site], namespace_labels: NamespaceLabels) -> set[str]:
    """Where a pod runs that the term matches."""
    return {
        site.labels[term.topology_key]
        for site in sites
        if term.topology_key in site.labels
        and any(term.matches(p.key.namespace, p.labels, namespace_labels) for p in site.pods if not p.terminating)
    }


def _spread(
    constraint: Mapping[str, Any], namespace: str, labels: Mapping[str, str], sites: Iterable[Site]
) -> tuple[Mapping[str, Any], Counter[str], bool]:
    selector = LabelSelector.from_object(constraint.get("labelSelector"))
    same = {k: labels[k] for k in constraint.get("matchLabelKeys") or () if k in labels}
    if same:
        selector = selector.joined(LabelSelector.from_labels(same))
    counts: Counter[str] = Counter()
    for site in sites:
        domain = site.labels.get(constraint["topologyKey"])
        if domain is not None:
            counts[domain] += sum(1 for p in site.pods if p.key.namespace == namespace and not p.terminating and selector.matches(p.labels))
    return constraint, counts, selector.matches(labels)
