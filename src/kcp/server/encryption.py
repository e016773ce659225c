"""Encryption at rest of a running server: the configuration in force, and its file, which is read again when it changes.

Imported only with `--encryption-provider-config`. Before: `compose`. After: `storage.encryption`.
Source: k8s.io/apiserver/pkg/server/options/encryptionconfig/controller/controller.go.
"""

from __future__ import annotations

import logging

from kcp.aio.clock import Clock
from kcp.server.options import EncryptionOptions
from kcp.storage.encryption.ciphers import Sealings
from kcp.storage.encryption.config import EncryptionConfigError, read
from kcp.storage.encryption.store import EncryptedStore
from kcp.storage.interface import Store

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0


class Encryption:
    """`store` is what the server works with; `run` follows the file."""

    def __init__(self, store: Store, options: EncryptionOptions, *, clock: Clock) -> None:
        """Raises EncryptionConfigError."""
        assert options.config_file is not None, "made only where there is a configuration"
        self._path, self._reloads, self._clock = options.config_file, options.reload, clock
        rules, self._content = read(self._path)
        self.store = EncryptedStore(store, Sealings(rules))

    async def run(self) -> None:
        """A new content that has faults changes nothing."""
        while self._reloads:
            await self._clock.sleep(_LOOK_EVERY_S)
            try:
                if self._path.read_bytes() == self._content:
                    continue
                rules, self._content = read(self._path)
                self.store.use(Sealings(rules))
                log.info("the encryption configuration %s changed and is in force", self._path)
            except (OSError, EncryptionConfigError) as fault:
                log.error("the encryption configuration is kept as it was: %s", fault)
