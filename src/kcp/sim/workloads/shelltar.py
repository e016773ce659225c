"""`tar` in a simulated container, as `kubectl cp` calls it: `tar cf - path`, and `tar -xmf - -C directory`.

Before: `shelltools`. Source: k8s.io/kubectl/pkg/cmd/cp/cp.go.
"""

from __future__ import annotations

import io
import posixpath
import tarfile

from kcp.sim.workloads.shellmachine import Machine

_MOST_BYTES = 16 << 20
"""Of what is unpacked."""


def tar(args: list[str], machine: Machine) -> int:
    letters, directory, paths = "", machine.cwd, []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if arg in ("-C", "--directory") and rest:
            directory = posixpath.normpath(posixpath.join(machine.cwd, rest.pop(0)))
        elif arg.startswith("--"):
            continue  # kubectl asks for nothing here that matters: --no-same-permissions, --no-same-owner
        elif arg.startswith("-") and arg != "-" or not letters:
            letters += arg.lstrip("-")
            if arg.endswith("f") and rest and rest.pop(0) != "-":
                return machine.complain("tar: only archives on standard input and output are simulated")
        else:
            paths.append(arg)
    if "x" in letters:
        return _unpack(directory, machine)
    if "c" in letters:
        return _pack(directory, paths, machine)
    return machine.complain("tar: only c and x are simulated")


def _unpack(directory: str, machine: Machine) -> int:
    data = machine.read().encode("utf-8", "surrogateescape")
    left = _MOST_BYTES
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                path = posixpath.normpath(posixpath.join(directory, member.name.lstrip("/")))
                left -= max(member.size, 0)
                if left < 0:
                    return machine.complain("tar: write error: No space left on device")
                if member.isdir():
                    machine.files.setdefault(f"{path}/", "")
                elif member.isfile() and (held := archive.extractfile(member)) is not None:
                    machine.files[path] = held.read().decode("utf-8", "surrogateescape")
    except tarfile.TarError as error:
        return machine.complain(f"tar: invalid archive: {error}")
    return 0


def _pack(directory: str, paths: list[str], machine: Machine) -> int:
    code, buffer = 0, io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for wanted in paths:
            path = posixpath.normpath(posixpath.join(directory, wanted))
            found = [held for held in sorted(machine.files) if held == path or held.startswith(f"{path}/")]
            if not found:
                code = machine.complain(f"tar: {wanted}: No such file or directory")
            for held in found:
                _add(archive, (wanted + held[len(path) :]).lstrip("/"), held, machine)
    machine.put(buffer.getvalue().decode("utf-8", "surrogateescape"))
    return code


def _add(archive: tarfile.TarFile, name: str, held: str, machine: Machine) -> None:
    entry = tarfile.TarInfo(name.rstrip("/"))
    entry.mode, entry.type = (0o755, tarfile.DIRTYPE) if held.endswith("/") else (0o644, tarfile.REGTYPE)
    data = machine.files[held].encode("utf-8", "surrogateescape")
    entry.size = len(data)
    entry.mtime = int(machine.now.timestamp()) if machine.now is not None else 0
    archive.addfile(entry, io.BytesIO(data))
