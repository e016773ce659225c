"""A conversion webhook over HTTPS, and the CRD that it converts: v1 says host and port, v2 says hostPort, as in Kubernetes' documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import web
from tests.listener import listening

from kcp.apimachinery.gvk import GVR

GROUP = "stable.example.com"
V1, V2 = GVR(GROUP, "v1", "crontabs"), GVR(GROUP, "v2", "crontabs")
NAME = "crontabs.stable.example.com"

Convert: TypeAlias = Callable[[dict[str, Any], str], dict[str, Any]]


def host_and_port(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
    made = {key: value for key, value in obj.items() if key not in ("host", "port", "hostPort")}
    if wanted.endswith("/v2"):
        made["hostPort"] = f"{obj.get('host', '')}:{obj.get('port', '')}"
    else:
        made["host"], _, made["port"] = obj.get("hostPort", ":").partition(":")
    return {**made, "apiVersion": wanted}


class Converter:
    """What the webhook was asked, and how it answers."""

    def __init__(self, ca_bundle: str) -> None:
        self.ca_bundle = ca_bundle
        self.port = 0
        self.reviews: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.convert: Convert = host_and_port
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | web.Response] = self.review

    @property
    def asked(self) -> list[tuple[str, list[str]]]:
        """Desired version and names of the objects of each call."""
        return [(r["request"]["desiredAPIVersion"], [o["metadata"]["name"] for o in r["request"]["objects"]]) for r in self.reviews]

    def client_config(self) -> dict[str, Any]:
        return {"url": f"https://127.0.0.1:{self.port}/convert", "caBundle": self.ca_bundle}

    @staticmethod
    def convert_of(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
        """The honest conversion."""
        return host_and_port(obj, wanted)

    def review(self, review: dict[str, Any], **result: Any) -> dict[str, Any]:
        request = review["request"]
        made = [self.convert(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        response = {"uid": request["uid"], "result": result or {"status": "Success"}, "convertedObjects": made}
        return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        review = await request.json()
        self.paths.append(request.path_qs)
        self.reviews.append(review)
        answer = self.answer(review)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)


def converting(directory: Path, hosts: Sequence[str] = ("127.0.0.1", "converter.default.svc")) -> AbstractAsyncContextManager[Converter]:
    return listening(directory, hosts, Converter)


def _schema(**properties: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": spec, **properties}}}


def version(name: str, *, storage: bool, **properties: Any) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": _schema(**properties),
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
    }


def crontabs(converter: Converter | None, *, storage: str = "v1", reviews: Sequence[str] = ("v1",), **conversion: Any) -> dict[str, Any]:
    """Args: converter: None for conversion None. conversion: in place of the webhook's `clientConfig`."""
    text = {"type": "string"}
    first = version("v1", storage=storage == "v1", host=text, port=text)
    second = version("v2", storage=storage == "v2", hostPort=text)
    second["selectableFields"] = [{"jsonPath": ".hostPort"}]
    names = {"plural": "crontabs", "kind": "CronTab", "singular": "crontab", "listKind": "CronTabList"}
    spec: dict[str, Any] = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [first, second]}
    if converter is not None:
        held = conversion or {"clientConfig": converter.client_config()}
        spec["conversion"] = {"strategy": "Webhook", "webhook": {"conversionReviewVersions": list(reviews), **held}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME}, "spec": spec}


def first(name: str, host: str = "localhost", port: str = "80", **metadata: Any) -> dict[str, Any]:
    held = {"name": name, **metadata}
    return {"apiVersion": V1.api_version, "kind": "CronTab", "metadata": held, "host": host, "port": port, "spec": {"replicas": 1}}


def second(name: str, host_port: str = "localhost:80", **metadata: Any) -> dict[str, Any]:
    held = {"name": name, **metadata}
    return {"apiVersion": V2.api_version, "kind": "CronTab", "metadata": held, "hostPort": host_port, "spec": {"replicas": 1}}


def store_in(name: str) -> Callable[[dict[str, Any]], None]:
    """Change of a CRD: which version is stored."""

    def change(crd: dict[str, Any]) -> None:
        for held in crd["spec"]["versions"]:
            held["storage"] = held["name"] == name

    return change
