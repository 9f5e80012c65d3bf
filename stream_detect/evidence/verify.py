"""Whether evidence is as it was sealed: every folder, every byte, in its order, nothing added."""

import hashlib
import re
import time
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stream_detect.errors import ConfigError
from stream_detect.evidence.ledger import Entry
from stream_detect.evidence.locks import LOCK, RECORDERS
from stream_detect.evidence.manifest import (
    MANIFEST,
    OF_THE_SEAL,
    SIGNATURE,
    Manifest,
    Sealed,
    check_folder,
    manifest_of,
    moment_of,
    public_key_name,
    sha256_of,
)
from stream_detect.evidence.removed import REMOVED, entry_or_none
from stream_detect.evidence.tree import FolderTree, Thing, Tree, folders_above

if TYPE_CHECKING:
    from stream_detect.evidence.signing import PublicKey

STORE = "store.sqlite"
BESIDE_A_STORE = ("", "-wal", "-shm", "-journal", ".journal", ".journal.unreadable")
EMPTY_FILES = frozenset((LOCK, RECORDERS))
OPEN_S = 900.0  # a folder without an entry is a recorder's at work if something changed in it within so long
HASH = re.compile(r"[0-9a-f]{64}")
PUBLIC_KEY_FILE = re.compile(r"public-key-[0-9a-f]{64}\.pem")
PART = re.compile(r"\.(removed\.jsonl|public-key-[0-9a-f]{64}\.pem)\.part")  # what a power cut leaves of writing these
LONGEST_TEXT = 64 << 20  # of a manifest or list, in bytes


def files_of_store(name: str) -> frozenset[str]:
    """The file of a store and those that lie beside it."""
    return frozenset(f"{name}{end}" for end in BESIDE_A_STORE)


