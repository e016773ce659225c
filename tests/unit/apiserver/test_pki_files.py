"""Certificates of an installation: names and usages as planned, what stands in their way, and renewal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apiserver import pki_files
from kcp.apiserver.pki import PKI, PKIError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
YEAR, MONTH = timedelta(days=365), timedelta(days=30)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    wanted = pki_files.plans("kcp.your-domain.com", "kcp-system", "cluster.local", ["10.0.0.1"])
    made = pki_files.init(tmp_path, wanted, now=NOW, lifetime=YEAR)
    assert [path.name for path in made] == ["ca.crt", "kcp-server.crt", "syncer-client.crt", "etcd.crt", "etcd-client.crt"]
    return tmp_path


def by_name(directory: Path) -> dict[str, pki_files.Held]:
    return {one.path.stem: one for one in pki_files.held(directory)}


def test_names_and_usages_are_those_of_the_plan(directory: Path) -> None:
    found = {name: (one.described.common_name, one.described.names, one.described.usages) for name, one in by_name(directory).items()}
    assert found["kcp-server"] == (
        "kcp.your-domain.com", ("kcp.your-domain.com", "kcp-internal.kcp-system.svc.cluster.local", "10.0.0.1"), ("server auth",),
    )  # fmt: skip
    assert found["syncer-client"] == ("syncer-client", (), ("client auth",))
    common, names, usages = found["etcd"]
    assert (common, names[0], usages) == ("etcd-server", "etcd.kcp-system.svc.cluster.local", ("server auth", "client auth"))
    assert all(one.fault(NOW, MONTH) == "" for one in by_name(directory).values())
    assert by_name(directory)["etcd"].authority == directory / "ca.crt"


def test_what_is_there_is_kept(directory: Path) -> None:
    before = (directory / "etcd.crt").read_bytes()
    (directory / "syncer-client.crt").unlink()
    wanted = pki_files.plans("other.example.com", "kcp-system", "cluster.local", [])
    assert [path.name for path in pki_files.init(directory, wanted, now=NOW, lifetime=YEAR)] == ["syncer-client.crt"]
    assert (directory / "etcd.crt").read_bytes() == before


def test_what_expires_is_renewed_with_its_names_by_its_authority(directory: Path) -> None:
    later, before = NOW + timedelta(days=340), by_name(directory)
    assert {one.fault(later, MONTH) for name, one in before.items() if name != "ca"} == {"expires soon"}
    assert before["etcd"].fault(NOW + 2 * YEAR, MONTH) == "expired"
    assert list(pki_files.renew(directory, now=NOW, lifetime=YEAR, margin=MONTH)) == []
    renewed = list(pki_files.renew(directory, now=later, lifetime=YEAR, margin=MONTH))
    assert len(renewed) == 4
    after = by_name(directory)
    assert all(one.fault(later, MONTH) == "" for one in after.values())
    for name in ("etcd", "kcp-server", "syncer-client"):
        old, new = before[name].described, after[name].described
        assert (old.common_name, old.names, old.usages) == (new.common_name, new.names, new.usages)
        assert new.not_after == later + YEAR


def test_a_lost_key_and_a_foreign_signature_are_faults(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (directory / "etcd.key").write_bytes((directory / "kcp-server.key").read_bytes())
    assert by_name(directory)["etcd"].fault(NOW, MONTH) == "its key is not there, or another"
    assert [path.name for path in pki_files.renew(directory, now=NOW, lifetime=YEAR, margin=MONTH)] == ["etcd.crt"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    pki_files.init(elsewhere, (), now=NOW, lifetime=YEAR)
    (directory / "ca.crt").write_bytes((elsewhere / "ca.crt").read_bytes())
    assert by_name(directory)["etcd"].fault(NOW, MONTH) == "signed by none of the authorities here"
    (directory / "odd.crt").write_text("no certificate")
    with pytest.raises(PKIError, match=r"odd\.crt: it is no certificate"):
        pki_files.held(directory)


def test_the_certificates_of_a_server_are_listed_and_renewed_too(tmp_path: Path) -> None:
    pki = PKI.ensure(tmp_path, clock=VirtualClock(NOW))
    found = by_name(pki.directory)
    assert {name: one.authority and one.authority.stem for name, one in found.items()} == {
        "ca": None, "client-ca": None, "apiserver": "ca",
    }  # fmt: skip
    assert [p.stem for p in pki_files.renew(pki.directory, now=NOW, lifetime=2 * YEAR, margin=2 * YEAR)] == ["apiserver"]
    assert set(found["apiserver"].described.names) == set(by_name(pki.directory)["apiserver"].described.names)


def test_an_authority_whose_key_is_elsewhere_is_told(directory: Path) -> None:
    (directory / "ca.key").unlink()
    with pytest.raises(PKIError, match=r"ca\.key is not there"):
        list(pki_files.renew(directory, now=NOW + YEAR, lifetime=YEAR, margin=MONTH))
