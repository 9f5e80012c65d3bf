"""Sealing: what a manifest says, whoever seals at the same time, and what a crash leaves."""

import json
import multiprocessing
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from stream_detect.errors import OutputError
from stream_detect.evidence import locks, manifest
from stream_detect.evidence.ledger import Entry, ListLedger
from stream_detect.evidence.manifest import MANIFEST, SIGNATURE, manifest_of, seal, seal_left_open, sha256_of
from stream_detect.evidence.signing import SigningKey, make_key, read_signing_key
from stream_detect.evidence.verify import verify
from stream_detect.store import open_store
from tests.evidence.chains import chain, evidence, grow, retired


class Forgetful(ListLedger):
    """A ledger that can't be written when it matters."""

    def append(self, entry: Entry) -> None:
        raise OutputError("the database is locked")


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    make_key(path)
    return read_signing_key(path)


def said(root: Path, folder: str) -> dict[str, object]:
    return json.loads((root / folder / MANIFEST).read_bytes())


def test_a_manifest_names_every_file_and_what_came_before(tmp_path):
    ledger = ListLedger()
    first, second = grow(tmp_path, ledger, "cam0/a0000"), grow(tmp_path, ledger, "cam0/a0001")
    found = said(tmp_path, "cam0/a0001")
    assert (found["position"], found["previous"], found["folder"]) == (1, first.manifest_sha256, "cam0/a0001")
    assert [file["path"] for file in found["files"]] == ["frames/0.png", "frames/1.png", "scores.json"]
    assert found["about"] == {"alert": "a0001", "feed": "cam0"}
    assert second.manifest_sha256 == sha256_of((tmp_path / "cam0/a0001" / MANIFEST).read_bytes())
    assert ledger.entries() == [first, second]


def test_a_clock_set_back_never_seals_earlier_and_is_noted(tmp_path):
    ledger = chain(tmp_path, 1)
    (last,) = ledger.entries()
    ahead = ListLedger()
    ahead.append(replace(last, sealed_at="2999-01-01T00:00:00.000Z"))
    entry = grow(tmp_path, ahead, "cam0/back")
    assert entry.sealed_at == "2999-01-01T00:00:00.000Z"
    assert str(said(tmp_path, "cam0/back")["clock"]) < entry.sealed_at
    assert "never earlier" in str(said(tmp_path, "cam0/back")["clock_note"])


def test_a_signed_manifest_has_its_signature_and_public_key_beside_it(tmp_path, key):
    ledger = chain(tmp_path, 1, key=key)
    folder = tmp_path / "cam0/a0000"
    assert key.public.fits((folder / SIGNATURE).read_bytes(), (folder / MANIFEST).read_bytes())
    assert (tmp_path / f"public-key-{key.public.hex}.pem").read_bytes() == key.public.pem
    assert verify(tmp_path, ledger.entries(), key.public).word == "authentic"


@pytest.mark.parametrize("folder", ["", "/etc", "../out", "a/../b", "a//b", "a/", "."])
def test_a_folder_outside_the_evidence_is_refused(tmp_path, folder):
    with pytest.raises(ValueError, match="expected a folder within the evidence"):
        seal(tmp_path, folder, {}, ListLedger())


def test_a_folder_is_sealed_once(tmp_path):
    ledger = chain(tmp_path, 1)
    with pytest.raises(OutputError, match="sealed already"):
        seal(tmp_path, "cam0/a0000", {}, ledger)


def test_what_is_no_file_is_not_sealed(tmp_path):
    (tmp_path / evidence(tmp_path, "cam0/a0000") / "link").symlink_to("/etc/passwd")
    with pytest.raises(OutputError, match="expected plain files"):
        seal(tmp_path, "cam0/a0000", {}, ListLedger())
    with pytest.raises(OutputError, match="no such folder"):
        seal(tmp_path, "cam0/nothing", {}, ListLedger())


def test_numbers_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        seal(tmp_path, evidence(tmp_path, "cam0/a0000"), {"score": float("nan")}, ListLedger())


def test_threads_and_processes_that_seal_at_once_all_succeed(tmp_path):
    with open_store(tmp_path / "store.sqlite"):
        pass
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=seal_some, args=(tmp_path, f"p{k}", 5)) for k in range(2)]
    threads = [threading.Thread(target=seal_some, args=(tmp_path, f"t{k}", 5)) for k in range(2)]
    for one in (*others, *threads):
        one.start()
    for one in (*others, *threads):
        one.join()
    with open_store(tmp_path / "store.sqlite") as store:
        report = verify(tmp_path, store.ledger.entries())
    assert [process.exitcode for process in others] == [0, 0]
    assert (report.problems, report.entries, report.unsealed) == ([], 20, [])


def seal_some(root: Path, name: str, count: int) -> None:
    with open_store(root / "store.sqlite") as store:
        for number in range(count):
            grow(root, store.ledger, f"{name}/{number}")


def test_another_one_that_comes_first_makes_it_try_again(tmp_path):
    ledger = Overtaken()
    entry = seal(tmp_path, evidence(tmp_path, "cam0/mine"), {}, ledger)
    assert entry.position == 1
    assert said(tmp_path, "cam0/mine")["previous"] == ledger.entries()[0].manifest_sha256


