"""Where the server is, and how it is reached."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from .errors import invalid

_EXPECTED = "expected HOST:PORT, or http:// or https:// before it"
_CONNECT_TIMEOUT_MS = 5000
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"

PemLike = str | os.PathLike[str] | bytes
"""A PEM file's path, or its bytes."""


@dataclass(frozen=True, slots=True)
class TLS:
    """How the server's certificate is checked, and what this client shows of itself."""

    ca: PemLike | None = None
    """The authorities to trust; the system's when absent."""
    server_name: str | None = None
    """The name that the server's certificate must have, if it differs from the host's."""
    cert: PemLike | None = None
    """This client's certificate, for a server that asks for one."""
    key: PemLike | None = field(default=None, repr=False)
    """The private key of `cert`."""


@dataclass(frozen=True, slots=True)
class Connection:
    """All that a channel needs."""

    target: str
    """HOST:PORT."""
    credentials: grpc.ChannelCredentials | None
    """None is plain text."""
    options: tuple[tuple[str, Any], ...]
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    """What every call sends."""

    @classmethod
    def to(cls, server: str, token: str | None, tls: TLS | bool | None) -> Connection:
        """Reads the files that `tls` names; connects to nothing yet."""
        scheme, separator, target = server.rpartition("://")
        if separator and scheme not in ("http", "https"):
            raise invalid("server", f"{_EXPECTED}, got {server!r}")
        if target.isdecimal():
            target = f"127.0.0.1:{target}"
        host, _, port = target.rstrip("/").rpartition(":")
        if not re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+", host) or not _is_port(port):
            raise invalid("server", f"{_EXPECTED}, got {server!r}")
        if tls is False or (tls is None and scheme != "https"):
            if scheme == "https":
                raise invalid("tls", f"expected TLS for https://, got False for {server!r}")
            credentials, name = None, None
        else:
            if scheme == "http":
                raise invalid("server", f"expected https:// or HOST:PORT with tls, got {server!r}")
            settings = tls if isinstance(tls, TLS) else TLS()
            credentials, name = _credentials(settings), settings.server_name
        return cls(f"{host}:{port}", credentials, _options(name), _authorization(token))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 1 << 16


def _options(server_name: str | None) -> tuple[tuple[str, Any], ...]:
    options: list[tuple[str, Any]] = [
        # The request bounds the size of the reply.
        ("grpc.max_receive_message_length", -1),
        # A server that starts is found as soon as the first retries ask for it.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 10_000),
        ("grpc.min_reconnect_backoff_ms", _CONNECT_TIMEOUT_MS),
    ]
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    return tuple(options)


def _authorization(token: str | None) -> tuple[tuple[str, str], ...]:
    if token is None:
        return ()
    token = token.strip()
    # An error must not quote it.
    if not re.fullmatch(r"[!-~]+", token):
        raise invalid("token", "expected one token of ASCII without spaces")
    return (("authorization", f"Bearer {token}"),)


def _credentials(tls: TLS) -> grpc.ChannelCredentials:
    if (tls.cert is None) != (tls.key is None):
        raise invalid("tls", "expected cert and key, got one of them")
    authorities = _system_authorities() if tls.ca is None else _pem(tls.ca)
    if authorities is not None and _CERTIFICATE not in authorities:
        raise invalid("tls.ca", "expected certificates, PEM")
    return grpc.ssl_channel_credentials(
        root_certificates=authorities,
        private_key=None if tls.key is None else _pem(tls.key),
        certificate_chain=None if tls.cert is None else _pem(tls.cert),
    )


def _system_authorities() -> bytes | None:
    """The file of the system's authorities; where there is none, gRPC's own are trusted."""
    path = ssl.get_default_verify_paths().cafile
    return None if path is None else Path(path).read_bytes()


def _pem(pem: PemLike) -> bytes:
    return pem if isinstance(pem, bytes) else Path(pem).read_bytes()
