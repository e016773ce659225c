"""What simulated containers do: commands, small scripts, images, annotations; anything unknown is never taken for a failure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.sim.workloads.programs import Program, left_by, program
from kcp.sim.workloads.shell import run
from kcp.sim.workloads.shellmachine import Machine


def a_pod(policy: str = "Never", **container: Any) -> dict[str, Any]:
    spec = {"restartPolicy": policy, "containers": [{"name": "c", "image": "busybox", **container}]}
    return {"metadata": {"name": "p", "uid": "u", "annotations": {}}, "spec": spec}


def outcome(pod: dict[str, Any], restarts: int = 0) -> tuple[float | None, int]:
    found = program(pod, pod["spec"]["containers"][0], restarts)
    return found.seconds, found.exit_code


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", (0.0, 0)),
        ("exit 3", (0.0, 3)),
        ("sleep 5; exit 1", (5.0, 1)),
        ("sleep 1m && false || sleep 2", (62.0, 0)),
        ("while true; do echo hi; sleep 1; done", (None, 0)),
        ("if [ $(expr ${INDEX} % 2) -ne 0 ]; then exit 1; else exit 0; fi", (0.0, 1)),
        ("if [[ -r /data/foo ]] ; then exit 0 ; else touch /data/foo ; exit 1 ; fi", (0.0, 1)),
        ('x="a b"; [ "$x" = "a b" ] && exit $((2 * (1 + 1)))', (0.0, 4)),
        ("for i in 1 2 3; do sleep $i; done", (6.0, 0)),
        ("trap 'exit 0' TERM; sleep infinity", (None, 0)),
        ("tail -f /dev/null", (None, 0)),
        ("(sleep 3; exit 2) & sleep 1", (1.0, 0)),
        ("! true", (0.0, 1)),
        ("set -e; exec sleep 7", (7.0, 0)),
        ("# nothing\necho 'it''s' >> /tmp/x # here\ncat /tmp/y", (0.0, 1)),
        ("grep Cpus_allowed_list /proc/self/status | cut -f2 && sleep 1d", (86_400.0, 0)),
        ("echo a:b | cut -d: -f2 | grep -q b || exit 9", (0.0, 0)),
        ("echo a | grep -v a", (0.0, 1)),
        ("until [ -f /tmp/done ]; do sleep 1; touch /tmp/done; done", (1.0, 0)),
    ],
)
def test_a_script_ends_as_a_shell_would_end_it(script: str, expected: tuple[float | None, int]) -> None:
    assert outcome(a_pod(command=["/bin/sh", "-c", script], env=[{"name": "INDEX", "value": "3"}])) == expected


def test_what_is_not_known_is_no_failure() -> None:
    for script in ("my-server --port 1", "curl x | grep y", "cat <<EOF", "if true; then", "echo 'open", "$(", "a" * 20_000):
        assert run(script, Machine({}, {})) is None, script
        assert outcome(a_pod(command=["sh", "-c", script])) == (0.0, 0)
        assert outcome(a_pod("Always", command=["sh", "-c", script])) == (None, 0)


def test_a_script_sees_what_its_earlier_runs_left_in_a_volume_only() -> None:
    script = ["sh", "-c", "if [ -f /data/foo ]; then exit 0; else touch /data/foo /tmp/bar; exit 1; fi"]
    pod = a_pod(command=script, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    assert [outcome(pod, restarts)[1] for restarts in (0, 1, 2)] == [1, 0, 0]
    assert [outcome(a_pod(command=script), restarts)[1] for restarts in (0, 1, 2)] == [1, 1, 1]


def test_commands_images_and_annotations() -> None:
    assert outcome(a_pod(command=["/bin/false"])) == (0.0, 1)
    assert outcome(a_pod(args=["sleep", "300"])) == (300.0, 0)
    assert outcome(a_pod(image="registry.k8s.io/e2e-test-images/agnhost:2.47")) == (None, 0)
    assert outcome(a_pod(image="registry.k8s.io/pause:3.10")) == (None, 0)
    assert outcome(a_pod(image="example.com/tool")) == (0.0, 0)
    steered = a_pod(command=["sleep", "300"])
    steered["metadata"]["annotations"] = {"sim.kcp.io/run-seconds": "2", "sim.kcp.io/exit-code": "7"}
    assert outcome(steered) == (2.0, 7)


def test_the_image_of_kubernetes_tests_says_that_it_pauses() -> None:
    image = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
    for more in ({}, {"args": ["pause"]}):
        assert program({}, {"name": "c", "image": image, **more}) == Program(None, lines=((0.0, "Paused"), (0.0, "Signals registered")))
    assert program({}, {"name": "c", "image": image, "args": ["netexec"]}) == Program(None)


def test_a_generator_of_logs_says_so_many_lines_in_so_long() -> None:
    args = ["logs-generator", "--log-lines-total", "4", "--run-duration", "20s"]
    found = program({}, {"name": "c", "image": "agnhost:2.63", "args": args})
    assert (found.seconds, found.exit_code) == (20.0, 0)
    assert [at_s for at_s, _ in found.lines or ()] == [0.0, 5.0, 10.0, 15.0]
    assert (found.lines or ())[3][1].startswith("3 GET /api/v1/namespaces/kube-system/pods/")
    assert program({}, {"name": "c", "image": "agnhost:2.63", "args": ["logs-generator"]}).exit_code == 255


def test_what_a_program_has_written_so_far_is_known_at_any_time() -> None:
    pod = a_pod(command=["sh", "-c", "mkdir -p /a; echo x > /a/b; touch /tmp/healthy; sleep 30; rm -f /tmp/healthy; sleep 600"])
    container = pod["spec"]["containers"][0]
    assert left_by(pod, container, 0, 10.0).keys() >= {"/a/b", "/tmp/healthy"}
    later = left_by(pod, container, 0, 31.0)
    assert later["/a/b"] == "x\n"
    assert "/tmp/healthy" not in later
    assert left_by(pod, {"name": "c", "image": "nginx"}, 0, 10.0) == {}


def test_what_is_printed_is_logged_with_its_time() -> None:
    pod = a_pod(command=["sh", "-c", "echo one; sleep 2; printf 'two\\n%s' $NAME; echo bye > /dev/termination-log"], env=[
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ])  # fmt: skip
    found = program(pod, pod["spec"]["containers"][0])
    assert found.lines == ((0.0, "one"), (2.0, "two"), (2.0, "p"))
    assert found.message == "bye"


@pytest.mark.parametrize(
    "script",
    ["x=a; while true; do x=$x$x; done", "x=9; while true; do x=$((x*x)); done", "while true; do cat /f >> /f; echo a >> /f; done"],
)
def test_no_script_takes_more_than_it_may(script: str) -> None:
    run(script, Machine({}, {}))


@given(st.text(alphabet="abc 0123$(){}[];&|<>'\"\\\n!=-`#ifthendowhilr", max_size=120))
def test_no_text_breaks_the_shell(script: str) -> None:
    run(script, Machine({}, {}))


def test_last_words_may_stand_anywhere() -> None:
    """Source: test/e2e/common/node/runtime.go (TerminationMessagePath at a non-default path)."""
    script = ["/bin/sh", "-c", "/bin/echo -n DONE > /dev/termination-custom-log; echo lost > /dev/null"]
    pod = a_pod(command=script, terminationMessagePath="/dev/termination-custom-log")
    assert program(pod, pod["spec"]["containers"][0]).message == "DONE"