class Overtaken(ListLedger):
    """Another machine enters its evidence just before we do."""

    def append(self, entry: Entry) -> None:
        if not self.entries():
            super().append(replace(entry, folder="cam9/theirs", manifest_sha256="0" * 64))
        super().append(entry)


def test_a_chain_that_is_held_for_ever_is_a_clear_error(tmp_path):
    with locks.alone_in(tmp_path), pytest.raises(OutputError, match="another process holds the evidence"):
        locks.wait_for(locks.opened(tmp_path / locks.LOCK), tmp_path, 0.05)


def test_an_unwritable_folder_is_a_clear_error(tmp_path):
    with pytest.raises(OutputError, match="evidence can't be kept there"):
        seal(tmp_path / "nothing", "cam0/a", {}, ListLedger())


def test_a_crash_before_the_manifest_is_mended(tmp_path, key):
    ledger = chain(tmp_path, 2, key=key)
    evidence(tmp_path, "cam0/open")
    (tmp_path / "cam0/open/.manifest.json.part").write_bytes(b"{")
    (entry,) = seal_left_open(tmp_path, ledger, key)
    assert (entry.folder, said(tmp_path, "cam0/open")["about"]) == ("cam0/open", {"interrupted": True})
    assert verify(tmp_path, ledger.entries(), key.public).word == "authentic"
    assert seal_left_open(tmp_path, ledger, key) == []


def test_a_crash_between_manifest_and_ledger_is_mended(tmp_path, key):
    ledger = chain(tmp_path, 2, key=key)
    lost = crashed(tmp_path, "cam0/lost", ledger, key)
    (entry,) = seal_left_open(tmp_path, ledger, key)
    assert (entry.position, sha256_of(lost)) == (2, entry.manifest_sha256)
    assert verify(tmp_path, ledger.entries(), key.public).word == "authentic"


def test_a_manifest_whose_place_was_taken_is_sealed_anew_and_kept(tmp_path, key):
    ledger = chain(tmp_path, 2, key=key)
    crashed(tmp_path, "cam0/lost", ledger, key)
    grow(tmp_path, ledger, "cam0/next", key=key)
    (entry,) = seal_left_open(tmp_path, ledger, key)
    files = [file.path for file in manifest_of((tmp_path / "cam0/lost" / MANIFEST).read_bytes()).files]
    assert entry.position == 3
    assert sum(name.startswith("manifest-") for name in files) == 2  # the manifest and its signature
    assert said(tmp_path, "cam0/lost")["about"] == {"alert": "lost", "interrupted": True}
    assert verify(tmp_path, ledger.entries(), key.public).word == "authentic"


def test_a_lost_ledger_gets_the_chain_back_as_it_was(tmp_path):
    entries = chain(tmp_path, 4).entries()
    ledger = ListLedger()
    assert seal_left_open(tmp_path, ledger) == entries
    assert ledger.entries() == entries


def test_a_lost_ledger_gets_its_tombstones_back(tmp_path):
    before = chain(tmp_path, 4)
    retired(tmp_path, before, 2)
    ledger = ListLedger()
    seal_left_open(tmp_path, ledger)
    assert ledger.entries() == before.entries()
    assert verify(tmp_path, ledger.entries()).word == "consistent"


def crashed(root: Path, folder: str, ledger: ListLedger, key: SigningKey) -> bytes:
    """Seal as far as one comes when the ledger does not answer; gives the bytes of the manifest."""
    locked = Forgetful()
    locked._entries = ledger.entries()
    with pytest.raises(OutputError, match="locked"):
        seal(root, evidence(root, folder), {"alert": folder[5:]}, locked, key)
    return (root / folder / MANIFEST).read_bytes()


def test_a_folder_that_another_process_fills_is_left_alone(tmp_path, monkeypatch):
    ledger = ListLedger()
    evidence(tmp_path, "cam0/theirs")
    monkeypatch.setattr(manifest, "only_recorder", lambda root: False)
    assert seal_left_open(tmp_path, ledger) == []
    os.utime(tmp_path / "cam0/theirs", (0, 0))
    for path in (tmp_path / "cam0/theirs").rglob("*"):
        os.utime(path, (0, 0))
    assert [entry.folder for entry in seal_left_open(tmp_path, ledger)] == ["cam0/theirs"]


def test_a_folder_that_we_fill_is_left_alone(tmp_path):
    evidence(tmp_path, "cam0/ours")
    assert seal_left_open(tmp_path, ListLedger(), is_open={"cam0/ours"}) == []


def test_a_second_process_is_known_to_record(tmp_path):
    assert locks.only_recorder(tmp_path)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(locks.only_recorder, (tmp_path,)) is False
        assert not locks.only_recorder(tmp_path)
    assert locks.only_recorder(tmp_path)


def test_what_can_not_be_sealed_is_logged_and_keeps_nothing_else_from_it(tmp_path, caplog):
    (tmp_path / evidence(tmp_path, "cam0/bad") / "link").symlink_to("/etc/passwd")
    evidence(tmp_path, "cam0/good")
    assert [entry.folder for entry in seal_left_open(tmp_path, ListLedger())] == ["cam0/good"]
    assert "cam0/bad can't be sealed" in caplog.text
