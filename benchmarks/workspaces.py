"""What workspaces cost by the thousand, all figures in one run: creation, memory, start, exports and their views, deletion.

    .venv/bin/python benchmarks/workspaces.py [--count 10000] [--only start,flat,exports,operator,delete,tree] [--write]

One `kcp start` over TLS with durable SQLite, the load generator on the same machine; loopback and a temporary directory only (2 GB of disk
and 2 GB of memory for 10,000). With 10,000 it takes about twenty minutes, with `--count 1000` eight. The baseline is what kcp
publishes about itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from measure import market
from measure.consumers import operate
from measure.fanout import Watchers
from measure.health import probed
from measure.processes import ControlPlane
from measure.report import Report, percentile, replace_section, spread_ms
from measure.tree import Creator, Made, Place, delete_all, make, tree_levels

DEPTH = 5
STEADY_PER_S, STEADY_S = 50, 10
SETTLE_S = 10
HISTORY_S = 340
"""Changes of the last five minutes can be watched, and are looked at twice a minute."""
PAIRED, EXPORTED, EVENTS = 200, 50, 300
SERVED = 1000
SECTIONS = "start,flat,exports,operator,delete,tree"


@dataclass
class Run:
    """What all sections share."""

    report: Report
    directory: Path
    count: int
    server: ControlPlane
    token: str
    empty_kib: int = 0
    standing: list[Place] = field(default_factory=list)
    """Workspaces that there are now."""
    stalls: dict[str, list[float]] = field(default_factory=dict)
    """Delays of /livez and /readyz by section."""

    @property
    def providers(self) -> int:
        """Workspaces that stay."""
        return 1 if self.stalls.keys() & {"exports", "operator"} else 0

    @contextmanager
    def phase(self, name: str, text: str) -> Iterator[None]:
        self.report.step(text)
        with probed(self.server.url, self.stalls.setdefault(name, [])):
            yield

    def kib(self) -> int:
        """Resident, once what lives for seconds only is gone."""
        time.sleep(SETTLE_S)
        return self.server.program.rss_kib()

    def series(self) -> int:
        status, body = self.server.client(self.token).call("GET", "/metrics")
        if status != 200:
            raise SystemExit(f"/metrics: {status} {body[:300]!r}")
        return sum(1 for line in body.splitlines() if line and not line.startswith(b"#"))


def start(report: Report, directory: Path) -> None:
    report.step("three cold starts")
    took = []
    for turn in range(3):
        server = ControlPlane.start(directory, tmc=False, name=f"cold-{turn}")
        took.append(server.ready_after_s)
        server.stop()
    p50 = percentile(took, 0.5)
    report.row("start to ready", f"{p50:.2f} s", setting="empty directory", target="≤ 1.2 s", reached=p50 <= 1.2, baseline="7.2-12.2 s")


def flat(run: Run) -> None:
    """All under root, as fast as it goes."""
    before_kib, before = run.kib(), run.series()
    run.empty_kib = before_kib
    places = [("root", f"w-{number:05}") for number in range(run.count)]
    with run.phase("creation", f"{run.count:,} workspaces of type universal under root"):
        used_s = run.server.program.cpu_s()
        made = make(run.server, run.token, [places], Creator.create_all)
        created(run, "flat under root", made, run.server.program.cpu_s() - used_s, "2/s")
    run.standing = places
    each = (run.kib() - before_kib) / run.count
    run.report.row("memory of a workspace", f"{each:.0f} KiB", setting=f"of {run.count:,}", target="≤ 100 KiB", reached=each <= 100,
                   baseline="7.4-9.8 MiB", ratio=f"÷ {8600 / each:.0f}")  # fmt: skip
    after = run.series()
    run.report.row("metric series", f"{before:,} before, {after:,} with {run.count:,} workspaces", target="≤ 2,000, constant",
                   reached=after <= 2000 and after - before <= 200, baseline="25,000 → 160,000")  # fmt: skip
    idle_and_start(run)
    steady(run)


def created(run: Run, setting: str, made: Made, used_s: float, baseline: str) -> None:
    per_s = len(made.begun) / made.elapsed_s
    run.report.row("workspaces created until Ready", f"{per_s:.0f}/s, {used_s / len(made.begun) * 1e3:.1f} ms CPU each",
                   setting=f"{len(made.begun):,} {setting}", target="≥ 100/s", reached=per_s >= 100, baseline=baseline)  # fmt: skip


def idle_and_start(run: Run) -> None:
    used_s = run.server.program.cpu_s()
    time.sleep(SETTLE_S)  # what is measured is doing nothing
    share = (run.server.program.cpu_s() - used_s) / SETTLE_S
    run.report.row("idle CPU", f"{share:.2%} of a core", setting=f"{run.count:,} workspaces", target="≤ 2%", reached=share <= 0.02)
    run.server.stop()
    run.report.step("starting again on what is stored")
    run.server = ControlPlane.start(run.directory, tmc=False, name="server", port=run.server.port)
    took_s = run.server.ready_after_s
    run.report.row("start to ready", f"{took_s:.2f} s", setting=f"{run.count:,} workspaces stored", target="≤ 8 s", reached=took_s <= 8)


def steady(run: Run) -> None:
    places = [("root", f"steady-{number}") for number in range(STEADY_PER_S * STEADY_S)]
    with run.phase("creation", f"{STEADY_PER_S} workspaces a second for {STEADY_S} s, beside those"):
        made = make(run.server, run.token, [places], lambda creator, level: creator.create_steadily(level, STEADY_PER_S))
    delays = made.delays()
    mean, p99 = sum(delays) / len(delays), percentile(delays, 0.99)
    run.report.row("create to Ready", f"mean {mean * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms", setting=f"{STEADY_PER_S}/s",
                   target="mean ≤ 50 ms, p99 ≤ 250 ms", reached=mean <= 0.05 and p99 <= 0.25, baseline="1,641 ms; 3,570 ms")  # fmt: skip
    run.standing += places


def have_standing(run: Run) -> None:
    if not run.standing:
        run.standing = [("root", f"w-{number:05}") for number in range(run.count)]
        run.report.step(f"{run.count:,} workspaces to bind in")
        make(run.server, run.token, [run.standing], Creator.create_all)


def exports(run: Run) -> None:
    """A provider whose exports are bound by the workspaces that there are."""
    have_standing(run)
    make(run.server, run.token, [[("root", "provider")]], Creator.create_all)
    client = run.server.client(run.token)
    market.publish(client, "widgets", "widgets")
    market.publish(client, "single", "gadgets")
    market.publish(client, "several", *(f"part{letter}s" for letter in "abcdefghij"))
    market.publish(client, "things", *(f"things{number}s" for number in range(4)))
    with run.phase("exports", f"{EXPORTED} exports, each bound at once"):
        taken = market.export_to_endpoints(run.server, run.token, run.standing[:EXPORTED])
    mean = sum(taken) / len(taken)
    run.report.row("export to endpoints ready", f"mean {mean * 1e3:.0f} ms; {spread_ms(taken)}", setting=f"{EXPORTED}, first binding too",
                   target="mean ≤ 100 ms", reached=mean <= 0.1)  # fmt: skip
    bound_apis(run)
    consumers = run.standing[: run.count]
    sample = min(len(consumers), STEADY_PER_S * STEADY_S)
    with run.phase("exports", f"{sample} bindings at {STEADY_PER_S}/s"):
        taken = market.bind_all(run.server, run.token, "widgets", consumers[:sample], STEADY_PER_S)
    p99, mean = percentile(taken, 0.99), sum(taken) / len(taken)
    run.report.row("bind to Bound", f"mean {mean * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms", setting=f"{STEADY_PER_S}/s", target="p99 ≤ 300 ms",
                   reached=p99 <= 0.3, baseline="mean 652 ms", ratio=f"÷ {0.652 / mean:.0f}")  # fmt: skip
    if rest := consumers[sample:]:
        with run.phase("exports", f"the other {len(rest):,} bindings"):
            market.bind_all(run.server, run.token, "widgets", rest)
    view(run, consumers)


def bound_apis(run: Run) -> None:
    """A binding of ten APIs against a binding of one: what a further API costs whose schema is loaded already."""
    some = run.standing[EXPORTED : EXPORTED + PAIRED]
    cost = {}
    for name in ("single", "several"):
        market.bind_all(run.server, run.token, name, some[:1])
        before_kib = run.kib()
        market.bind_all(run.server, run.token, name, some[1:])
        cost[name] = (run.kib() - before_kib) / (len(some) - 1)
    single, several = cost["single"], cost["several"]
    each = (several - single) / 9
    run.report.row("memory of a further bound API", f"{each:.1f} KiB (a binding of one: {single:.0f} KiB, of ten: {several:.0f} KiB)",
                   setting=f"{len(some)} workspaces", target="its entries in the binding's status", reached=each <= 4)  # fmt: skip


def view(run: Run, consumers: list[Place]) -> None:
    """One watch through the export's virtual workspace sees what is made in any consumer."""
    client = run.server.client(run.token)
    path = f"{market.view_url(client, 'widgets')}/apis/example.com/v1/widgets"
    revision = client.json("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
    watchers = Watchers(run.server.url, run.token, f"{path}?watch=1&resourceVersion={revision}", 1)
    with run.phase("exports", f"{EVENTS} widgets, each in another of {len(consumers):,} consumers"):
        where = [consumers[number * len(consumers) // EVENTS % len(consumers)] for number in range(EVENTS)]
        making = multiprocessing.get_context("fork").Process(target=market.make_widgets, args=(run.server.url, run.token, where))
        making.start()
        found = watchers.wait(EVENTS)
        making.join()
    watchers.close()
    p99 = percentile(found.delays, 0.99)
    run.report.row("event in the apiexport view", spread_ms(found.delays), setting=f"over {len(consumers):,} consumers",
                   target="p99 ≤ 50 ms", reached=p99 <= 0.05)  # fmt: skip


def operator(run: Run) -> None:
    """The example operator, with all consumers."""
    consumers = run.standing[:SERVED]
    if not run.stalls.get("exports"):
        have_standing(run)
        consumers = run.standing[:SERVED]
        make(run.server, run.token, [[("root", "provider")]], Creator.create_all)
        market.publish(run.server.client(run.token), "widgets", "widgets")
        market.bind_all(run.server, run.token, "widgets", consumers)
    with run.phase("operator", f"an operator and {len(consumers):,} consumers, a widget in each"):
        served = operate(run.server, run.token, consumers, STEADY_PER_S)
    each_ms = served.operator_cpu_s / len(consumers) * 1e3
    cost = f"{each_ms:.1f} ms CPU each, {served.operator_kib / 1024:.0f} MiB"
    run.report.row(
        "operator: widget to its status", f"{spread_ms(served.delays)}; {cost}", setting=f"{len(consumers):,} consumers, one informer"
    )


def delete(run: Run) -> None:
    """All of them, and what the process keeps of them."""
    full_kib = run.kib()
    with run.phase("deletion", f"deleting {len(run.standing):,} workspaces"):
        deletion(run, "flat", run.standing, len(run.standing), left=run.providers)
    run.standing = []
    if run.empty_kib:
        run.report.step(f"{HISTORY_S} s until the history of the deletion is forgotten")
        time.sleep(HISTORY_S)
        kept = (run.kib() - run.empty_kib) / max(full_kib - run.empty_kib, 1)
        mib = (full_kib - run.empty_kib) / 1024
        run.report.row("memory kept after deletion", f"{kept:.0%} of {mib:.0f} MiB", target="≤ 25%", reached=kept <= 0.25)


def deletion(run: Run, setting: str, roots: list[Place], number: int, *, left: int) -> None:
    used_s = run.server.program.cpu_s()
    took_s = delete_all(run.server, run.token, roots, left=left)
    used_s = run.server.program.cpu_s() - used_s
    limit_s = max(180 * number / 10_000, 5)
    measured = f"{took_s:.0f} s, {number / took_s:.0f}/s, {used_s / number * 1e3:.1f} ms CPU each"
    run.report.row("deletion of all", measured, setting=f"{number:,} {setting}", target=f"≤ {limit_s:.0f} s", reached=took_s <= limit_s,
                   baseline="about 1 h for 10,000")  # fmt: skip


def tree(run: Run) -> None:
    levels = tree_levels(run.count, DEPTH)
    number = sum(map(len, levels))
    with run.phase("creation", f"{number:,} workspaces in a tree of depth {DEPTH}"):
        used_s = run.server.program.cpu_s()
        made = make(run.server, run.token, levels, Creator.create_all)
        created(run, f"in a tree of depth {DEPTH}", made, run.server.program.cpu_s() - used_s, "8/s")
    with run.phase("deletion", "deleting them by their uppermost ancestors"):
        deletion(run, f"in a tree of depth {DEPTH}", levels[0], number, left=len(run.standing) + run.providers)


def stalls(run: Run) -> None:
    for name, delays in run.stalls.items():
        worst = max(delays)
        measured = f"{spread_ms(delays)}, longest {worst * 1e3:.0f} ms of {len(delays):,}"
        run.report.row("/livez and /readyz", measured, setting=f"during {name}", target="≤ 100 ms", reached=worst <= 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="workspaces")
    parser.add_argument("--only", default=SECTIONS, help="sections, separated by commas")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    wanted = options.only.split(",")
    report = Report("Workspaces", baseline="kcp's own published figures")
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        directory = Path(name)
        if "start" in wanted:
            start(report, directory)
        server = ControlPlane.start(directory, tmc=False, name="server")
        run = Run(report, directory, options.count, server, server.shard_admin_token())
        try:
            for section in (flat, exports, operator, delete, tree):
                if section.__name__ in wanted:
                    section(run)
            stalls(run)
        finally:
            run.server.stop()
    text = report.end()
    if options.write:
        replace_section(Path(__file__).parents[1] / "docs/benchmarks.md", "workspaces.py", text)


if __name__ == "__main__":
    main()
