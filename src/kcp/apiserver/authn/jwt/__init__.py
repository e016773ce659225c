"""Tokens of foreign issuers: OpenID Connect and structured authentication configuration.

    `config` (what is configured) → `validation` → `authenticator` (one issuer) → `keys` (its signing keys)
    → `distributed` (claims that are elsewhere) → `mapping` (claims → user)

Before: `server.authentication`, and tenancy, for the issuers of single workspaces.
Nothing but `config` is imported where no issuer is configured.
"""
