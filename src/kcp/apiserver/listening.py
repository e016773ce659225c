"""Binding a TCP port, and saying well why it cannot be bound: who has it, and what to do.

Before: `serving`. After: the operating system.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import suppress
from pathlib import Path


class ListenError(Exception):
    """The address cannot be listened on; the message names it and says what to do."""


_KEPT = 128
"""Descriptors for files of the store, connections to other servers and handshakes; half of them all, where there are that few."""
_MOST = 1 << 20


def descriptors() -> int:
    """How many connections there may be: beyond, the store could open no file. The process takes as many descriptors as it is allowed.

    Source: Go's os package, which does the same at the start of every program (go.dev/issue/46279).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # not allowed after all: what there is has to do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allowed = _MOST if soft == resource.RLIM_INFINITY else soft
    return max(allowed - _KEPT, allowed // 2)


def bind(host: str, port: int, *, flag: str, backlog: int = 1024) -> socket.socket:
    """A listening, non-blocking socket. `port` 0 takes a free one; `flag` is the option that sets the port.

    Raises: ListenError.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as fault:
        raise ListenError(f"cannot listen on {where}: {fault.strerror or fault}") from fault
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host in ("", "::") else 1)
        listener.bind(address)
        listener.listen(backlog)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    except OSError as fault:
        listener.close()
        raise ListenError(_why(fault, where, port, flag)) from fault
    return listener


def _why(fault: OSError, where: str, port: int, flag: str) -> str:
    if fault.errno == errno.EADDRINUSE:
        owner = port_owner(port)
        by = f" by process {owner}" if owner else ""
        return f"{where} is in use{by}: choose another port with {flag}, or stop the other server"
    if fault.errno == errno.EACCES:
        return f"no permission to listen on {where}: choose a port above 1023 with {flag}"
    if fault.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {where}: this machine has no such address"
    return f"cannot listen on {where}: {fault.strerror or fault}"


def port_owner(port: int, proc: Path = Path("/proc")) -> str:
    """`1234 (python3)`: the process that listens on a port, "" if that cannot be found out (another user's, or not Linux)."""
    inodes = _listening_inodes(port, proc)
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):  # other users' processes, and those that end while we look
            for descriptor in (process / "fd").iterdir():
                if _link(descriptor) in wanted:
                    return f"{process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _link(descriptor: Path) -> str:
    with suppress(OSError):  # closed while we look
        return os.readlink(descriptor)
    return ""


def _listening_inodes(port: int, proc: Path) -> set[str]:
    """Source: Linux Documentation/networking/proc_net_tcp.rst; state 0A is LISTEN."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):  # no such table: no IPv6, or not Linux
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                    inodes.add(columns[9])
    return inodes
