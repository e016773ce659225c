"""What the documents tell people to set, as they write it, and the values files of this repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

COMBINATIONS: Mapping[str, tuple[str, str]] = {
    "defaults": ("kcp-tmc", "{}"),
    "install with TMC": (
        "kcp-tmc",
        """
tmc: {enabled: true, errorHandling: {enabled: true}, healthMonitoring: {enabled: true}, metrics: {enabled: true}, recovery: {enabled: true}}
image: {registry: your-registry.com, tag: v0.11.0}
""",
    ),
    "persistent etcd": ("kcp-tmc", "etcd: {persistence: {enabled: true, storageClass: fast-ssd, size: 100Gi, accessMode: ReadWriteOnce}}"),
    "certificates": (
        "kcp-tmc",
        """
certManager: {enabled: true}
certificates:
  kcp-server:
    commonName: kcp.your-domain.com
    dnsNames: [kcp.your-domain.com, kcp-internal.kcp-system.svc.cluster.local]
    usage: ["digital signature", "key encipherment", "server auth"]
  syncer-client:
    commonName: syncer-client
    usage: ["digital signature", "key encipherment", "client auth"]
  etcd:
    commonName: etcd-server
    dnsNames: [etcd.kcp-system.svc.cluster.local]
    usage: ["digital signature", "key encipherment", "server auth", "client auth"]
""",
    ),
    "monitoring": (
        "kcp-tmc",
        """
monitoring: {prometheus: {assumeOperator: true}}
prometheus:
  enabled: true
  serviceMonitor: {enabled: true, interval: 30s}
  rules:
    enabled: true
    groups:
      - name: tmc-alerts
        rules:
          - {alert: TMCComponentDown, expr: tmc_component_health < 1, for: 5m, labels: {severity: critical}}
          - {alert: SyncerHighErrorRate, expr: "rate(syncer_sync_errors_total[5m]) > 0.1", for: 2m, labels: {severity: warning}}
""",
    ),
    "several zones": (
        "kcp-tmc",
        """
replicaCount: 3
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
  - labelSelector: {matchLabels: {app: kcp-server}}
    topologyKey: topology.kubernetes.io/zone
nodeSelector: {node.kubernetes.io/availability-zone: "us-west-2a,us-west-2b,us-west-2c"}
etcd: {replicaCount: 3, antiAffinity: hard}
""",
    ),
    "tuning of the server": (
        "kcp-tmc",
        """
kcp:
  resources: {requests: {cpu: 2, memory: 4Gi}, limits: {cpu: 4, memory: 8Gi}}
  config: {maxConcurrentOperations: 50, workerPoolSize: 20, operationTimeout: 10m}
syncer:
  resources: {requests: {cpu: 1, memory: 2Gi}, limits: {cpu: 2, memory: 4Gi}}
  config: {maxSyncWorkers: 20, syncBacklogLimit: 5000, batchSize: 100}
""",
    ),
    "tuning of the syncer": (
        "kcp-syncer",
        """
kcp:
  resources: {requests: {cpu: 2, memory: 4Gi}, limits: {cpu: 4, memory: 8Gi}}
  config: {maxConcurrentOperations: 50, workerPoolSize: 20, operationTimeout: 10m}
syncer:
  resources: {requests: {cpu: 1, memory: 2Gi}, limits: {cpu: 2, memory: 4Gi}}
  config: {maxSyncWorkers: 20, syncBacklogLimit: 5000, batchSize: 100}
""",
    ),
    "logging": (
        "kcp-tmc",
        """
logging:
  level: info
  format: json
  outputs: [stdout, "file:/var/log/kcp/kcp.log"]
  logRotation: {maxSize: 100MB, maxAge: 30, maxBackups: 10}
tracing: {enabled: true, endpoint: "collector.monitoring:4317"}
""",
    ),
    "backups to S3": (
        "kcp-tmc",
        "backup: {enabled: true, ship: {enabled: true}, s3: {bucket: kcp-backups, existingSecret: s3, endpoint: 'https://s3.test'}}",
    ),
    "one server without etcd": ("kcp-tmc", "{etcd: {enabled: false}, backup: {enabled: true, ship: {enabled: true}}}"),
    "etcd elsewhere": (
        "kcp-tmc",
        "{replicaCount: 2, etcd: {externalEndpoints: ['https://e.test:2379'], externalSecret: e}, backup: {enabled: true}}",
    ),
    "everything": (
        "kcp-tmc",
        """
replicaCount: 3
etcd: {replicaCount: 3, antiAffinity: hard}
backup: {enabled: true}
ingress: {enabled: true, className: nginx, grpcAnnotations: true}
networkPolicy: {enabled: true, egress: [{ports: [{port: 443}]}]}
audit: {enabled: true}
encryption: {existingSecret: keys}
monitoring: {prometheus: {assumeOperator: true}}
rbac: {adminSubjects: [{kind: User, name: ada, apiGroup: rbac.authorization.k8s.io}]}
global: {imageRegistry: r.test, imagePullSecrets: [a, {name: b}], commonLabels: {team: x}, commonAnnotations: {owner: x}}
extraManifests: [{apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Release.Name }}-x"}}]
""",
    ),
    "as many servers as the load asks for": (
        "kcp-tmc",
        "{autoscaling: {enabled: true, minReplicas: 2}, certManager: {enabled: true}, "
        "ingress: {enabled: true, tlsMode: reencrypt, tls: [{hosts: [kcp.your-domain.com], secretName: kcp-tls-cert}]}}",
    ),
    "a syncer": (
        "kcp-syncer",
        """
syncTarget: {name: production-east, workspace: root:production}
kcp: {endpoint: https://kcp.your-domain.com}
image: {registry: your-registry.com, tag: v0.11.0}
""",
    ),
    "several syncers": (
        "kcp-syncer",
        "{replicaCount: 2, kcp: {token: t, caData: eA==}, podDisruptionBudget: {enabled: true}, monitoring: {assumeOperator: true}, "
        "networkPolicy: {enabled: true}, syncer: {cluster: {kubeconfigSecret: {name: east}}}, "
        "autoscaling: {enabled: true, minReplicas: 2}, global: {commonLabels: {team: x}}}",
    ),
}


def values_of(name: str) -> tuple[str, dict[str, Any]]:
    chart, text = COMBINATIONS[name]
    return chart, yaml.safe_load(text)
