"""How servers that share an etcd decide which of them runs the controllers, as `kcp start` is told.

Before: `server.options`. After: `server.leading`. Source: k8s.io/component-base/config/options/leaderelectionconfig.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from kcp.controller.election import ElectionTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class LeadershipOptions:
    """--leader-elect*, as of kube-controller-manager; ours are quicker, so that another takes over within 15 s."""

    enabled: bool = True
    """--leader-elect; without effect for a server that keeps its objects itself."""
    lease_duration_s: float = 10.0
    """--leader-elect-lease-duration."""
    renew_deadline_s: float = 7.0
    """--leader-elect-renew-deadline."""
    retry_period_s: float = 1.5
    """--leader-elect-retry-period."""

    def times(self) -> ElectionTimes:
        return ElectionTimes(
            lease_duration_s=self.lease_duration_s, renew_deadline_s=self.renew_deadline_s, retry_period_s=self.retry_period_s
        )

    def problems(self) -> list[str]:
        flags = {
            "lease_duration_s": "--leader-elect-lease-duration",
            "renew_deadline_s": "--leader-elect-renew-deadline",
            "retry_period_s": "--leader-elect-retry-period",
        }
        found = self.times().problems()
        for field, flag in flags.items():
            found = [problem.replace(field, flag) for problem in found]
        return found
