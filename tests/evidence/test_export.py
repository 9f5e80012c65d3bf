"""One zip with everything that is needed to check it."""

import random
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from stream_detect.errors import OutputError, UsageError
from stream_detect.evidence import export as exports
from stream_detect.evidence.export import HOW, LEDGER, export, is_export, verify_export
from stream_detect.evidence.removed import REMOVED
from stream_detect.evidence.signing import make_key, read_signing_key
from tests.evidence.chains import chain, retired


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def rewritten(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


def test_all_of_it_is_in_the_zip_and_verifies(tmp_path, root):
    make_key(tmp_path / "key.pem")
    key = read_signing_key(tmp_path / "key.pem")
    ledger = chain(root, 4, key=key)
    retired(root, ledger, 1)
    out = tmp_path / "all.zip"
    assert [entry.position for entry in export(root, ledger.entries(), out)] == [1, 2, 3]
    names = set(contents(out))
    assert {LEDGER, HOW, REMOVED, f"public-key-{key.public.hex}.pem", "cam1/a0001/manifest.sig"} <= names
    report = verify_export(out, [key.public], ledger.entries()[-1].manifest_sha256)
    assert (report.word, report.entries, report.removed, report.problems) == ("authentic", 4, 1, [])


def test_one_alert_alone_verifies(tmp_path, root):
    ledger = chain(root, 4)
    for number, alert in enumerate(("a0002", "a00", "cam0/a0002")):
        out = tmp_path / f"{number}.zip"
        assert len(export(root, ledger.entries(), out, [alert])) == (4 if alert == "a00" else 1)
        report = verify_export(out)
        assert (report.word, report.absent) == ("consistent", 0 if alert == "a00" else 3)


def test_the_same_evidence_gives_the_same_zip(tmp_path, root):
    ledger = chain(root, 2)
    export(root, ledger.entries(), tmp_path / "one.zip")
    export(root, ledger.entries(), tmp_path / "other.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_an_unpacked_export_verifies_too(tmp_path, root):
    export(root, chain(root, 3).entries(), tmp_path / "all.zip", ["a0001"])
    shutil.unpack_archive(tmp_path / "all.zip", tmp_path / "unpacked")
    assert is_export(tmp_path / "unpacked")
    assert not is_export(root)
    assert verify_export(tmp_path / "unpacked").word == "consistent"
    (tmp_path / "unpacked/cam1/new").mkdir()
    assert verify_export(tmp_path / "unpacked").word == "tampered"


def test_any_tampering_with_an_export_is_found(tmp_path, root):
    make_key(tmp_path / "key.pem")
    ledger = chain(root, 4, key=read_signing_key(tmp_path / "key.pem"))
    retired(root, ledger, 1)
    export(root, ledger.entries(), tmp_path / "some.zip", ["a0001", "a0003"])
    before = contents(tmp_path / "some.zip")
    assert verify_export(rewritten(tmp_path / "same.zip", before)).word == "consistent"
    for seed in range(200):
        after = tampered(dict(before), random.Random(seed))
        report = verify_export(rewritten(tmp_path / "changed.zip", after))
        assert report.word == "tampered", (seed, {name for name in before if before[name] != after.get(name)})


def tampered(files: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    name = chance.choice(sorted(name for name, data in files.items() if data))
    data = bytearray(files[name])
    match chance.randrange(5):
        case 0:
            del files[name]
        case 1:
            files[f"{name}x"] = files.pop(name)
        case 2:
            files[f"cam0/a000{chance.randrange(5)}/new"] = b"new"
        case 3:
            files[name] = bytes(data[: chance.randrange(len(data))])
        case _:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            files[name] = bytes(data)
    return files


def test_a_damaged_zip_is_a_clear_problem_or_error(tmp_path, root):
    export(root, chain(root, 2).entries(), tmp_path / "all.zip")
    whole = (tmp_path / "all.zip").read_bytes()
    for seed in range(100):
        data = bytearray(whole)
        data[random.Random(seed).randrange(len(data))] ^= 0xFF
        (tmp_path / "bad.zip").write_bytes(data)
        with suppress(OutputError):
            verify_export(tmp_path / "bad.zip")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(OutputError, match="or a zip of it"):
        verify_export(tmp_path / "bad.zip")


def test_a_name_that_is_there_twice_is_found(tmp_path, root):
    export(root, chain(root, 2).entries(), tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip", "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr(HOW, "another text")
    assert any(problem.what == "it is there twice" for problem in verify_export(tmp_path / "all.zip").problems)


def test_nothing_is_overwritten(tmp_path, root):
    (tmp_path / "all.zip").write_bytes(b"mine")
    with pytest.raises(OutputError, match="there is a file already"):
        export(root, chain(root, 1).entries(), tmp_path / "all.zip")
    assert (tmp_path / "all.zip").read_bytes() == b"mine"


def test_an_error_leaves_no_part_of_it(tmp_path, root, monkeypatch):
    ledger = chain(root, 2)

    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports, "write_file", fill)
    with pytest.raises(OutputError, match=r"can't be written .*No space left"):
        export(root, ledger.entries(), tmp_path / "all.zip")
    assert not (tmp_path / "all.zip").exists()
    with pytest.raises(OutputError, match="can't be written"):
        export(root, ledger.entries(), tmp_path / "nothing" / "all.zip")


def test_an_alert_without_evidence_is_a_clear_error(tmp_path, root):
    ledger = chain(root, 3)
    retired(root, ledger, 1)
    with pytest.raises(UsageError, match="there is no evidence of such an alert"):
        export(root, ledger.entries(), tmp_path / "all.zip", ["zzz"])
    with pytest.raises(UsageError, match="its evidence was removed at"):
        export(root, ledger.entries(), tmp_path / "all.zip", ["a0000"])
    shutil.rmtree(root / "cam1/a0001")
    with pytest.raises(UsageError, match="the evidence is missing"):
        export(root, ledger.entries(), tmp_path / "all.zip")
    assert list(tmp_path.glob("*.zip")) == []
