"""Which controllers and admission plugins of a simulated cluster are on, as the flags of kube-controller-manager and kube-apiserver say it."""

from __future__ import annotations

import pytest

from kcp.sim.choice import Choice, ChoiceError

NAMES = ("deployment", "namespace", "scheduler")


@pytest.mark.parametrize(
    ("said", "on"),
    [
        (("*",), {"deployment", "namespace", "scheduler"}),
        (("*", "-namespace"), {"deployment", "scheduler"}),
        (("-namespace", "*"), {"deployment", "scheduler"}),
        (("namespace",), {"namespace"}),
        (("namespace-controller", "*", "-deployment-controller"), {"namespace", "scheduler"}),
        ((), set()),
    ],
)
def test_a_star_means_all_and_a_dash_not(said: tuple[str, ...], on: set[str]) -> None:
    choice = Choice(controllers=said)
    assert {name for name in NAMES if choice.is_on(name)} == on


def test_what_the_api_server_itself_does_is_always_on() -> None:
    choice = Choice(controllers=())
    assert choice.is_on("crd")
    assert choice.is_on("apiservice")


def test_a_name_that_there_is_not_is_refused_with_those_there_are() -> None:
    Choice(controllers=("*", "-namespace")).check(NAMES)
    with pytest.raises(ChoiceError, match=r"--controllers: there is no replicator; there are deployment, namespace, scheduler$"):
        Choice(controllers=("*", "-replicator")).check(NAMES)
    with pytest.raises(ChoiceError, match=r"--disable-admission-plugins: there is no Priorities; there are Priority, ServiceAccount$"):
        Choice(without_admission=("Priorities",)).check_admission(("ServiceAccount", "Priority", "Priority"))
