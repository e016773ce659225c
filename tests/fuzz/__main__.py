"""Long runs, `make fuzz`: requests to every endpoint of both servers, those that schemathesis makes of our OpenAPI over TLS as well, then every
parser under atheris, led by what code they reach.

`python -m tests.fuzz [--minutes M] [--seed S] [parser …]`; what fails is printed with the input that did it.
Before: people, `make fuzz`. After: `endpoints`, `parsers`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--minutes", type=float, default=10.0, help="in all; a third for the endpoints, the rest for the parsers")
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--one", action="store_true", help="run the one parser in this process, under atheris")
    options.add_argument("parsers", nargs="*", help="only these, without the endpoints")
    given = options.parse_args()
    if given.one:
        _cover(given.parsers[0], given.minutes * 60)
        return 0
    failed = [] if given.parsers else [*_endpoints(given.seed, given.minutes * 20), *_schemathesis(given.seed, given.minutes)]
    from tests.fuzz.parsers import PARSERS

    names = given.parsers or list(PARSERS)
    for name in names:
        minutes = given.minutes * (1 if given.parsers else 2 / 3) / len(names)
        command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--one", f"--minutes={minutes}", f"--seed={given.seed}", name]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(f"parser {name}")
    print(f"failed: {', '.join(failed)}" if failed else "nothing found", flush=True)
    return 1 if failed else 0


def _endpoints(seed: int, seconds: float) -> list[str]:
    """Rounds over all endpoints of both servers, each with another seed. Returns what failed."""
    from tests.fuzz import target
    from tests.fuzz.endpoints import Requests, discover

    failed = []
    with tempfile.TemporaryDirectory() as directory, target.simulated() as cluster, target.kcp(Path(directory)) as control_plane:
        sides = [(cluster, ""), (control_plane, "/clusters/root")]
        everything = [(side, endpoint) for side, base in sides for endpoint in discover(side, base)]
        ends_at = time.monotonic() + seconds
        for turn, side, endpoint in ((turn, *pair) for turn in itertools.count(seed) for pair in everything):
            try:
                Requests(side, endpoint, turn).run(100)
            except AssertionError as fault:
                print(f"--- {endpoint.gvk} with seed {turn}\n{fault}", flush=True)
                failed.append(f"{endpoint.gvk} with seed {turn}")
            if time.monotonic() > ends_at:
                break
    return failed


def _schemathesis(seed: int, minutes: float) -> list[str]:
    """All operations of the documents that tests/e2e/test_schemathesis.py names, one example each for every ten minutes of the whole run."""
    examples = {"SCHEMATHESIS_EXAMPLES": str(max(1, round(minutes / 10))), "SCHEMATHESIS_SEED": str(seed)}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "e2e", "tests/e2e/test_schemathesis.py"]
    return (
        [] if subprocess.run(command, env={**os.environ, **examples}, check=False).returncode == 0 else [f"schemathesis with seed {seed}"]
    )


def _cover(name: str, seconds: float) -> None:
    """Does not return: atheris ends the process, with 77 if something was found."""
    import atheris

    with atheris.instrument_imports(include=["kcp"]):
        from tests.fuzz.parsers import PARSERS
    parser = PARSERS[name]
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory) / "corpus"
        corpus.mkdir()
        for number, data in enumerate(parser.corpus):
            (corpus / str(number)).write_bytes(data)
        words = Path(directory) / "words"
        words.write_text("".join(_word(token) for token in parser.tokens))
        flags = [
            "-max_len=4096",
            "-timeout=5",
            "-rss_limit_mb=2048",
            f"-max_total_time={int(seconds)}",
            "-verbosity=0",
            "-print_final_stats=0",
        ]
        atheris.Setup([name, *flags, f"-dict={words}", f"-artifact_prefix={Path(tempfile.gettempdir())}/", str(corpus)], parser)
        atheris.Fuzz()


def _word(token: bytes) -> str:
    """A line of a dictionary for libFuzzer."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n'


if __name__ == "__main__":
    sys.exit(main())