STORE_FILES = files_of_store(STORE)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was sealed."""

    entry: int | None  # its position in the chain; None if it belongs to none
    path: str  # within the evidence
    what: str  # what was expected and what came


@dataclass(slots=True)
class Report:
    """What a look over evidence found."""

    place: str
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unsealed: list[str] = field(default_factory=list)  # folders that a recorder is filling
    entries: int = 0
    removed: int = 0  # of them, by retention
    absent: int = 0  # of them, not in this export
    files: int = 0
    bytes: int = 0
    signed: int = 0  # entries with a signature that fits
    is_trusted: bool = False  # every folder is signed with a key that was given
    has_ledger: bool = True
    head: str | None = None  # SHA-256 of the newest manifest

    @property
    def word(self) -> str:
        """tampered, consistent (nothing contradicts itself) or authentic (signed with a key that was given)."""
        if self.problems:
            return "tampered"
        return "authentic" if self.is_trusted else "consistent"


def verify(
    root: Path,
    entries: Sequence[Entry] | None,
    public_key: "PublicKey | Sequence[PublicKey] | None" = None,
    *,
    head: str | None = None,
    known: Collection[str] = STORE_FILES,
    now_s: float | None = None,
) -> Report:
    """Compare a folder of evidence with its ledger.

    Args:
        entries: all of the ledger; None where there is none: the manifests are compared with one another.
        public_key: that all of it has to be signed with, or several of which each folder needs one.
        head: of the chain, as somebody noted it before, or at least the first 12 characters of it.
        known: files right below `root` that are no evidence.
        now_s: since 1970; folders that changed shortly before and have no entry are a recorder's at work.

    Raises:
        OutputError: if the folder can't be listed.
    """
    keys = public_key if isinstance(public_key, Sequence) else [public_key] if public_key else []
    look = Look(FolderTree(root), entries, keys, known=known)
    return look.report(head, OPEN_S, time.time() if now_s is None else now_s)


class Look:
    """One look over evidence. `absent` are positions that an export leaves out."""

    def __init__(
        self,
        tree: Tree,
        entries: Sequence[Entry] | None,
        keys: Sequence["PublicKey"] = (),
        *,
        known: Collection[str] = (),
        absent: Collection[int] = (),
    ) -> None:
        self._tree = tree
        self._keys = keys
        self._known = known
        self._absent = absent
        self._report = Report(tree.name)
        self._things = self._listed()
        self._sorted = sorted(self._things)
        self._removed = self._tombstones()
        self._report.has_ledger = entries is not None
        self._entries = self._from_manifests() if entries is None else list(entries)
        self._stones = set(self._removed)
        self._folders: set[str] = set()  # that an entry names, so far
        self._claimed: set[str] = set()  # paths that belong to an entry
        self._signed: list[tuple[Entry, bool]] = []  # those that are there, and whether with a good signature

    def report(self, head: str | None, open_s: float, now_s: float) -> Report:
        """Look, and say what was found."""
        report = self._report
        report.entries = len(self._entries)
        sound = [entry for place, entry in enumerate(self._entries) if self._check_entry(place, entry)]
        for entry in sound:
            self._check_folder(entry)
        self._check_tombstones(sound)
        self._check_root_files()
        self._check_others({entry.folder for entry in sound}, open_s, now_s)
        self._judge_signatures()
        self._check_head(head)
        return report

    def _listed(self) -> dict[str, Thing]:
        found: dict[str, Thing] = {}
        for thing in self._tree.things():
            if thing.path in found and thing.kind != "folder":
                self._problem(None, thing.path, "it is there twice")
            if thing.kind == "other":
                self._problem(None, thing.path, "expected a plain file or folder, got a link or the like")
            found.setdefault(thing.path, thing)
        return found

    def _problem(self, entry: int | None, path: str, what: str) -> None:
        self._report.problems.append(Problem(entry, path, what))

    def _bytes(self, path: str) -> bytes:
        """A short file's bytes.

        Raises:
            OSError: if it can't be read, or is no short one.
        """
        thing = self._things.get(path)
        if thing is not None and (thing.kind != "file" or thing.bytes > LONGEST_TEXT):
            raise OSError("not a file of such a kind")
        return b"".join(self._tree.chunks(path))

    def _tombstones(self) -> list[Entry]:
        """What removed.jsonl lists."""
        if REMOVED not in self._things:
            return []
        try:
            lines = self._bytes(REMOVED).splitlines(keepends=True)
        except OSError as error:
            self._problem(None, REMOVED, f"it can't be read ({error})")
            return []
        if not lines or len(set(lines)) < len(lines):
            self._problem(None, REMOVED, "expected tombstones, each once")
        found = [entry_or_none(line) for line in lines]
        for number, entry in enumerate(found, start=1):
            if entry is None:
                self._problem(None, REMOVED, f"line {number}: expected a tombstone as stream-detect writes it")
        return [entry for entry in found if entry is not None]

    def _from_manifests(self) -> list[Entry]:
        """The entries as the manifests and tombstones themselves say, in the order of their positions."""
        gone = {entry.folder for entry in self._removed}
        found = [entry for path in self._things if (entry := self._self_said(path)) and entry.folder not in gone]
        return sorted([*found, *self._removed], key=lambda entry: (entry.position, entry.folder))

    def _self_said(self, path: str) -> Entry | None:
        folder, _, name = path.rpartition("/")
        if name != MANIFEST or not folder:
            return None
        try:
            data = self._bytes(path)
            said = manifest_of(data)
        except (OSError, ValueError) as error:
            self._problem(None, path, str(error))
            return None
        return Entry(said.position, folder, sha256_of(data), said.previous, said.sealed_at)

    def _check_entry(self, place: int, entry: Entry) -> bool:
        """Whether an entry is one, and follows the one before it."""
        before = self._entries[place - 1] if place else None
        if (fault := malformed(entry)) is not None:
            self._problem(place, text_of(entry.folder), f"the ledger's entry is damaged: {fault}")
            return False
        if entry.position != place:
            self._problem(place, entry.folder, f"expected entry {place} here, got entry {entry.position}")
        expected = None if before is None else before.manifest_sha256
        if entry.previous != expected:
            what = f"expected it to follow {short(expected)}, it says {short(entry.previous)}"
            self._problem(place, entry.folder, what)
        if before is not None and malformed(before) is None and before.sealed_at > entry.sealed_at:
            self._problem(place, entry.folder, f"sealed {entry.sealed_at}, before the entry before it")
        if entry.folder in self._folders:
            self._problem(place, entry.folder, "its folder has an earlier entry")
            return False
        self._folders.add(entry.folder)
        return True

    def _check_folder(self, entry: Entry) -> None:
        if entry.removed_at is not None:
            self._check_removed(entry)
        elif entry.position in self._absent:
            self._report.absent += 1
            if self._below(entry.folder):
                self._problem(entry.position, entry.folder, "expected not to be in this export")
        elif entry.folder not in self._things:
            self._problem(entry.position, entry.folder, "the folder is missing, and nothing says that it was removed")
        else:
            self._check_manifest(entry)

    def _below(self, folder: str) -> list[Thing]:
        """A folder and everything in it, and claim it."""
        begins, ends = (bisect_left(self._sorted, f"{folder}{end}") for end in ("/", "0"))  # 0 comes after /
        found = [self._things[path] for path in (folder, *self._sorted[begins:ends]) if path in self._things]
        self._claimed |= {thing.path for thing in found}
        return found

    def _check_removed(self, entry: Entry) -> None:
        """What is left of a removed folder has to be of it; its manifest is what is deleted last."""
        self._report.removed += 1
        found = self._below(entry.folder)
        if not found:
            return
        if entry not in self._stones:
            self._problem(entry.position, entry.folder, "expected to be gone: the ledger says that it was removed")
        self._report.notes.append(
            f"{entry.folder}: it is removed, not all of it is deleted yet; the recorder does that"
        )
        if len(found) > 1 and (read := self._manifest_of(entry)) is not None:
            left = tuple(file for file in read[0].files if f"{entry.folder}/{file.path}" in self._things)
            self._check_files(entry, replace(read[0], files=left), found)

    def _check_manifest(self, entry: Entry) -> None:
        found = self._below(entry.folder)
        if (read := self._manifest_of(entry)) is not None:
            manifest, data = read
            self._compare(entry, manifest)
            self._check_files(entry, manifest, found)
            self._check_signature(entry, manifest, data)

    def _manifest_of(self, entry: Entry) -> tuple[Manifest, bytes] | None:
        """The manifest of an entry with its bytes, or None if it is none; it has to be the one that was entered."""
        path = f"{entry.folder}/{MANIFEST}"
        try:
            data = self._bytes(path)
        except OSError:
            self._problem(entry.position, path, "the manifest is missing, or can't be read")
            return None
        if sha256_of(data) != entry.manifest_sha256:
            what = f"expected SHA-256 {entry.manifest_sha256} (ledger), got {sha256_of(data)}"
            self._problem(entry.position, path, what)
        try:
            return manifest_of(data), data
        except ValueError as error:
            self._problem(entry.position, path, str(error))
            return None

    def _compare(self, entry: Entry, manifest: Manifest) -> None:
        """What the ledger and the manifest both say has to agree."""
        for name in ("position", "folder", "previous", "sealed_at"):
            said, expected = getattr(manifest, name), getattr(entry, name)
            if said != expected:
                what = f"{name}: expected {expected} (ledger), the manifest says {said}"
                self._problem(entry.position, f"{entry.folder}/{MANIFEST}", what)

    def _check_files(self, entry: Entry, manifest: Manifest, found: Sequence[Thing]) -> None:
        sealed = {f"{entry.folder}/{file.path}": file for file in manifest.files}
        seal = {f"{entry.folder}/{name}" for name in (OF_THE_SEAL if manifest.signed_with else (MANIFEST,))}
        folders = {entry.folder, *(folder for path in sealed for folder in folders_above(path))}
        for thing in found:
            if thing.path not in (folders if thing.kind == "folder" else sealed.keys() | seal):
                self._problem(entry.position, thing.path, "added: the manifest does not name it")
        for path, file in sealed.items():
            self._check_file(entry, path, file)

    def _check_file(self, entry: Entry, path: str, file: Sealed) -> None:
        thing = self._things.get(path)
        if thing is None or thing.kind != "file":
            self._problem(entry.position, path, f"missing: expected a file of {file.bytes} bytes")
        elif thing.bytes != file.bytes:
            self._problem(entry.position, path, f"expected {file.bytes} bytes, got {thing.bytes}")
        else:
            self._check_hash(entry, path, file)

    def _check_hash(self, entry: Entry, path: str, file: Sealed) -> None:
        try:
            got = self._hash(path)
        except (OSError, ValueError) as error:
            self._problem(entry.position, path, f"it can't be read ({error})")
            return
        self._report.files += 1
        self._report.bytes += file.bytes
        if got != file.sha256:
            self._problem(entry.position, path, f"expected SHA-256 {file.sha256}, got {got}")

    def _hash(self, path: str) -> str:
        digest = hashlib.sha256()
        for chunk in self._tree.chunks(path):
            digest.update(chunk)
        return digest.hexdigest()

    def _check_signature(self, entry: Entry, manifest: Manifest, data: bytes) -> None:
        if manifest.signed_with is None:
            self._signed.append((entry, False))
            return
        path = f"{entry.folder}/{SIGNATURE}"
        fault = self._fault_of_signature(path, manifest.signed_with, data)
        self._signed.append((entry, fault is None))
        if fault is not None:
            self._problem(entry.position, path, fault)

    def _fault_of_signature(self, path: str, signed_with: str, data: bytes) -> str | None:
        from stream_detect.evidence.signing import PublicKey

        if self._keys and signed_with not in {key.hex for key in self._keys}:
            return f"expected a signature with the key that was given, got one with {signed_with[:16]}"
        try:
            key, signature = PublicKey(bytes.fromhex(signed_with)), self._bytes(path)
            return None if key.fits(signature, data) else "the signature does not fit the manifest"
        except OSError:
            return "the signature is missing, or can't be read"
        except ValueError:
            return "the manifest names no key that signs"

    def _check_tombstones(self, sound: Sequence[Entry]) -> None:
        """removed.jsonl and the ledger have to say the same; a removal may be about to be entered."""
        by_folder = {entry.folder: entry for entry in sound}
        for entry in sound:
            if entry.removed_at is not None and entry not in self._stones:
                self._problem(entry.position, REMOVED, f"expected the tombstone of {entry.folder} as the ledger has it")
        for stone in self._removed:
            kept = by_folder.get(stone.folder)
            if kept is None or (kept.removed_at is None and as_kept(stone) != kept):
                self._problem(None, REMOVED, f"the ledger has no such entry as that of {text_of(stone.folder)}")
            elif kept.removed_at is None:
                self._report.notes.append(f"{kept.folder}: its removal was begun, and not carried out")

    def _check_root_files(self) -> None:
        for path, thing in self._things.items():
            if PART.fullmatch(path):
                self._report.notes.append(f"{path}: left half written by a power cut or the like, and no part of it")
            if path in EMPTY_FILES and thing.bytes:
                self._problem(None, path, f"expected an empty file, got {thing.bytes} bytes")
            if PUBLIC_KEY_FILE.fullmatch(path) and (fault := self._fault_of_key(path)):
                self._problem(None, path, fault)

    def _fault_of_key(self, path: str) -> str | None:
        from stream_detect.evidence.signing import public_key_of

        try:
            data = self._bytes(path)
            key = public_key_of(data, path)
        except (OSError, ConfigError) as error:
            return str(error)
        return None if key.pem == data and public_key_name(key.hex) == path else "not the key that its name says"

    def _check_others(self, folders: Collection[str], open_s: float, now_s: float) -> None:
        """What no entry names: folders that a recorder fills, or something that was added."""
        above = {parent for folder in folders for parent in folders_above(folder)}
        groups: dict[str, list[Thing]] = {}
        for path, thing in self._things.items():
            if path not in self._claimed and path not in above and not self._is_known(path):
                top = next((one for one in folders_above(path) if one not in above), path)
                groups.setdefault(top, []).append(thing)
        for top, things in groups.items():
            self._check_group(top, things, open_s, now_s)

    def _is_known(self, path: str) -> bool:
        names = {*self._known, *EMPTY_FILES, REMOVED}
        return path in names or any(pattern.fullmatch(path) for pattern in (PUBLIC_KEY_FILE, PART))

    def _check_group(self, top: str, things: Sequence[Thing], open_s: float, now_s: float) -> None:
        is_new = abs(now_s - max(thing.changed_s for thing in things)) < open_s
        if self._things[top].kind != "folder":
            self._problem(None, top, "added: no manifest names it")
        elif is_new:
            self._report.unsealed.append(top)
        elif any(thing.path.endswith(f"/{MANIFEST}") for thing in things):
            self._problem(
                None, top, "it has a manifest, but no entry: added, or never entered (the recorder does that)"
            )
        else:
            what = "neither sealed nor just being recorded: added, or left open (the recorder seals it when it starts)"
            self._problem(None, top, what)

    def _judge_signatures(self) -> None:
        report = self._report
        report.signed = sum(is_signed for _, is_signed in self._signed)
        first = next((k for k, (_, is_signed) in enumerate(self._signed) if is_signed), len(self._signed))
        if not self._keys:
            if report.signed:
                report.notes.append("signed, but no public key was given: --key FILE says whether it is authentic")
            return
        if first == len(self._signed):
            self._problem(None, "", "expected signatures, as a public key was given, and there is none")
        for entry, is_signed in self._signed[first:]:
            if not is_signed:
                self._problem(
                    entry.position, f"{entry.folder}/{SIGNATURE}", "expected a signature, there is no good one"
                )
        if 0 < first < len(self._signed):
            report.notes.append(f"the first {first} folders are from before signing began: consistent, not authentic")
        report.is_trusted = first == 0

    def _check_head(self, head: str | None) -> None:
        hashes = [str(entry.manifest_sha256) for entry in self._entries]
        self._report.head = hashes[-1] if hashes else None
        if head is not None and not any(one.startswith(head.lower()) for one in hashes):
            self._problem(None, "", f"the noted head {head} is not in the chain: something was removed or replaced")
        if not self._report.has_ledger:
            self._report.notes.append(
                "without a ledger nobody can say whether the newest entries were removed; compare the head (--head)"
            )


def malformed(entry: Entry) -> str | None:
    """What is wrong with the values of an entry; None if nothing is."""
    try:
        check_folder(entry.folder)
        moments = [entry.sealed_at] if entry.removed_at is None else [entry.sealed_at, entry.removed_at]
        for moment in moments:
            moment_of(moment)
    except (ValueError, TypeError) as error:
        return str(error)
    hashes = [entry.manifest_sha256] if entry.previous is None else [entry.manifest_sha256, entry.previous]
    if not all(isinstance(one, str) and HASH.fullmatch(one) for one in hashes):
        return "expected hashes of 64 hexadecimal digits"
    if (entry.removed_at is None) != (entry.removed_why is None):
        return "expected both or none of removed_at and removed_why"
    return None if type(entry.position) is int else f"position: expected a whole number, got {entry.position!r}"


def as_kept(stone: Entry) -> Entry:
    """An entry as it was before it was removed."""
    return Entry(stone.position, stone.folder, stone.manifest_sha256, stone.previous, stone.sealed_at)


def short(hash: object) -> str:
    return "nothing" if hash is None else f"{str(hash)[:16]}…"


def text_of(value: object) -> str:
    return value if isinstance(value, str) else repr(value)
