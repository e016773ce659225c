"""What a simulated container sees of the cluster: its variables, and the files of its volumes that are ConfigMaps, Secrets or downward.

Read anew for every `exec`, so that a changed ConfigMap shows as it would after the kubelet's next look. Tokens of service accounts are
not made for this. Before: `execution`. After: `workloads.programs`.
Source: pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables), pkg/volume/{configmap,secret,projected,downwardapi}.
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import LOCAL, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.programs import environment, field_of

_CONFIG_MAPS, _SECRETS, _SERVICES = GroupResource("", "configmaps"), GroupResource("", "secrets"), GroupResource("", "services")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Find: TypeAlias = Callable[[GroupResource, ClusterName, str, str], Awaitable[JSONObject | None]]
"""(resource, cluster, namespace, name) → the object as it is now."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    env: dict[str, str]
    files: dict[str, str]
    """Absolute path → text; a path that ends with / is an empty directory."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Of one pod."""

    pod: JSONObject
    find: Find

    async def surroundings(self, container: Mapping[str, Any]) -> Surroundings:
        env = await self._variables(container)
        files = {"/tmp/": "", "/proc/": "", "/etc/hostname": f"{env['HOSTNAME']}\n", "/etc/hosts": self._hosts(env["HOSTNAME"])}
        volumes = {volume["name"]: volume for volume in meta.nested(self.pod, "spec", "volumes", default=())}
        for mount in container.get("volumeMounts") or ():
            held = await self._volume(volumes.get(mount.get("name")) or {})
            at, sub = str(mount.get("mountPath")), mount.get("subPath") or ""
            if sub:
                if sub in held:
                    files[at] = held[sub]
                continue
            files.setdefault(at.rstrip("/") + "/", "")
            files |= {posixpath.join(at, path): text for path, text in held.items()}
        return Surroundings(env, files)

    def _hosts(self, name: str) -> str:
        return f"127.0.0.1\tlocalhost\n{meta.nested(self.pod, 'status', 'podIP', default='')}\t{name}\n"

    async def _variables(self, container: Mapping[str, Any]) -> dict[str, str]:
        env = {"PATH": _PATH, "HOME": "/root"}
        if (service := await self.find(_SERVICES, LOCAL, "default", "kubernetes")) is not None:
            env |= {"KUBERNETES_SERVICE_HOST": str(meta.nested(service, "spec", "clusterIP", default="")), "KUBERNETES_SERVICE_PORT": "443"}
        for source in container.get("envFrom") or ():
            prefix = source.get("prefix") or ""
            for kind, part in ((_CONFIG_MAPS, "configMapRef"), (_SECRETS, "secretRef")):
                if part in source:
                    held = await self._data(kind, source[part].get("name") or "")
                    env |= {prefix + key: value for key, value in held.items()}
        env |= environment(self.pod, container)
        for variable in container.get("env") or ():
            for kind, part in ((_CONFIG_MAPS, "configMapKeyRef"), (_SECRETS, "secretKeyRef")):
                if reference := meta.nested(variable, "valueFrom", part):
                    held = await self._data(kind, reference.get("name") or "")
                    if reference.get("key") in held:
                        env[variable["name"]] = held[reference["key"]]
        return env

    async def _data(self, kind: GroupResource, name: str) -> dict[str, str]:
        obj = await self.find(kind, LOCAL, meta.namespace(self.pod), name)
        if obj is None:
            return {}
        plain = dict(obj.get("data") or {})
        encoded = plain if kind == _SECRETS else obj.get("binaryData") or {}
        decoded = {key: base64.b64decode(value).decode("utf-8", "surrogateescape") for key, value in encoded.items()}
        return plain | decoded

    async def _volume(self, volume: Mapping[str, Any]) -> dict[str, str]:
        if "configMap" in volume:
            return _chosen(await self._data(_CONFIG_MAPS, volume["configMap"].get("name") or ""), volume["configMap"])
        if "secret" in volume:
            return _chosen(await self._data(_SECRETS, volume["secret"].get("secretName") or ""), volume["secret"])
        if "downwardAPI" in volume:
            return self._downward(volume["downwardAPI"])
        files: dict[str, str] = {}
        for source in meta.nested(volume, "projected", "sources", default=()):
            if "configMap" in source:
                files |= _chosen(await self._data(_CONFIG_MAPS, source["configMap"].get("name") or ""), source["configMap"])
            elif "secret" in source:
                files |= _chosen(await self._data(_SECRETS, source["secret"].get("name") or ""), source["secret"])
            elif "downwardAPI" in source:
                files |= self._downward(source["downwardAPI"])
        return files

    def _downward(self, source: Mapping[str, Any]) -> dict[str, str]:
        items = source.get("items") or ()
        return {item["path"]: self._downward_text(meta.nested(item, "fieldRef", "fieldPath", default="")) for item in items}

    def _downward_text(self, path: str) -> str:
        """Whole maps are one line for each entry, its value in quotes. Source: pkg/fieldpath/fieldpath.go (FormatMap)."""
        maps = {"metadata.labels": meta.labels(self.pod), "metadata.annotations": meta.annotations(self.pod)}
        if path in maps:
            return "\n".join(f'{key}="{value}"' for key, value in sorted(maps[path].items()))
        return field_of(self.pod, path)


def _chosen(data: dict[str, str], source: Mapping[str, Any]) -> dict[str, str]:
    """All keys as files, or those that `items` name."""
    items = source.get("items")
    return data if not items else {item["path"]: data[item["key"]] for item in items if item.get("key") in data}
