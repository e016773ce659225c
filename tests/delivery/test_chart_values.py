"""No value of a chart is without effect: each, set to something else, changes what is rendered, in one of the situations it is for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from tests.delivery.charts import CHARTS, engine, parsed, render, without_chance
from tests.delivery.test_chart_documents import DOCUMENT

from kcp.apimachinery.meta import JSONObject

pytestmark = pytest.mark.e2e

SITUATIONS: Mapping[str, Mapping[str, Any]] = {
    "kcp-tmc": {
        "as installed": {"monitoring": {"prometheus": {"assumeOperator": True, "rules": {"groups": [{"name": "y", "rules": []}]}}}},
        "highly available": {
            "replicaCount": 3, "etcd": {"replicaCount": 3}, "ingress": {"enabled": True, "tls": [{"secretName": "x"}]}, "networkPolicy": {"enabled": True},
            "backup": {"enabled": True}, "audit": {"enabled": True}, "development": {"enabled": True},
        },
        "one server": {"etcd": {"enabled": False}, "logging": {"outputs": ["file:/var/log/kcp/kcp.log"]}, "tracing": {"enabled": True}},
        "backups to S3": {"backup": {"enabled": True, "ship": {"enabled": True}, "s3": {"bucket": "x"}}},
        "autoscaled, with certificates of cert-manager": {
            "autoscaling": {"enabled": True, "minReplicas": 2}, "certManager": {"enabled": True, "issuerRef": {"name": "x"}},
            "ingress": {"enabled": True, "tlsMode": "reencrypt", "tls": [{"secretName": "x"}]},
        },
        "another issuer": {"certManager": {"enabled": True, "createIssuer": False, "issuerRef": {"name": "x"}}},
        "etcd elsewhere": {"etcd": {"externalEndpoints": ["https://etcd.test:2379"]}},
    },
    "kcp-syncer": {
        "as installed": {"monitoring": {"assumeOperator": True}, "syncer": {"cluster": {"kubeconfig": "a: b"}}},
        "with a token": {"kcp": {"token": "t"}},
        "autoscaled": {"autoscaling": {"enabled": True, "minReplicas": 2}, "podDisruptionBudget": {"enabled": True}},
        "several": {"replicaCount": 3, "podDisruptionBudget": {"enabled": True}, "networkPolicy": {"enabled": True}},
        "guarded": {"replicaCount": 2, "networkPolicy": {"enabled": True}, "syncer": {"kcp": {"kubeconfig": "a: b"}}},
    },
}  # fmt: skip
OTHER: Mapping[str, Any] = {
    "extraManifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}],
    "ingress.hosts": [{"host": "other.test", "paths": [{"path": "/x", "pathType": "Exact"}]}],
    "ingress.tls": [{"secretName": "other"}],
    "prometheus.rules.groups": [{"name": "x", "rules": [{"alert": "X", "expr": "vector(1)"}]}],
    "monitoring.prometheus.rules.groups": [{"name": "x", "rules": [{"alert": "X", "expr": "vector(1)"}]}],
    "rbac.adminSubjects": [{"kind": "User", "name": "ada", "apiGroup": "rbac.authorization.k8s.io"}],
    "rbac.resources": [{"apiGroups": ["x.test"], "resources": ["things"]}],
    "kcp.config.externalURL": "https://front.test",
    "etcd.replicaCount": 5,
    "etcd.externalEndpoints": ["https://other.test:2379"],
    "logging.level": "error",
    "logging.outputs": ["stderr"],
    "autoscaling.minReplicas": 3,
    "global.imageRegistry": "other.test",
    "kcp.env": [{"name": "X", "value": "y"}],
    "syncer.env": [{"name": "X", "value": "y"}],
    "kcp.tolerations": [{"key": "x", "operator": "Exists"}],
    "etcd.tolerations": [{"key": "x", "operator": "Exists"}],
    "syncer.tolerations": [{"key": "x", "operator": "Exists"}],
    "networkPolicy.ingress": [{"ports": [{"port": 1}]}],
    "networkPolicy.egress": [{"ports": [{"port": 1}]}],
    "kcp.tmc.configuration": {"core": {"bindCompute": False}},
    "syncer.config.metricsBindAddress": "127.0.0.1:9",
    "syncer.config.healthBindAddress": "127.0.0.1:9",
    "kcp.podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
    "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
}
_OF_CHANCE = {"identity.yaml", "etcd.yaml", "monitoring.yaml"}


def _leaves() -> list[Any]:
    found = [(chart, leaf) for chart in DOCUMENT.CHARTS for leaf in DOCUMENT.leaves((CHARTS / chart / "values.yaml").read_text())]
    return [pytest.param(chart, leaf, id=f"{chart} {leaf.name}") for chart, leaf in found]


def _another(leaf: Any) -> object:
    """Some value of its kind that it does not have by default."""
    if leaf.name in OTHER:
        return OTHER[leaf.name]
    told = DOCUMENT.schema_of(leaf)
    if "enum" in told:
        return next(word for word in told["enum"] if word != leaf.default)
    kind = told["type"][0] if isinstance(told["type"], list) else told["type"]
    if kind == "integer":
        return (leaf.default or 6) + 1 if not isinstance(leaf.default, str) else 7
    made: Mapping[str, object] = {
        "boolean": not leaf.default if leaf.default is not None else False, "string": "other", "object": {"x.test/y": "z"}, "array": ["other"],
    }  # fmt: skip
    return made[kind]


def _with(values: Mapping[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A copy of `values` with one more.

    >>> _with({"a": {"b": 1}}, ("a", "c"), 2)
    {'a': {'b': 1, 'c': 2}}
    """
    head, *rest = path
    return {**values, head: _with(values.get(head) or {}, tuple(rest), value) if rest else value}


