"""Evidence that was touched is found out, and evidence that was not is left in peace."""

import os
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stream_detect.errors import OutputError
from stream_detect.evidence.ledger import Entry, ListLedger
from stream_detect.evidence.manifest import MANIFEST, SIGNATURE, canonical, manifest_of, sha256_of
from stream_detect.evidence.removed import REMOVED, line_of
from stream_detect.evidence.signing import PublicKey, SigningKey, make_key, read_signing_key
from stream_detect.evidence.verify import Report, verify
from tests.evidence.chains import LATER_S, chain, evidence, grow, retired
from tests.evidence.tampering import WAYS, picture, restore

TAMPERINGS, UNTOUCHED = 1000, 200


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    make_key(path)
    return read_signing_key(path)


def look(root: Path, entries: Sequence[Entry] | None, key: PublicKey | None = None, head: str | None = None) -> Report:
    return verify(root, entries, key, head=head, now_s=time.time() + LATER_S)


def words_of(report: Report) -> str:
    return "\n".join(f"{one.entry} {one.path}: {one.what}" for one in report.problems)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these many little files are for needs no disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def some_chain(root: Path, seed: int, key: SigningKey) -> tuple[ListLedger, PublicKey | None]:
    """A chain of any kind: signed or not, with tombstones or without."""
    chance = random.Random(seed)
    signs = key if chance.random() < 0.5 else None
    length = chance.randint(2, 4)
    ledger = chain(root, length, seed, signs, files=2)
    retired(root, ledger, chance.randint(0, length - 2))
    return ledger, signs.public if signs and chance.random() < 0.7 else None


