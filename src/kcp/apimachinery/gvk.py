"""Names of API types: group, version, kind and resource.

Named tuples, because every request makes and looks up several: making, hashing and comparing them is C.
Source: k8s.io/apimachinery/pkg/runtime/schema/group_version.go.
"""

from __future__ import annotations

from typing import NamedTuple


class GroupResource(NamedTuple):
    """A resource without its version; the unit of storage, RBAC and bindings.

    >>> str(GroupResource("apps", "deployments")), str(GroupResource("", "pods"))
    ('deployments.apps', 'pods')
    """

    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


class GVR(NamedTuple):
    """Group, version and plural resource name, as they stand in a URL.

    >>> GVR("apps", "v1", "deployments").api_version
    'apps/v1'
    """

    group: str
    version: str
    resource: str

    @property
    def group_resource(self) -> GroupResource:
        return GroupResource(self.group, self.resource)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def api_path(self) -> str:
        """URL path of the group version: `/api/v1` or `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def __str__(self) -> str:
        return f"{self.resource}.{self.version}.{self.group or 'core'}"


class GVK(NamedTuple):
    """Group, version and kind, as they stand in an object.

    >>> GVK.of("apps/v1", "Deployment")
    GVK(group='apps', version='v1', kind='Deployment')
    """

    group: str
    version: str
    kind: str

    @classmethod
    def of(cls, api_version: str, kind: str) -> GVK:
        group, _, version = api_version.rpartition("/")
        return cls(group, version, kind)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.api_version}, Kind={self.kind}"
