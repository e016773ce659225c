"""Rules and admission policies as a user meets them: real processes, the real kubectl, in a workspace and on a simulated cluster.

Aspects: a CustomResourceDefinition whose rule does not compile, objects that break a rule or may not change, a policy with a binding
that denies and warns, a mutating policy, the checking of a policy's types, another workspace that has no such policy.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.fleet import Fleet
from tests.e2e.processes import Kubectl, eventually

pytestmark = pytest.mark.e2e

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: pools.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Pool, plural: pools, singular: pool, listKind: PoolList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - {rule: RULE, messageExpression: "'min %d is above max %d'.format([self.min, self.max])"}
            properties:
              min: {type: integer}
              max: {type: integer}
              zone:
                type: string
                x-kubernetes-validations: [{rule: self == oldSelf, message: zone is immutable, reason: FieldValueForbidden}]
"""

POOL = """
apiVersion: example.com/v1
kind: Pool
metadata: {name: blue}
spec: {min: 1, max: 3, zone: a}
"""

POLICIES = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  validations:
  - expression: object.spec.replicas <= 5
    messageExpression: "'at most 5 replicas, not ' + string(object.spec.replicas)"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few-replicas}
spec: {policyName: few-replicas, validationActions: [Deny]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: mistaken}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]
  validations: [{expression: object.spec.replica > 1}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: team}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"team": "blue"}}}'}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: team}
spec: {policyName: team}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("admission"))
    try:
        made.start_cluster("east", wait=False)
        made.start_kcp()
        made.kubectl("ws", "create", "ruled")
        made.kubectl("ws", "create", "free")
        made.clusters["east"].wait_for_line("serves")
        yield made
    finally:
        made.stop()


@pytest.fixture(params=["workspace", "cluster"])
def kubectl(fleet: Fleet, request: pytest.FixtureRequest) -> Kubectl:
    return fleet.at("root:ruled") if request.param == "workspace" else fleet.below("east")


def refused(kubectl: Kubectl, *arguments: str, stdin: str | None = None) -> str:
    done = kubectl.run(*arguments, stdin=stdin, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def definition(rule: str) -> str:
    return DEFINITION.replace("RULE", f'"{rule}"')


def test_objects_obey_the_rules_of_their_definition(kubectl: Kubectl) -> None:
    told = refused(kubectl, "apply", "-f", "-", stdin=definition("self.low <= self.max"))
    assert "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule" in told
    assert "undefined field 'low'" in told
    kubectl("apply", "-f", "-", stdin=definition("self.min <= self.max"))
    kubectl("wait", "--for=condition=established", "crd/pools.example.com", "--timeout=30s")
    told = refused(kubectl, "apply", "-f", "-", stdin=POOL.replace("min: 1", "min: 7"))
    assert "spec: Invalid value: min 7 is above max 3" in told
    kubectl("apply", "-f", "-", stdin=POOL)
    assert "spec.zone: Forbidden: zone is immutable" in refused(kubectl, "apply", "-f", "-", stdin=POOL.replace("zone: a", "zone: b"))
    told = refused(kubectl, "patch", "pool", "blue", "--type=merge", "-p", '{"spec":{"max":0}}')
    assert "min 1 is above max 0" in told
    kubectl("apply", "-f", "-", stdin=POOL.replace("max: 3", "max: 4"))
    assert kubectl("get", "pool", "blue", "-o", "jsonpath={.spec}") == '{"max":4,"min":1,"zone":"a"}'


def test_policies_admit_refuse_and_change(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POLICIES)
    create = ("create", "deployment", "web", "--image=nginx", "--dry-run=server")

    def denied() -> str | None:
        done = kubectl.run(*create, "--replicas=6", check=False)
        return done.stderr if done.returncode else None

    told = eventually(denied, timeout_s=10, what=lambda: "refusal")
    assert told is not None
    assert "ValidatingAdmissionPolicy 'few-replicas' with binding 'few-replicas' denied request: at most 5 replicas, not 6" in told
    assert "created" in kubectl(*create, "--replicas=5")
    kubectl("patch", "validatingadmissionpolicybinding", "few-replicas", "--type=merge", "-p", '{"spec":{"validationActions":["Warn"]}}')
    told = eventually(
        lambda: kubectl.run(*create, "--replicas=6", check=False).stderr.partition("Warning:")[2], timeout_s=10, what=lambda: "warning"
    )
    assert "at most 5 replicas, not 6" in told
    kubectl("create", "configmap", "made")
    assert kubectl("get", "configmap", "made", "-o", "jsonpath={.metadata.labels.team}") == "blue"
    warned = kubectl.until("get", "validatingadmissionpolicy", "mistaken", is_right=lambda p: "typeChecking" in p.get("status", {}))
    assert "undefined field 'replica'" in warned["status"]["typeChecking"]["expressionWarnings"][0]["warning"]


def test_policies_stay_in_their_workspace(fleet: Fleet) -> None:
    free = fleet.at("root:free")
    fleet.at("root:ruled")("apply", "-f", "-", stdin=POLICIES)
    assert "created" in free("create", "deployment", "web", "--image=nginx", "--replicas=6", "--dry-run=server")
    free("create", "configmap", "made")
    assert free("get", "configmap", "made", "-o", "jsonpath={.metadata.labels.team}") == ""
