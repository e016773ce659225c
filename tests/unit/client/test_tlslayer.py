"""TLS over memory: handshake, records in any pieces, the peer's end, alerts."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from kcp.aio.clock import SystemClock
from kcp.apiserver.pki import PKI
from kcp.client.tls import trusting
from kcp.client.tlslayer import TLSLayer


class Server:
    """The other side, over memory too."""

    def __init__(self, pki: PKI) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pki.serving.certificate, pki.serving.key)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def shake_hands(self) -> bytes:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI.ensure(tmp_path_factory.mktemp("pki"), clock=SystemClock())


@pytest.fixture
def server(pki: PKI) -> Server:
    return Server(pki)


@pytest.fixture
def layer(server: Server, pki: PKI) -> TLSLayer:
    made = TLSLayer(trusting(pki.ca_pem().encode()), "127.0.0.1", server.incoming.write)
    made.handshake()
    while not made.is_open:
        made.handshake(server.shake_hands())
    assert list(made.decrypted(server.shake_hands())) == []
    return made


def test_what_is_written_arrives_and_what_arrives_is_read(server: Server, layer: TLSLayer) -> None:
    layer.write(b"x" * 100_000)
    assert b"".join(server.tls.read(1 << 20) for _ in range(7)) == b"x" * 100_000
    server.tls.write(b"answer")
    assert list(layer.decrypted(server.outgoing.read())) == [b"answer"]


@pytest.mark.parametrize("piece", [1, 7, 20_000, 1 << 20])
def test_records_may_come_in_any_pieces(server: Server, layer: TLSLayer, piece: int) -> None:
    server.tls.write(b"y" * 20_000)
    server.tls.write(b"z" * 20_000)
    sent = server.outgoing.read()
    read = b"".join(b"".join(layer.decrypted(sent[start : start + piece])) for start in range(0, len(sent), piece))
    assert read == b"y" * 20_000 + b"z" * 20_000


def test_the_peers_end_is_told_after_what_came_before_it(server: Server, layer: TLSLayer) -> None:
    server.tls.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        server.tls.unwrap()
    assert list(layer.decrypted(server.outgoing.read())) == [b"last", b""]


def test_our_end_is_told_to_the_peer(server: Server, layer: TLSLayer) -> None:
    layer.end()
    assert server.tls.read(1) == b""


def test_what_is_no_record_is_an_error(layer: TLSLayer) -> None:
    with pytest.raises(ssl.SSLError):
        list(layer.decrypted(b"HTTP/1.1 400 Bad Request\r\n\r\n"))


def test_a_certificate_of_another_authority_is_refused_and_the_server_told(server: Server, tmp_path: Path) -> None:
    other = PKI.ensure(tmp_path, clock=SystemClock())
    layer = TLSLayer(trusting(other.ca_pem().encode()), "127.0.0.1", server.incoming.write)
    layer.handshake()
    with pytest.raises(ssl.SSLCertVerificationError):
        layer.handshake(server.shake_hands())
    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA|unknown ca"):
        server.tls.do_handshake()
