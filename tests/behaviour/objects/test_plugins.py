"""Built-in admission of a cluster: pod security, runtime classes, default classes, growing claims.

Source: k8s.io/pod-security-admission; plugin/pkg/admission/{runtimeclass,network/defaultingressclass,storage/persistentvolume/resize}.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.objects.world import World

from kcp.apimachinery import meta
from kcp.apiserver.admission.podsecurity import existing_violations

PODS = "/api/v1/namespaces/secure/pods"
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name: str = "a", context: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "app", "image": "nginx:1", "securityContext": context or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def namespace(world: World, **labels: str) -> None:
    held = {f"pod-security.kubernetes.io/{mode.replace('_', '-')}": level for mode, level in labels.items()}
    await world.make("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "secure", "labels": held}})


async def test_restricted_is_enforced_with_every_reason(world: World) -> None:
    await namespace(world, enforce="restricted")
    answer = await world.call("POST", PODS, pod())
    assert (answer.status, answer.reason) == (403, "Forbidden")
    assert answer.message == (
        'pods "a" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "app" must set '
        'securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "app" must set '
        'securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "app" must set '
        'securityContext.runAsNonRoot=true), seccompProfile (pod or container "app" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")'
    )
    await world.make(PODS, pod(context=SAFE))


@pytest.mark.parametrize(
    ("context", "spec", "why"),
    [
        ({"privileged": True}, {}, 'privileged (container "app" must not set securityContext.privileged=true)'),
        ({}, {"hostNetwork": True, "hostPID": True}, "host namespaces (hostNetwork=true, hostPID=true)"),
        ({}, {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}, 'hostPath volumes (volume "v")'),
        (
            {"capabilities": {"add": ["SYS_ADMIN"]}},
            {},
            'non-default capabilities (container "app" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
        ),
        (
            {"seccompProfile": {"type": "Unconfined"}},
            {},
            'seccompProfile (container "app" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        ({}, {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}, "forbidden sysctls (kernel.msgmax)"),
    ],
)
async def test_baseline_refuses_what_is_known_to_be_dangerous(
    world: World, context: dict[str, Any], spec: dict[str, Any], why: str
) -> None:
    await namespace(world, enforce="baseline", enforce_version="v1.36")
    answer = await world.call("POST", PODS, pod(context=context, **spec))
    assert answer.message == f'pods "a" is forbidden: violates PodSecurity "baseline:v1.36": {why}'
    await world.make(PODS, pod())


def probing() -> dict[str, Any]:
    """Two containers that have other hosts probed. KEP-4940."""
    made = pod()
    made["spec"]["containers"] = [
        {"name": "b", "image": "x", "livenessProbe": {"httpGet": {"port": 80, "host": "10.0.0.1"}}},
        {"name": "a", "image": "x", "lifecycle": {"preStop": {"httpGet": {"port": 80, "host": "example.com"}}},
         "readinessProbe": {"tcpSocket": {"port": 80}}},
    ]  # fmt: skip
    return made


@pytest.mark.parametrize("version", ["latest", "v1.34"])
async def test_baseline_refuses_hosts_in_probes_and_lifecycle_handlers(world: World, version: str) -> None:
    await namespace(world, enforce="baseline", enforce_version=version)
    answer = await world.call("POST", PODS, probing())
    why = 'probe or lifecycle host (containers "a", "b" use probe or lifecycle hosts "10.0.0.1", "example.com")'
    assert answer.message == f'pods "a" is forbidden: violates PodSecurity "baseline:{version}": {why}'


async def test_an_earlier_version_of_baseline_takes_hosts_in_probes(world: World) -> None:
    await namespace(world, enforce="baseline", enforce_version="v1.33")
    await world.make(PODS, probing())


async def test_warnings_tell_of_pods_and_of_what_makes_pods(world: World) -> None:
    await namespace(world, warn="baseline")
    expected = 'would violate PodSecurity \\"baseline:latest\\": host namespaces (hostNetwork=true)'
    answer = await world.call("POST", PODS, pod(hostNetwork=True))
    assert (answer.status, expected in answer.warnings) == (201, True), answer.warnings
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod(hostNetwork=True)["spec"]}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    answer = await world.call("POST", "/apis/apps/v1/namespaces/secure/deployments", deployment)
    assert (answer.status, expected in answer.warnings) == (201, True), answer.warnings


async def test_labels_name_levels_and_versions_that_there_are(world: World) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn-version": "1.36"}
    answer = await world.call("POST", "/api/v1/namespaces", {"metadata": {"name": "x", "labels": labels}})
    assert answer.status == 422
    assert answer.causes == [
        ("metadata.labels[pod-security.kubernetes.io/enforce]", 'Invalid value: "strict": must be one of privileged, baseline, restricted'),
        ("metadata.labels[pod-security.kubernetes.io/warn-version]", 'Invalid value: "1.36": must be "latest" or "v1.x"'),
    ]


async def test_a_pod_gets_what_its_runtime_class_says(world: World) -> None:
    await world.make("/apis/node.k8s.io/v1/runtimeclasses", {
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc",
        "overhead": {"podFixed": {"cpu": "250m"}}, "scheduling": {"nodeSelector": {"sandbox": "yes"}},
    })  # fmt: skip
    base = "/api/v1/namespaces/default/pods"
    made = await world.make(base, pod(runtimeClassName="gvisor"))
    assert made["spec"]["overhead"] == {"cpu": "250m"}
    assert made["spec"]["nodeSelector"] == {"sandbox": "yes"}
    missing = await world.call("POST", base, pod("b", runtimeClassName="nothing"))
    assert missing.message == 'pods "b" is forbidden: pod rejected: RuntimeClass "nothing" not found'
    answer = await world.call("POST", base, pod("c", runtimeClassName="gvisor", nodeSelector={"sandbox": "no"}))
    assert "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes" in answer.message


async def test_an_ingress_gets_the_default_class(world: World) -> None:
    default = {"ingressclass.kubernetes.io/is-default-class": "true"}
    await world.make("/apis/networking.k8s.io/v1/ingressclasses", {
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx", "annotations": default},
        "spec": {"controller": "example.com/nginx"},
    })  # fmt: skip
    base, spec = (
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
        {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}},
    )
    made = await world.make(base, {"metadata": {"name": "a"}, "spec": spec})
    assert made["spec"]["ingressClassName"] == "nginx"
    old = await world.make(base, {"metadata": {"name": "b", "annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": spec})
    assert "ingressClassName" not in old["spec"]


async def test_a_bound_claim_grows_only_where_its_class_allows_it(world: World) -> None:
    base = "/api/v1/namespaces/default/persistentvolumeclaims"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await world.make(base, {"metadata": {"name": "c"}, "spec": claim})
    for _ in range(200):
        if meta.nested(await world.get(f"{base}/c"), "status", "phase") == "Bound":
            break
        await world.clock.advance(0.05)
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    answer = await world.call("PATCH", f"{base}/c", more, content="application/merge-patch+json")
    assert answer.message == (
        'persistentvolumeclaims "c" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the '
        "pvc must support resize"
    )
    await world.change("/apis/storage.k8s.io/v1/storageclasses/standard", {"allowVolumeExpansion": True})
    await world.change(f"{base}/c", more)


async def test_who_makes_a_namespace_stricter_is_told_which_pods_violate_it_already(world: World) -> None:
    await namespace(world)
    for name in ("a", "b"):
        await world.make(PODS, pod(name, context=SAFE, hostNetwork=True))
    await world.make(PODS, pod("c"))
    await world.make(PODS, pod("fine", context=SAFE))

    async def told(**labels: str) -> str:
        held = {f"pod-security.kubernetes.io/{mode.replace('_', '-')}": level for mode, level in labels.items()}
        answer = await world.call(
            "PATCH", "/api/v1/namespaces/secure", {"metadata": {"labels": held}}, content="application/merge-patch+json"
        )
        assert answer.status == 200
        return answer.warnings.replace("\\", "")

    assert await told(warn="restricted") == ""
    assert "a (and 1 other pod): host namespaces" in await told(enforce="baseline")
    restricted = await told(enforce="restricted", enforce_version="v1.30")
    assert "c: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile" in restricted
    assert await told(enforce="baseline") == "", "it is less strict than before"


def test_the_warning_of_pods_that_violate_a_new_level_begins_with_the_level() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30"}
    assert existing_violations("secure", labels, [pod("a", hostPID=True), pod("b", context=SAFE)]) == [
        'existing pods in namespace "secure" violate the new PodSecurity enforce level "baseline:v1.30"',
        "a: host namespaces",
    ]
    assert existing_violations("secure", labels, [pod("b")] * 3001) == [
        "new PodSecurity enforce level only checked against the first 3000 of 3001 existing pods"
    ]


async def test_a_forbidden_apparmor_profile_violates_baseline(world: World) -> None:
    await namespace(world, enforce="baseline")
    made = pod()
    made["metadata"]["annotations"] = {"container.apparmor.security.beta.kubernetes.io/app": "unconfined"}
    answer = await world.call("POST", PODS, made)
    assert 'forbidden AppArmor profile (container.apparmor.security.beta.kubernetes.io/app="unconfined")' in answer.message
