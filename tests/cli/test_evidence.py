"""The commands around evidence."""

import json
from pathlib import Path

import pytest

from stream_detect.cli.app import exit_code_of
from stream_detect.cli.evidence import TAMPERED, app
from stream_detect.errors import UsageError
from stream_detect.evidence.retention import retire
from stream_detect.evidence.signing import SigningKey, make_key, read_signing_key
from stream_detect.store import open_store
from tests.cli.program import no_traceback, run
from tests.evidence.chains import days_later, evidence, grow


def filled(root: Path, key: SigningKey | None = None, count: int = 3) -> Path:
    """Evidence with its store."""
    root.mkdir()
    with open_store(root / "store.sqlite") as store:
        grow(root, store.ledger, "cam0/old", key=key)
        retire(root, store.ledger, 1, None, days_later(2))
        for number in range(1, count):
            grow(root, store.ledger, f"cam0/a{number:04d}", key=key)
    return root


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code and what was said, without a process of its own."""
    command = [str(one) for one in arguments]
    code = exit_code_of(lambda: app(command, prog_name="stream-detect evidence", standalone_mode=False))
    captured = capsys.readouterr()
    assert no_traceback(captured.err)
    return code, captured.out + captured.err


def test_the_program_verifies_and_says_when_it_was_tampered_with(tmp_path):
    root = filled(tmp_path / "e")
    done = run("evidence", "verify", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"consistent: {root}" in done.stdout
    (root / "cam0/a0001/scores.json").write_bytes(b"")
    done = run("evidence", "verify", root)
    assert done.returncode == TAMPERED
    assert "tampered" in done.stdout
    assert "entry 1: cam0/a0001/scores.json: expected" in done.stdout


def test_a_signature_makes_it_authentic(tmp_path, capsys):
    make_key(tmp_path / "key.pem")
    root = filled(tmp_path / "e", read_signing_key(tmp_path / "key.pem"))
    assert "consistent: " in called(capsys, "verify", root)[1]
    code, words = called(capsys, "verify", root, "--key", tmp_path / "key.pem.pub")
    assert (code, "authentic: " in words) == (0, True)
    make_key(tmp_path / "other.pem")
    code, words = called(capsys, "verify", root, "--key", tmp_path / "other.pem.pub")
    assert (code, "expected a signature with the key that was given" in words) == (TAMPERED, True)
    both = ("--key", tmp_path / "other.pem.pub", "--key", tmp_path / "key.pem.pub")
    assert "authentic: " in called(capsys, "verify", root, *both)[1]


def test_the_head_is_said_and_compared(tmp_path, capsys):
    root = filled(tmp_path / "e")
    report = json.loads(called(capsys, "verify", root, "--json")[1])
    assert report["verdict"] == "consistent"
    assert called(capsys, "verify", root, "--head", report["head"][:12])[0] == 0
    assert called(capsys, "verify", root, "--head", "0" * 64)[0] == TAMPERED
    code, words = called(capsys, "verify", root, "--head", "abc")
    assert (code, "expected at least the first 12" in words) == (UsageError.exit_code, True)


def test_without_a_store_the_manifests_are_compared(tmp_path, capsys):
    root = filled(tmp_path / "e")
    for path in root.glob("store.sqlite*"):
        path.unlink()
    code, words = called(capsys, "verify", root)
    assert (code, "without a ledger" in words) == (0, True)
    for command in ("list", "export"):
        code, words = called(capsys, command, root)
        assert (code, "give --store" in words) == (UsageError.exit_code, True)


def test_a_store_elsewhere_is_named(tmp_path, capsys):
    root = filled(tmp_path / "e")
    (root / "store.sqlite").rename(root / "alerts.db")
    assert called(capsys, "verify", root, "--store", root / "alerts.db")[0] == 0
    assert "added: no manifest names it" in called(capsys, "verify", root)[1]


@pytest.mark.parametrize("data", [b"no database", b"SQLite format 3\0" + bytes(4000)])
def test_a_damaged_store_is_one_clear_line(tmp_path, capsys, data):
    root = filled(tmp_path / "e")
    (root / "store.sqlite").write_bytes(data)
    code, words = called(capsys, "verify", root)
    assert (code, words.count("\n"), "store.sqlite" in words) == (UsageError.exit_code, 1, True)


def test_what_is_being_recorded_is_listed(tmp_path, capsys):
    root = filled(tmp_path / "e")
    evidence(root, "cam5/open")
    code, words = called(capsys, "verify", root)
    assert (code, "not sealed: cam5 (being recorded)" in words) == (0, True)


def test_an_export_verifies_elsewhere(tmp_path, capsys):
    root = filled(tmp_path / "e")
    code, words = called(capsys, "export", root, "--alert", "a0001", "--out", tmp_path / "case.zip")
    assert (code, "1 folder" in words, "consistent: " in words) == (0, True, True)
    assert called(capsys, "verify", tmp_path / "case.zip")[0] == 0
    code, words = called(capsys, "export", root, "--out", tmp_path / "case.zip")
    assert (code, "there is a file already" in words) == (UsageError.exit_code, True)
    code, words = called(capsys, "export", root, "--alert", "zz", "--out", tmp_path / "zz.zip")
    assert (code, "there is no evidence of such an alert" in words) == (UsageError.exit_code, True)


def test_the_chain_is_listed(tmp_path, capsys):
    root = filled(tmp_path / "e")
    code, words = called(capsys, "list", root)
    assert (code, len(words.splitlines())) == (0, 3)
    assert "cam0/old  removed" in words.splitlines()[0]
    assert [entry["position"] for entry in json.loads(called(capsys, "list", root, "--json")[1])] == [0, 1, 2]


def test_keys_are_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STREAM_DETECT_KEY_PASSWORD", "correct horse")
    code, words = called(capsys, "keygen", tmp_path / "key.pem")
    assert (code, "keep it secret" in words) == (0, True)
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    code, words = called(capsys, "keygen", tmp_path / "key.pem")
    assert (code, "there is a key already" in words) == (UsageError.exit_code, True)


def test_a_file_name_from_elsewhere_does_no_harm(tmp_path):
    root = filled(tmp_path / "e")
    (root / "cam0/a0001/\udcff\x1b[2J").write_bytes(b"")
    done = run("evidence", "verify", root, PYTHONIOENCODING="ascii")
    assert done.returncode == TAMPERED
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("place", ["nothing", "text"])
def test_what_is_no_evidence_is_one_clear_line(tmp_path, capsys, place):
    (tmp_path / "text").write_text("no zip")
    code, words = called(capsys, "verify", tmp_path / place)
    assert (code, words.count("\n")) == (UsageError.exit_code, 1)


@pytest.mark.parametrize("command", ["verify", "export", "list", "keygen"])
def test_every_command_has_help_with_an_example(command, capsys):
    code, words = called(capsys, command, "--help")
    assert code == 0
    assert "Example" in words
    if command == "verify":
        assert "5 tampered" in " ".join(words.split())
