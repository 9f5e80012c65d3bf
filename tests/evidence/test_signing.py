"""Keys in files."""

import os
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stream_detect.errors import ConfigError, OutputError
from stream_detect.evidence.signing import PASSWORD, make_key, read_public_key, read_signing_key


def test_a_key_signs_and_its_public_part_says_so(tmp_path):
    make_key(tmp_path / "key.pem")
    key, public = read_signing_key(tmp_path / "key.pem"), read_public_key(tmp_path / "key.pem.pub")
    assert key.public == public
    assert public.fits(key.sign(b"this"), b"this")
    assert not public.fits(key.sign(b"this"), b"that")
    assert not public.fits(b"short", b"this")


def test_the_private_key_is_the_owners_alone(tmp_path):
    make_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(ConfigError, match="others may read this private key"):
        read_signing_key(tmp_path / "key.pem")


def test_a_password_locks_the_key(tmp_path, monkeypatch):
    make_key(tmp_path / "key.pem", "correct horse")
    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(ConfigError, match=f"set {PASSWORD}"):
        read_signing_key(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="the password may be wrong"):
        read_signing_key(tmp_path / "key.pem", "wrong horse")
    monkeypatch.setenv(PASSWORD, "correct horse")
    assert read_signing_key(tmp_path / "key.pem").public == read_public_key(tmp_path / "key.pem.pub")


def test_a_password_that_is_not_needed_does_no_harm(tmp_path, monkeypatch):
    make_key(tmp_path / "key.pem")
    monkeypatch.setenv(PASSWORD, "a passphrase of 7 words")
    assert read_signing_key(tmp_path / "key.pem").public == read_public_key(tmp_path / "key.pem.pub")


def test_no_key_is_overwritten(tmp_path):
    make_key(tmp_path / "key.pem")
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(OutputError, match="there is a key already"):
        make_key(tmp_path / "key.pem")
    (tmp_path / "key.pem.pub").unlink()
    with pytest.raises(OutputError, match="there is a file already"):
        make_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before
    with pytest.raises(OutputError, match="can't be written"):
        make_key(tmp_path / "nothing" / "key.pem")


@pytest.mark.parametrize("data", [b"", b"\xff\0", b"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_a_clear_error(tmp_path, data):
    (tmp_path / "bad.pem").write_bytes(data)
    (tmp_path / "bad.pem").chmod(0o600)
    with pytest.raises(ConfigError, match="expected an Ed25519 private key"):
        read_signing_key(tmp_path / "bad.pem")
    with pytest.raises(ConfigError, match=r"expected an Ed25519 public key|expected the public one"):
        read_public_key(tmp_path / "bad.pem")


def test_a_missing_key_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"the key can't be read \(No such file"):
        read_signing_key(tmp_path / "no.pem")
    with pytest.raises(ConfigError, match="can't be read"):
        read_public_key(tmp_path)


def test_a_key_of_another_kind_is_a_clear_error(tmp_path):
    other = ec.generate_private_key(ec.SECP256R1())
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    path = tmp_path / "ec.pem"
    path.write_bytes(other.private_bytes(encoding, serialization.PrivateFormat.PKCS8, none))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="one of another kind"):
        read_signing_key(path)
    path.write_bytes(other.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ConfigError, match="one of another kind"):
        read_public_key(path)


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path):
    make_key(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="keep it secret"):
        read_public_key(tmp_path / "key.pem")


def test_openssl_agrees(tmp_path):
    """What docs/evidence.md tells people who don't have stream-detect."""
    make_key(tmp_path / "key.pem")
    (tmp_path / "data").write_bytes(b"this")
    (tmp_path / "sig").write_bytes(read_signing_key(tmp_path / "key.pem").sign(b"this"))
    words = "openssl pkeyutl -verify -rawin -pubin -inkey key.pem.pub -in data -sigfile sig"
    assert subprocess.run(words.split(), cwd=tmp_path, capture_output=True, env=os.environ, check=False).returncode == 0
    (tmp_path / "data").write_bytes(b"that")
    assert subprocess.run(words.split(), cwd=tmp_path, capture_output=True, env=os.environ, check=False).returncode != 0
