"""The order of API versions: which of them clients are offered first.

Before: `apiserver.discovery`, `registry.crd`. Source: k8s.io/apimachinery/pkg/version/helpers.go, CompareKubeAwareVersionStrings.
"""

import re

_VERSION = re.compile(r"^v(\d+)(?:(alpha|beta)(\d+))?$")


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sort key that puts the preferred version first: v2, v1, v1beta2, v1beta1, v1alpha1, then anything else by name.

    >>> sorted(["v1alpha1", "v1", "v2beta1", "v10", "foo"], key=version_rank)
    ['v10', 'v1', 'v2beta1', 'v1alpha1', 'foo']
    """
    found = _VERSION.match(version)
    if found is None:
        return (3, 0, 0, version)
    stability = {None: 0, "beta": 1, "alpha": 2}[found.group(2)]
    return (stability, -int(found.group(1)), -int(found.group(3) or 0), "")
