"""Signatures of evidence: Ed25519 keys, in files and at work."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stream_detect.errors import ConfigError, OutputError
from stream_detect.redact import hide

PASSWORD = "STREAM_DETECT_KEY_PASSWORD"  # the variable of the environment that a key's password stands in
LARGEST_KEY = 65536  # a file of a key, in bytes
OTHERS = stat.S_IRWXG | stat.S_IRWXO
MAKE_ONE = "stream-detect evidence keygen FILE makes one"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a signature is checked with."""

    raw: bytes  # 32 of them

    @property
    def hex(self) -> str:
        return self.raw.hex()

    @property
    def pem(self) -> bytes:
        """The key as it is written to a file."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(serialization.Encoding.PEM, kind)

    def fits(self, signature: bytes, data: bytes) -> bool:
        """Whether the owner of the private key signed exactly these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key, which signs. It is never shown."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.public = PublicKey(raw)

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._private.sign(data)


def make_key(path: Path, password: str | None = None) -> PublicKey:
    """Make a pair of keys: the private one at `path`, which its owner alone may read, the public one at `path`.pub.

    Raises:
        OutputError: if one of the files is there already, or can't be written.
    """
    private = Ed25519PrivateKey.generate()
    key, public = SigningKey(private), public_path(path)
    locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    if public.exists():
        raise OutputError(f"{public}: there is a key already; choose another name, or remove it")
    write_new(path, private.private_bytes(serialization.Encoding.PEM, kind, locked), 0o600)
    write_new(public, key.public.pem, 0o644)
    return key.public


def public_path(path: Path) -> Path:
    """Where the public part of a key lies: beside it."""
    return path.with_name(f"{path.name}.pub")


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that there must not be yet.

    Raises:
        OutputError: if it is there, or can't be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    except FileExistsError as error:
        raise OutputError(f"{path}: there is a file already; choose another name, or remove it") from error
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror}); choose another path") from error


def read_signing_key(path: Path, password: str | None = None) -> SigningKey:
    """The private key in a PEM file; without a password given it is taken from STREAM_DETECT_KEY_PASSWORD if needed.

    Raises:
        ConfigError: if there is none, others may read it, it is of another kind, or the password is wrong.
    """
    data = key_bytes(path)
    refuse_open_key(path)
    word = password or os.environ.get(PASSWORD) or None
    if word is not None:
        hide(word)
    try:
        key = private_key(data, word)
    except TypeError as error:
        raise ConfigError(f"{path}: the key has a password; set {PASSWORD}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        why = "the password may be wrong, too" if b"ENCRYPTED" in data else MAKE_ONE
        raise ConfigError(f"{path}: expected an Ed25519 private key in PEM; {why}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: expected an Ed25519 private key, got one of another kind; {MAKE_ONE}")
    return SigningKey(key)


def private_key(data: bytes, password: str | None) -> object:
    """The key in PEM's bytes; a password that it doesn't need is left aside.

    Raises:
        TypeError: if it needs a password.
        ValueError: if it is none, or the password is wrong.
    """
    word = password.encode() if password is not None and b"ENCRYPTED" in data else None
    return serialization.load_pem_private_key(data, word)


def read_public_key(path: Path) -> PublicKey:
    """The public key in a PEM file.

    Raises:
        ConfigError: if there is none, or of another kind.
    """
    return public_key_of(key_bytes(path), str(path))


def public_key_of(data: bytes, where: str) -> PublicKey:
    """The public key in PEM's bytes; `where` they are from begins the complaint.

    Raises:
        ConfigError: if it is none of Ed25519.
    """
    if b"PRIVATE KEY" in data:
        raise ConfigError(f"{where}: that is a private key, keep it secret; expected the public one (FILE.pub)")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{where}: expected an Ed25519 public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{where}: expected an Ed25519 public key, got one of another kind")
    return PublicKey(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def key_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_KEY)
    except OSError as error:
        raise ConfigError(f"{path}: the key can't be read ({error.strerror}); {MAKE_ONE}") from error


def refuse_open_key(path: Path) -> None:
    """Refuse a private key that others than its owner may read or change.

    Raises:
        ConfigError: says how to close it.
    """
    mode = path.stat().st_mode
    if mode & OTHERS:
        raise ConfigError(f"{path}: others may read this private key (mode {mode & 0o777:o}); chmod 600 {path}")