@cache
def _base(chart: str, situation: str) -> dict[str, str]:
    return render(chart, SITUATIONS[chart][situation])


def _is_changed(chart: str, situation: str, values: Mapping[str, Any]) -> bool:
    try:
        files = render(chart, values)
    except engine().HelmRenderError as refused:
        if "execution error" in str(refused):
            return False  # the value and the situation do not go together, which the chart says
        raise
    before = _base(chart, situation)
    if any(files[path] != before[path] for path in files if path not in _OF_CHANCE):
        return True
    return any(_seen(files[path]) != _seen(before[path]) for path in _OF_CHANCE & files.keys())


def _seen(text: str) -> list[JSONObject]:
    return [without_chance(obj) for obj in parsed(text)]


@pytest.mark.parametrize(("chart", "leaf"), _leaves())
def test_a_value_has_an_effect(chart: str, leaf: Any) -> None:
    other = _another(leaf)
    assert any(_is_changed(chart, situation, _with(values, leaf.path, other)) for situation, values in SITUATIONS[chart].items())


def test_an_unknown_value_is_refused() -> None:
    with pytest.raises(Exception, match="(?i)additional propert"):
        render("kcp-tmc", {"kcp": {"replicacount": 3}})


@pytest.mark.parametrize(
    ("chart", "values", "fault"),
    [
        ("kcp-tmc", {"etcd": {"enabled": False}, "replicaCount": 2}, "several servers .* need etcd"),
        ("kcp-tmc", {"etcd": {"replicaCount": 2}}, "etcd.replicaCount must be odd"),
        ("kcp-tmc", {"certManager": {"enabled": True, "createIssuer": False}}, "needs certManager.issuerRef.name"),
        ("kcp-tmc", {"ingress": {"enabled": True, "tlsMode": "reencrypt"}}, "needs ingress.tls"),
        ("kcp-syncer", {"syncTarget": {"name": ""}}, "syncTarget.name is required"),
        ("kcp-syncer", {"kcp": {"endpoint": ""}}, "kcp.endpoint is required"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(chart: str, values: dict[str, Any], fault: str) -> None:
    with pytest.raises(Exception, match=fault):
        render(chart, values)
