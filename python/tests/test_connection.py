"""Addresses, TLS and tokens."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfbm import TLS, AuthenticationError, Client, InvalidRequestError, UnavailableError
from lfbm._connection import Connection

from .conftest import serving

TOKEN = "a-token-of-the-tests-0123456789abcdef"


@pytest.mark.parametrize(
    ("server", "target", "secure"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("http://inspection:1", "inspection:1", False),
        ("https://inspection:1/", "inspection:1", True),
        ("[::1]:50051", "[::1]:50051", False),
        ("50051", "127.0.0.1:50051", False),
    ],
)
def test_addresses(server: str, target: str, secure: bool) -> None:
    connection = Connection.to(server, None, None)
    assert (connection.target, connection.credentials is not None) == (target, secure)


@pytest.mark.parametrize(
    "server", ["", "host", "host:", "host:port", "host:65536", ":1", "ftp://host:1", "a b:1", "::1:5", "u@host:1"]
)
def test_other_addresses_are_refused(server: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected HOST:PORT") as refused:
        Client(server)
    assert refused.value.field == "server"


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(InvalidRequestError, match="expected https://"):
        Client("http://host:1", tls=True)
    with pytest.raises(InvalidRequestError, match="expected TLS"):
        Client("https://host:1", tls=False)
    with pytest.raises(InvalidRequestError, match="expected cert and key"):
        Client("host:1", tls=TLS(cert=b"one"))
    with pytest.raises(InvalidRequestError, match="expected certificates, PEM"):
        Client("host:1", tls=TLS(ca=empty))
    with pytest.raises(FileNotFoundError):
        Client("host:1", tls=TLS(ca=tmp_path / "missing.pem"))


@pytest.mark.parametrize("token", ["", "two words", "ключ"])
def test_a_token_is_never_quoted(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected one token") as refused:
        Client("host:1", token=token)
    assert token == "" or token not in str(refused.value)
    assert TOKEN not in repr(Connection.to("host:1", TOKEN, None))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of `lfbm.test` that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    extensions = ["-addext", "subjectAltName=DNS:lfbm.test", "-addext", "basicConstraints=critical,CA:FALSE"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lfbm.test"]
    subprocess.run([*new, "-out", cert, "-keyout", key, *extensions], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def secure_server(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with TLS that wants a token."""
    folder = tmp_path_factory.mktemp("secure")
    tokens = folder / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"{TOKEN}\n")
    cert, key = certificate
    flags = ["--tls-cert", cert, "--tls-key", key, "--auth-tokens-file", tokens]
    with serving(folder, *map(str, flags)) as address:
        yield address


def test_tls_and_a_token(secure_server: str, certificate: tuple[Path, Path], four: Path) -> None:
    cert, _ = certificate
    for ca in (cert, cert.read_bytes()):
        with Client(secure_server, token=TOKEN, tls=TLS(ca=ca, server_name="lfbm.test")) as client:
            assert client.score(four).anomalous
            assert [score.anomalous for score in client.score_many([four, four])] == [True, True]


def test_a_missing_or_wrong_token(secure_server: str, certificate: tuple[Path, Path], four: Path) -> None:
    tls = TLS(ca=certificate[0], server_name="lfbm.test")
    for token in (None, "another"):
        with Client(secure_server, token=token, tls=tls) as client:
            with pytest.raises(AuthenticationError):
                client.score(four)
            results = list(client.score_many([four, four], errors="return"))
            assert [type(result) for result in results] == [AuthenticationError] * 2


def test_a_certificate_that_is_not_trusted_or_of_another_name(
    secure_server: str, certificate: tuple[Path, Path], four: Path
) -> None:
    for tls in (TLS(ca=certificate[0]), TLS(server_name="lfbm.test"), None):
        with Client(secure_server, token=TOKEN, tls=tls, retries=0) as client, pytest.raises(UnavailableError):
            client.score(four)
