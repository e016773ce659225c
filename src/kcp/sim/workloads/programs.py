"""What the program of a simulated container does: how long it runs, its exit code, what it logs.

No image is ever pulled. In this order: the annotations `sim.kcp.io/run-seconds` and `sim.kcp.io/exit-code` of the pod; the container's
command, where it is a small shell script or a program that `shell` knows; the image, where it is one that serves for ever; else nothing is
known, and a container of a pod that runs to completion succeeds at once, any other runs for ever.
Pure. Before: `podlife`, `podverbs`. After: `shell`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from kcp.apimachinery import meta
from kcp.sim.workloads.shell import run_words
from kcp.sim.workloads.shellmachine import Machine
from kcp.sim.workloads.standardinput import StandardInput, input_of

EXIT_CODE_ANNOTATION = "sim.kcp.io/exit-code"
RUN_SECONDS_ANNOTATION = "sim.kcp.io/run-seconds"

_SERVING = frozenset(("agnhost", "httpd", "memcached", "mysql", "nginx", "pause", "postgres", "redis"))
"""Images, by the last part of their name, that serve until they are stopped."""
_MOST_GENERATED = 10_000
_PAUSED = ((0.0, "Paused"), (0.0, "Signals registered"))
"""What agnhost's default program says, by which Kubernetes' tests know it. Source: test/images/agnhost/pause/pause.go."""
_SHELLS = frozenset(("alpine", "bash", "busybox", "debian", "ubuntu"))
"""Images without a program of their own: what stands in `args` is the command."""
SHELLS = frozenset(("sh", "bash", "ash", "dash"))
_SYSTEM_FILES = {"/proc/self/status": "Cpus_allowed_list:\t0-3\n"}
_MOST_REPLAYS = 16
"""How many earlier runs of a container are replayed to know what they left in its volumes."""


@dataclass(frozen=True, slots=True)
class Program:
    seconds: float | None
    """None: until it is stopped."""
    exit_code: int = 0
    lines: tuple[tuple[float, str], ...] | None = None
    """What it logs: seconds since its start, and the text; None where that is not known."""
    message: str = ""
    """What it wrote to its termination log."""


def program(pod: Mapping[str, Any], container: Mapping[str, Any], restarts: int = 0, *, runs_once: bool | None = None) -> Program:
    """Args: restarts: how often the container ran before. runs_once: whether an unknown program ends; by default as restartPolicy says."""
    if runs_once is None:
        runs_once = meta.nested(pod, "spec", "restartPolicy", default="Always") in ("Never", "OnFailure")
    marks = meta.annotations(pod)
    seconds, code = _number(marks.get(RUN_SECONDS_ANNOTATION)), _number(marks.get(EXIT_CODE_ANNOTATION))
    if runs_once and code is None and EXIT_CODE_ANNOTATION in marks:
        code = 1.0  # what is no number is at least no success
    if seconds is not None or (code is not None and runs_once):
        return Program(seconds or 0.0, int(code or 0))
    known = _scripted(pod, container, restarts)
    if known is not None:
        return known
    if (
        _image(container) == "agnhost"
        and not container.get("command")
        and (test := _for_tests(list(container.get("args") or ()))) is not None
    ):
        return test
    if not runs_once or (_image(container) in _SERVING and not container.get("command")):
        return Program(None)
    return Program(0.0)


def _for_tests(words: list[str]) -> Program | None:
    """The programs of agnhost whose output Kubernetes' tests read. Source: test/images/agnhost/{pause,logs-generator}."""
    if words[:1] in ([], ["pause"]):
        return Program(None, lines=_PAUSED)
    if words[0] != "logs-generator":
        return None
    flags = dict(zip(words[1::2], words[2::2], strict=False))
    total = _number(flags.get("--log-lines-total", flags.get("-t"))) or 0.0
    seconds = _number((flags.get("--run-duration", flags.get("-d")) or "").removesuffix("s")) or 0.0
    if not (0 < total <= _MOST_GENERATED and seconds > 0):
        return Program(0.0, 255)
    return Program(seconds, 0, tuple((n * seconds / total, _generated(n)) for n in range(int(total))))


def _generated(n: int) -> str:
    """
    >>> _generated(1)
    '1 POST /api/v1/namespaces/default/pods/p37 207'
    """
    method, namespace = ("GET", "POST", "PUT")[n % 3], ("kube-system", "default", "ns")[n % 3]
    return f"{n} {method} /api/v1/namespaces/{namespace}/pods/p{n * 37 % 1000} {200 + n * 7 % 400}"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _image(container: Mapping[str, Any]) -> str:
    """
    >>> _image({"image": "registry.k8s.io/e2e-test-images/busybox:1.36@sha256:ab"})
    'busybox'
    """
    return str(container.get("image") or "").rsplit("/", 1)[-1].partition("@")[0].partition(":")[0]


