"""Nobody reads, writes, watches or learns the existence of anything in a workspace it may not enter, by any form of URL.

Every subject asks every question twice: about a workspace that exists, and about one that does not, spelled alike. It must be refused, and
the two answers must be the same but for the spelling.
"""

from __future__ import annotations

import orjson
import pytest
from tests.behaviour.access.walls import Subject, leaks, raised
from tests.behaviour.exports.market import CONFIG_MAPS, Market

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName
from kcp.registry.backend import UserInfo

EVERYONE = ("system:authenticated",)


def subjects_of(inside: ClusterName, other: ClusterName) -> dict[str, Subject]:
    account = "system:serviceaccount:default:default"
    accounts = ("system:serviceaccounts", "system:serviceaccounts:default", *EVERYONE)
    neighbour = UserInfo("neighbour", EVERYONE)
    admin = UserInfo("admin", ("system:kcp:admin", *EVERYONE))
    warrant = orjson.dumps({"user": "x", "groups": ["system:masters"], "extra": {"authentication.kcp.io/scopes": [f"cluster:{other}"]}})
    return {
        "anonymous": Subject(UserInfo("system:anonymous", ("system:unauthenticated",))),
        "stranger": Subject(UserInfo("stranger", EVERYONE)),
        "member of another workspace": Subject(neighbour),
        "foreign service account": Subject(UserInfo(account, accounts, "u", {"authentication.kcp.io/cluster-name": (other,)})),
        "service account of two": Subject(UserInfo(account, accounts, "u", {"authentication.kcp.io/cluster-name": (inside, other)})),
        "person who claims a cluster": Subject(UserInfo("p", EVERYONE, "", {"authentication.kcp.io/cluster-name": (inside,)})),
        "administrator scoped elsewhere": Subject(UserInfo("a", admin.groups, "", {"authentication.kcp.io/scopes": (f"cluster:{other}",)})),
        "master scoped elsewhere": Subject(UserInfo("m", ("system:masters",), "", {"authentication.kcp.io/scopes": (f"cluster:{other}",)})),
        "warrant good elsewhere": Subject(UserInfo("w", EVERYONE, "", {"authorization.kcp.io/warrant": (warrant.decode(),)})),
        "neighbour who plays the master": Subject(neighbour, {"impersonate-user": "x", "impersonate-group": "system:masters"}),
        "neighbour who plays the administrator": Subject(neighbour, {"impersonate-user": "x", "impersonate-group": "system:kcp:admin"}),
        "neighbour who plays the account": Subject(neighbour, {"impersonate-user": account}),
        "administrator who plays the master": Subject(admin, {"impersonate-user": "x", "impersonate-group": "system:masters"}),
        "administrator who plays the stranger": Subject(admin, {"impersonate-user": "stranger"}, may_know=True),
    }


@pytest.mark.parametrize("subject", [*subjects_of(ClusterName("a"), ClusterName("b"))])
async def test_closed_doors_are_all_alike(market: Market, subject: str) -> None:
    await market.export()
    walls = await raised(market, subjects_of)
    faults = await leaks(walls, walls.subjects[subject])
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:25])
    await assert_untouched(market)


async def assert_untouched(market: Market) -> None:
    held = await market.at("walled").resource(CONFIG_MAPS).list(namespace="default")
    assert {meta.name(obj) for obj in held.items} - {"kube-root-ca.crt"} == {"hidden"}