def test_a_thousand_tamperings_are_all_found(tmp_path, key, quick_disk):
    missed = []
    for seed in range(TAMPERINGS // 50):
        root = tmp_path / f"e{seed}"
        ledger, public = some_chain(root, seed, key)
        before = picture(root)
        for number in range(50):
            chance = random.Random(f"{seed} {number}")
            way = WAYS[(seed * 50 + number) % len(WAYS)]
            entries = ledger.entries()
            while picture(root) == before and entries == ledger.entries():
                entries = way(chance, root, ledger.entries()) or entries
            if look(root, entries, public).word != "tampered":
                missed.append((seed, number, way.__name__))
            restore(root, before)
        assert not look(root, ledger.entries(), public).problems
    assert not missed


def test_untouched_chains_are_left_in_peace(tmp_path, key, quick_disk):
    for seed in range(UNTOUCHED):
        root = tmp_path / f"e{seed}"
        ledger, public = some_chain(root, seed, key)
        report = look(root, ledger.entries(), public, head=ledger.entries()[-1].manifest_sha256)
        assert (report.word, words_of(report)) == ("authentic" if public else "consistent", "")
        assert not look(root, None, public).problems
        shutil.rmtree(root)


def test_a_change_is_named(tmp_path):
    ledger = chain(tmp_path)
    path = tmp_path / "cam1/a0001/scores.json"
    path.write_bytes(bytes(path.stat().st_size))
    (problem,) = look(tmp_path, ledger.entries()).problems
    assert (problem.entry, problem.path) == (1, "cam1/a0001/scores.json")
    assert problem.what == f"expected SHA-256 {expected_hash(tmp_path)}, got {sha256_of(path.read_bytes())}"


def expected_hash(root: Path) -> str:
    files = manifest_of((root / "cam1/a0001" / MANIFEST).read_bytes()).files
    return next(file.sha256 for file in files if file.path == "scores.json")


def test_the_report_counts_what_it_saw(tmp_path):
    ledger = chain(tmp_path, 5)
    retired(tmp_path, ledger, 2)
    report = look(tmp_path, ledger.entries())
    assert (report.entries, report.removed, report.files, report.signed) == (5, 2, 9, 0)
    assert report.head == ledger.entries()[-1].manifest_sha256


def test_a_folder_that_is_being_recorded_is_no_problem_until_it_is_old(tmp_path):
    ledger = chain(tmp_path)
    evidence(tmp_path, "cam7/open")
    report = verify(tmp_path, ledger.entries())
    assert (report.word, report.unsealed) == ("consistent", ["cam7"])
    assert "left open" in words_of(look(tmp_path, ledger.entries()))


def test_a_removed_end_is_seen_with_a_noted_head_only(tmp_path):
    ledger = chain(tmp_path)
    *entries, last = ledger.entries()
    shutil.rmtree(tmp_path / last.folder)
    assert look(tmp_path, entries).word == "consistent"
    assert "the noted head" in words_of(look(tmp_path, entries, head=last.manifest_sha256[:16]))


def test_an_older_noted_head_still_fits(tmp_path):
    ledger = chain(tmp_path)
    noted = ledger.entries()[-1].manifest_sha256
    grow(tmp_path, ledger, "cam0/later")
    assert look(tmp_path, ledger.entries(), head=noted.upper()).word == "consistent"


def test_without_a_ledger_the_manifests_are_compared_with_one_another(tmp_path):
    ledger = chain(tmp_path, 6)
    retired(tmp_path, ledger, 2)
    report = look(tmp_path, None)
    assert (report.word, report.entries, report.removed) == ("consistent", 6, 2)
    assert any("without a ledger" in note for note in report.notes)
    shutil.rmtree(tmp_path / "cam0/a0004")
    assert "expected entry 4 here, got entry 5" in words_of(look(tmp_path, None))


def test_a_rewritten_chain_is_consistent_but_not_authentic(tmp_path, key):
    """Whoever can write everything can make all of it anew, but for the signatures."""
    ledger = chain(tmp_path / "new", 3)
    report = look(tmp_path / "new", ledger.entries())
    assert report.word == "consistent"
    assert "expected signatures" in words_of(look(tmp_path / "new", ledger.entries(), key.public))


def test_a_signature_by_another_key_is_not_authentic(tmp_path, key):
    make_key(tmp_path / "other.pem")
    ledger = chain(tmp_path / "e", 2, key=read_signing_key(tmp_path / "other.pem"))
    assert look(tmp_path / "e", ledger.entries()).word == "consistent"
    assert "expected a signature with the key that was given" in words_of(
        look(tmp_path / "e", ledger.entries(), key.public)
    )


def test_a_removed_signature_is_found_without_a_key_too(tmp_path, key):
    ledger = chain(tmp_path, 2, key=key)
    (tmp_path / "cam0/a0000" / SIGNATURE).unlink()
    assert "the signature is missing" in words_of(look(tmp_path, ledger.entries()))


def test_unsigned_evidence_may_come_before_signed_one_but_not_after(tmp_path, key):
    ledger = chain(tmp_path, 1)
    grow(tmp_path, ledger, "cam0/signed", key=key)
    report = look(tmp_path, ledger.entries(), key.public)
    assert report.word == "consistent"
    assert any("from before signing began" in note for note in report.notes)
    grow(tmp_path, ledger, "cam0/after")
    assert "expected a signature, there is no good one" in words_of(look(tmp_path, ledger.entries(), key.public))


def test_a_removal_that_a_crash_interrupted_is_no_tampering(tmp_path):
    ledger = chain(tmp_path)
    stone = replace(ledger.entries()[0], removed_at="2026-11-22T13:00:00.000Z", removed_why="old")
    (tmp_path / REMOVED).write_bytes(line_of(stone))
    report = look(tmp_path, ledger.entries())
    assert (report.word, "was begun" in report.notes[0]) == ("consistent", True)
    ledger.bury(stone.folder, str(stone.removed_at), str(stone.removed_why))
    report = look(tmp_path, ledger.entries())
    assert (report.word, "not all of it is deleted" in report.notes[0]) == ("consistent", True)


def test_a_list_left_half_written_is_no_tampering(tmp_path):
    ledger = chain(tmp_path)
    (tmp_path / f".{REMOVED}.part").write_bytes(b"{")
    report = look(tmp_path, ledger.entries())
    assert (report.word, "half written" in report.notes[0]) == ("consistent", True)


@pytest.mark.parametrize("data", [b"", b"{", b"[]\n", b"\xff\xfe", b"[" * 50_000, b'{"format": 1}', canonical({})])
def test_a_damaged_manifest_is_one_clear_problem(tmp_path, data):
    ledger = chain(tmp_path)
    (tmp_path / "cam0/a0002" / MANIFEST).write_bytes(data)
    assert "cam0/a0002/manifest.json: not a manifest" in words_of(look(tmp_path, ledger.entries()))
    assert "not a manifest" in words_of(look(tmp_path, None))


@pytest.mark.parametrize("name", ["position", "folder", "manifest_sha256", "previous", "sealed_at", "removed_at"])
@pytest.mark.parametrize("value", [7.5, "../../etc", b"\0", -1, "", [1]])
def test_a_damaged_row_of_the_ledger_is_a_clear_problem(tmp_path, name, value):
    entries = chain(tmp_path, 2).entries()
    object.__setattr__(entries[1], name, value)  # a database may hand out anything
    assert "the ledger's entry is damaged" in words_of(look(tmp_path, entries)) or name == "position"
    assert look(tmp_path, entries).word == "tampered"


def test_a_file_that_can_not_be_read_is_a_problem(tmp_path):
    ledger = chain(tmp_path)
    path = tmp_path / "cam0/a0000" / MANIFEST
    path.unlink()
    path.mkdir()
    assert "the manifest is missing, or can't be read" in words_of(look(tmp_path, ledger.entries()))


def test_no_folder_is_a_clear_error(tmp_path):
    with pytest.raises(OutputError, match="expected a folder of evidence"):
        verify(tmp_path / "nothing", [])


def test_an_empty_folder_is_consistent(tmp_path):
    assert (look(tmp_path, []).word, look(tmp_path, None).head) == ("consistent", None)
