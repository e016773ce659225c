"""The wheel, and for a platform everything that it needs there.

    python scripts/build/wheel.py [--bundle] dist linux/amd64

The wheel itself is the same everywhere (pure Python, `py3-none-any`); its dependencies are not. With `--bundle`, dist/<os>-<arch>/ holds
the wheels of all of them for that platform, to be installed with `pip install --no-index --find-links dist/<os>-<arch> kcp-tmc`, and the
files from which images of that platform are built.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
GLIBC = ("2_17", "2_27", "2_28", "2_34", "2_35")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def wheel(directory: Path) -> Path:
    """Build it; older ones go."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("kcp_tmc-*.whl"):
        old.unlink()
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(directory), str(ROOT)], check=True)
    return next(directory.glob("kcp_tmc-*.whl"))


def bundle(made: Path, system: str, machine: str) -> Path:
    """All wheels for a platform, beside the build files of its images."""
    if system != "linux" or machine not in MACHINES:
        sys.exit(f"{system}/{machine}: bundles are made for linux/amd64 and linux/arm64")
    directory = made.parent / f"{system}-{machine}"
    shutil.rmtree(directory, ignore_errors=True)
    platforms = [f"--platform=manylinux_{version}_{MACHINES[machine]}" for version in GLIBC]
    platforms.append(f"--platform=manylinux2014_{MACHINES[machine]}")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    choice = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
    subprocess.run([*PIP, "download", *choice, "--dest", str(directory), str(made)], check=True)
    for dockerfile in sorted((ROOT / "docker").glob("Dockerfile.*")):
        text = dockerfile.read_text().replace("\nFROM ", f"\nFROM --platform={system}/{machine} ")
        (directory / dockerfile.name).write_text(text)
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="store_true", help="download what it needs for the platform")
    parser.add_argument("directory", type=Path)
    parser.add_argument("platform", help="os/arch, such as linux/arm64")
    options = parser.parse_args()
    system, _, machine = options.platform.partition("/")
    made = wheel(options.directory)
    print(f"{made} ({made.stat().st_size / 1024:,.0f} KiB), for every platform with Python 3.11 or later, {options.platform} among them")
    if options.bundle:
        directory = bundle(made, system, machine)
        files = list(directory.glob("*.whl"))
        print(f"{directory}/: {len(files)} wheels, {sum(f.stat().st_size for f in files) / 2**20:,.1f} MiB")


if __name__ == "__main__":
    main()