def _scripted(pod: Mapping[str, Any], container: Mapping[str, Any], restarts: int) -> Program | None:
    words = _words(pod, container)
    if words is None:
        return None
    typed = input_of(pod, str(container.get("name")), restarts) if container.get("stdin") else None
    if not words or is_shell(words):
        return _typed_into(typed)
    machine = _replayed(pod, container, words, restarts, typed)
    if machine is None:
        return None
    outcome = machine.out
    message = machine.files.get(container.get("terminationMessagePath") or "/dev/termination-log", "").rstrip("\n")
    if not message and outcome.code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        message = "\n".join(line for _, line in outcome.lines)[-2048:]
    read_s, ended_s = machine.read_s, typed.ended_s if typed is not None else None
    late_s = ended_s - read_s if read_s is not None and ended_s is not None else 0.0
    lines = tuple((at_s + (late_s if late_s > 0.0 and at_s >= (read_s or 0.0) else 0.0), line) for at_s, line in outcome.lines)
    seconds = None if outcome.seconds is None else outcome.seconds + max(late_s, 0.0)
    return Program(seconds, outcome.code, lines, message[:4096])


def left_by(pod: Mapping[str, Any], container: Mapping[str, Any], restarts: int, ran_s: float) -> dict[str, str]:
    """The files that the container's own program has written, after so long; none where it is not known what it does."""
    words = _words(pod, container)
    if not words or is_shell(words):
        return {}
    typed = input_of(pod, str(container.get("name")), restarts) if container.get("stdin") else None
    machine = _replayed(pod, container, words, restarts, typed, until_s=ran_s)
    return {path: text for path, text in machine.files.items() if path not in _SYSTEM_FILES} if machine is not None else {}


def _words(pod: Mapping[str, Any], container: Mapping[str, Any]) -> list[str] | None:
    """The command of a container; None where only its image knows."""
    if not container.get("command") and _image(container) not in _SHELLS:
        return None
    env = environment(pod, container)
    return [_substituted(str(w), env) for w in (*(container.get("command") or ()), *(container.get("args") or ()))]


def _replayed(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    words: list[str],
    restarts: int,
    typed: StandardInput | None,
    *,
    until_s: float | None = None,
) -> Machine | None:
    """The machine after its latest run, with what the earlier ones have left; None for something that is not simulated."""
    env = environment(pod, container)
    mounts = tuple(str(m.get("mountPath")) for m in container.get("volumeMounts") or ())
    files: dict[str, str] = {}
    last = min(restarts, _MOST_REPLAYS)
    for attempt in range(last + 1):
        files = {path: text for path, text in files.items() if mounts and path.startswith(mounts)} | _SYSTEM_FILES
        machine = Machine(dict(env), files, host=env["HOSTNAME"], random=_dice(pod, container, attempt))
        machine.stdin = typed.text if typed is not None else ""
        machine.is_typed, machine.is_open = typed is not None, typed is not None and typed.is_open
        machine.until_s = until_s if attempt == last else None
        if run_words(words, machine) is None:
            return None
        files = machine.files
    return machine


def is_shell(words: Sequence[str]) -> bool:
    """Whether a command is a shell that reads its input, and nothing else."""
    return words[0].rsplit("/", 1)[-1] in SHELLS and all(word.startswith("-") and "c" not in word for word in words[1:])


def _typed_into(typed: StandardInput | None) -> Program:
    """A shell: without input it ends at once, else when somebody has left it."""
    if typed is None:
        return Program(0.0)
    return Program(typed.ended_s, typed.code or 0, ())


def _dice(pod: Mapping[str, Any], container: Mapping[str, Any], attempt: int) -> Any:
    """$RANDOM: repeatable for one run of one container."""
    state = crc32(f"{meta.uid(pod)}/{container.get('name')}/{attempt}".encode())

    def roll() -> int:
        nonlocal state
        state = (state * 1_103_515_245 + 12_345) % 2**31
        return state >> 16

    return roll


def environment(pod: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, str]:
    """The variables that the pod itself tells; what ConfigMaps and Secrets tell is left out."""
    env = {"HOSTNAME": meta.nested(pod, "spec", "hostname") or meta.name(pod)}
    for variable in container.get("env") or ():
        if "value" in variable:
            env[variable["name"]] = _substituted(str(variable["value"] or ""), env)
        elif (path := meta.nested(variable, "valueFrom", "fieldRef", "fieldPath")) is not None:
            env[variable["name"]] = field_of(pod, path)
    return env


def field_of(pod: Mapping[str, Any], path: str) -> str:
    """The downward API's fields."""
    for part, values in (("labels", meta.labels(pod)), ("annotations", meta.annotations(pod))):
        if path.startswith(f"metadata.{part}['") and path.endswith("']"):
            return values.get(path[len(part) + 11 : -2], "")
    return str(meta.nested(pod, *path.split("."), default=""))


def _substituted(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` of variables that there are, as the kubelet fills them in. Source: third_party/forked/golang/expansion."""
    for name, value in env.items():
        text = text.replace(f"$({name})", value)
    return text
