"""Auditing put together from its settings: policy, backends, and what its events say of workspaces.

Before: `compose`. After: `apiserver.audit`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.keys import NOWHERE, WILDCARD, ClusterName
from kcp.apiserver.audit.auditor import Auditor
from kcp.apiserver.audit.backends import Backend, Losses, backend
from kcp.apiserver.audit.config import AuditConfig, WebhookConfig
from kcp.apiserver.audit.logfile import LogFile
from kcp.apiserver.audit.policy import AuditError, load_policy
from kcp.apiserver.audit.webhook import Webhook
from kcp.client.http import HttpTransport
from kcp.client.kubeconfig import KubeConfigError, load
from kcp.tenancy.logicalcluster.index import WorkspaceIndex

log = logging.getLogger(__name__)


@asynccontextmanager
async def auditing(config: AuditConfig, index: WorkspaceIndex, clock: Clock) -> AsyncIterator[Auditor]:
    """Runs until the block is left; then everything taken is written. Raises AuditError, with what to change."""
    assert config.policy_file is not None
    policy, losses = load_policy(config.policy_file), Losses()
    async with Supervisor("audit") as supervisor:
        backends: list[Backend] = []
        if config.log.path:
            try:
                sink = LogFile.open(config.log, losses, clock.now)
            except OSError as error:
                raise AuditError(f"--audit-log-path={config.log.path}: {error.strerror or error}") from error
            backends.append(backend(sink, config.log.delivery, losses, clock))
        if config.webhook.config_file is not None:
            backends.append(backend(_webhook(config.webhook, losses, clock, supervisor), config.webhook.delivery, losses, clock))
        auditor = Auditor(policy, backends, losses, clock, describe=_Workspaces(index).annotations)
        supervisor.spawn(auditor.run(), name="audit backends")
        try:
            yield auditor
        finally:
            await auditor.close()


def _webhook(config: WebhookConfig, losses: Losses, clock: Clock, supervisor: Supervisor) -> Webhook:
    assert config.config_file is not None
    try:
        endpoint = load(config.config_file).endpoint
    except KubeConfigError as error:
        raise AuditError(f"--audit-webhook-config-file: {error}") from error
    transport = HttpTransport(endpoint, clock=clock)
    return Webhook(transport, endpoint.base_path or "/", losses, clock, supervisor, backoff_s=config.initial_backoff_s)


class _Workspaces:
    """Annotations that say which workspace it was. Source: kcp pkg/server/filters/filters.go, WithAuditEventClusterAnnotation."""

    def __init__(self, index: WorkspaceIndex) -> None:
        self._index = index

    def annotations(self, cluster: ClusterName) -> Mapping[str, str]:
        if not cluster or cluster in (NOWHERE, WILDCARD):
            return {}
        told = {"tenancy.kcp.io/workspace": str(cluster), "kcp.io/cluster": str(cluster)}
        if path := self._index.path_of(cluster):
            told["kcp.io/path"] = str(path)
        return told
