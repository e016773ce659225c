"""A validating webhook that the operator has set before all workspaces.

Source: kcp test/e2e/admissionwebhook/globalwebhook_test.go, pkg/admission/globalwebhook/plugin_test.go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.behaviour.admission.test_webhooks import Hook, configuration
from tests.behaviour.exports.market import CONFIG_MAPS, Market, config_map
from tests.listener import listening

from kcp.aio.clock import SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden
from kcp.apiserver.admission.globalwebhook import NAME, AdmissionConfigError, read
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.tenancy.kinds import LOGICAL_CLUSTERS

RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "DELETE"], "resources": ["configmaps"]}
WATCHED = {"matchLabels": {"watched": "yes"}}


def written(directory: Path, webhooks: dict[str, Any], *, plugin: str = NAME, inline: bool = False) -> Path:
    """The file for the flag."""
    (directory / "webhooks.yaml").write_text(yaml.safe_dump(webhooks))
    given = {"configuration": webhooks} if inline else {"path": "webhooks.yaml"}
    file = directory / "admission.yaml"
    plugins = [{"name": plugin, **given}]
    file.write_text(yaml.safe_dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}))
    return file


def asked(hook: Hook) -> list[tuple[str, str, str]]:
    """Operation, and where the object shown says it is, new and old."""
    requests = [review["request"] for _, review in hook.asked]
    return [
        (r["operation"], *(meta.annotations(r[which] or {}).get("kcp.io/cluster", "") for which in ("object", "oldObject")))
        for r in requests
    ]


@pytest.mark.parametrize("inline", [False, True])
async def test_it_is_asked_in_every_workspace_and_told_in_which(tmp_path: Path, *, inline: bool) -> None:
    async with listening(tmp_path / "hook", ["127.0.0.1"], Hook) as hook:
        webhooks = configuration("Validating", "global", hook.webhook(rules=[RULE], objectSelector=WATCHED))
        file = written(tmp_path, webhooks, inline=inline)
        options = Options(root_directory=tmp_path / ".kcp", in_memory=True, admission_config_file=file)
        assert not options.problems()
        async with run_server(options, clock=SystemClock(), with_socket=False) as running:
            market = Market(running)
            names = []
            for name in ("one", "two"):
                inside = await market.workspace(name)
                names.append(meta.cluster(await inside.resource(LOGICAL_CLUSTERS).get("cluster")))
                await inside.resource(CONFIG_MAPS).create(config_map("seen", watched="yes"), namespace="default")
                await inside.resource(CONFIG_MAPS).create(config_map("unseen"), namespace="default")
            assert asked(hook) == [("CREATE", name, "") for name in names]
            await market.at("one").resource(CONFIG_MAPS).delete("seen", namespace="default")
            assert asked(hook)[2:] == [("DELETE", "", names[0])]
            hook.responses["/"] = lambda request: {"allowed": False, "status": {"message": "not here"}}
            with pytest.raises(Forbidden, match=r'admission webhook "hook\.example\.com" denied the request: not here'):
                await market.at("two").resource(CONFIG_MAPS).create(config_map("more", watched="yes"), namespace="default")


@pytest.mark.parametrize(
    ("plugin", "webhook", "told"),
    [
        ("EventRateLimit", {}, "plugin 'EventRateLimit' takes no configuration here"),
        (NAME, {"clientConfig": {"service": {"namespace": "a", "name": "b"}}}, r"webhooks\[0\]\.clientConfig\.url: Required value"),
        (NAME, {"sideEffects": "Some"}, r"webhooks\[0\]\.sideEffects"),
    ],
)
def test_what_cannot_be_done_is_said_at_the_start(tmp_path: Path, plugin: str, webhook: dict[str, Any], told: str) -> None:
    given = {"name": "a.example.com", "clientConfig": {"url": "https://a"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]}
    file = written(tmp_path, configuration("Validating", "global", {**given, "rules": [RULE], **webhook}), plugin=plugin)
    with pytest.raises(AdmissionConfigError, match=told):
        read(file)
    (problem,) = Options(admission_config_file=file).problems()
    assert problem.startswith("--admission-control-config-file: ")


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdmissionConfigError, match="none.yaml"):
        read(tmp_path / "none.yaml")
    (tmp_path / "other.yaml").write_text("kind: List")
    with pytest.raises(AdmissionConfigError, match="must be of apiVersion apiserver.config.k8s.io/v1 and kind AdmissionConfiguration"):
        read(tmp_path / "other.yaml")


def test_without_webhooks_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert read(written(tmp_path, configuration("Validating", "global"))) is None
