"""Who signed a client's certificate, in full handshakes and in resumed ones."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kcp.apiserver import pki_issue
from kcp.apiserver.peerauthorities import PeerAuthorities, Signer

DAY = timedelta(days=1)


class Ends:
    """Two sides of TLS in memory; the server trusts both authorities."""

    def __init__(self, directory: Path) -> None:
        now = datetime.now(UTC)
        self.directory = directory
        self.users, self.proxies = (pki_issue.authority(name, now=now, lifetime=DAY) for name in ("users", "proxies"))
        self._write("users.pem", self.users.certificate)
        self._write("proxies.pem", self.proxies.certificate)
        serving = pki_issue.serving((self.users.certificate, self.users.key), ["server.test"], now=now, lifetime=DAY)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self._write("server.pem", serving.certificate + serving.key))
        self.server.verify_mode = ssl.CERT_OPTIONAL
        for bundle in ("users.pem", "proxies.pem"):
            self.server.load_verify_locations(directory / bundle)
        self.authorities = PeerAuthorities([directory / "users.pem"], [directory / "proxies.pem"])

    def _write(self, name: str, content: bytes) -> Path:
        (self.directory / name).write_bytes(content)
        return self.directory / name

    def client(self, signer: pki_issue.Issued) -> ssl.SSLContext:
        issued = pki_issue.client((signer.certificate, signer.key), "somebody", (), now=datetime.now(UTC), lifetime=DAY)
        context = ssl.create_default_context(cafile=str(self.directory / "users.pem"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose sessions are known when the handshake ends
        context.load_cert_chain(self._write("client.pem", issued.certificate + issued.key))
        return context

    def meet(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[ssl.SSLObject, ssl.SSLObject]:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(down, up, server_hostname="server.test", session=session)
        server = self.server.wrap_bio(up, down, server_side=True)
        waiting = [client, server]
        while waiting:
            for side in list(waiting):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                waiting.remove(side)
        return client, server


@pytest.mark.parametrize("who", ["users", "proxies"])
def test_the_signer_is_told_from_the_other_and_remembered_for_resumed_sessions(tmp_path: Path, who: str) -> None:
    ends = Ends(tmp_path)
    context = ends.client(ends.users if who == "users" else ends.proxies)
    expected = Signer(of_users=who == "users", of_proxies=who == "proxies")
    client, server = ends.meet(context)
    assert ends.authorities.signer(server) == expected
    again, resumed = ends.meet(context, client.session)
    assert again.session_reused
    assert ends.authorities.signer(resumed) == expected
    forgetful = PeerAuthorities([tmp_path / "users.pem"], [tmp_path / "proxies.pem"])
    assert forgetful.signer(resumed) in (None, expected)


def test_one_authority_may_sign_for_both(tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    same = PeerAuthorities([tmp_path / "users.pem"], [tmp_path / "users.pem"])
    _, server = ends.meet(ends.client(ends.users))
    assert same.signer(server) == Signer(of_users=True, of_proxies=True)
