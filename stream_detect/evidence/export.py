"""Evidence in one zip, to be handed on: the folders, their manifests, the ledger, and how to check it."""

import json
import shutil
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_detect.errors import OutputError, UsageError
from stream_detect.evidence.ledger import Entry
from stream_detect.evidence.manifest import CHUNK, MANIFEST, canonical, manifest_of, sha256_of
from stream_detect.evidence.removed import REMOVED
from stream_detect.evidence.tree import FolderTree, Tree, tree_of
from stream_detect.evidence.verify import PUBLIC_KEY_FILE, STORE, Look, Problem, Report

if TYPE_CHECKING:
    from stream_detect.evidence.signing import PublicKey

LEDGER = "ledger.json"
HOW = "VERIFY.txt"
FORMAT = "stream-detect ledger"
VERSION = 1
PACKED = frozenset((".png", ".jpg", ".jpeg", ".mp4", ".mkv", ".webp"))  # don't get smaller
MADE = (1980, 1, 1, 0, 0, 0)  # the same for every file: a zip of the same evidence has the same bytes
LEDGER_ENTRY = frozenset(Entry.__slots__)
WORDS = """How to check this evidence
==========================

With stream-detect (pip install stream-detect), on this zip or on the folder that it was unpacked into:

    stream-detect evidence verify FILE.zip
    stream-detect evidence verify FILE.zip --key PUBLIC.pem --head SHA256

"consistent" means that nothing in it contradicts anything else: whoever could change all of it could also have made
all of it anew. "authentic" means that every folder was signed with the key that you gave with --key. Take that key
from its owner, not from this zip. "tampered" names what is not as it was sealed.

Without it:

    sha256sum FOLDER/FILE           is "sha256" of that file in FOLDER/manifest.json
    sha256sum FOLDER/manifest.json  is "manifest_sha256" of that folder in ledger.json, and "previous" in the next
    openssl pkeyutl -verify -rawin -pubin -inkey PUBLIC.pem -in FOLDER/manifest.json -sigfile FOLDER/manifest.sig

ledger.json lists every entry of the chain. Those with "removed_at" were removed by retention and are listed in
removed.jsonl, too; the positions in "absent" were not asked for in this export.
"""


@dataclass(frozen=True, slots=True)
class Listing:
    """What ledger.json says."""

    entries: tuple[Entry, ...]
    absent: frozenset[int]  # positions that were left out of the export
    files: Mapping[str, str] = field(default_factory=dict)  # others in the zip, each with its SHA-256


def export(root: Path, entries: Sequence[Entry], out: Path, alerts: Sequence[str] | None = None) -> list[Entry]:
    """Write evidence into a new zip; gives the entries that are in it.

    Args:
        entries: all of the ledger.
        alerts: ids of alerts, or their beginnings, or folders of evidence; None: everything.

    Raises:
        UsageError: if there is no such alert, or no evidence of it any more.
        OutputError: if `out` exists, or can't be written, or evidence can't be read. No part of it is left then.
    """
    kept = [entry for entry in entries if entry.removed_at is None]
    chosen = kept if alerts is None else chosen_of(root, entries, alerts)
    tree = FolderTree(root)
    try:
        with out.open("xb") as file, removed_on_error(out), zipfile.ZipFile(file, "w") as target:
            absent = {entry.position for entry in kept} - {entry.position for entry in chosen}
            write_all(target, root, tree, entries, chosen, absent)
    except FileExistsError as error:
        raise OutputError(f"{out}: there is a file already; choose another name") from error
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise OutputError(f"{out}: the export can't be written ({error})") from error
    return list(chosen)


class removed_on_error:
    """Remove a file if what is done with it fails."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            self._path.unlink(missing_ok=True)


def write_all(
    target: zipfile.ZipFile,
    root: Path,
    tree: Tree,
    entries: Sequence[Entry],
    chosen: Sequence[Entry],
    absent: Collection[int],
) -> None:
    paths = sorted(thing.path for thing in tree.things() if thing.kind == "file")
    beside = {name: (root / name).read_bytes() for name in paths if name == REMOVED or PUBLIC_KEY_FILE.fullmatch(name)}
    beside[HOW] = WORDS.encode()
    beside[LEDGER] = ledger_bytes(entries, absent, {name: sha256_of(data) for name, data in beside.items()})
    for name, data in sorted(beside.items()):
        target.writestr(about_file(name, len(data)), data)
    for entry in chosen:
        refuse_missing(root, entry)
        for path in paths:
            if path.startswith(f"{entry.folder}/"):
                write_file(target, root / path, path)


def refuse_missing(root: Path, entry: Entry) -> None:
    if not (root / entry.folder / MANIFEST).is_file():
        raise UsageError(f"{entry.folder}: the evidence is missing; stream-detect evidence verify {root} says more")


def write_file(target: zipfile.ZipFile, source: Path, name: str) -> None:
    with source.open("rb") as file, target.open(about_file(name, source.stat().st_size), "w") as into:
        shutil.copyfileobj(file, into, CHUNK)


def about_file(name: str, size: int) -> zipfile.ZipInfo:
    about = zipfile.ZipInfo(name, MADE)
    about.file_size = size  # so that large ones get the fields they need
    about.external_attr = 0o644 << 16
    about.compress_type = zipfile.ZIP_STORED if Path(name).suffix in PACKED else zipfile.ZIP_DEFLATED
    return about


def ledger_bytes(entries: Sequence[Entry], absent: Collection[int], files: Mapping[str, str]) -> bytes:
    said = {
        "format": FORMAT,
        "version": VERSION,
        "entries": [asdict(entry) for entry in entries],
        "absent": sorted(absent),
        "files": files,
    }
    return canonical({**said, "sha256": sha256_of(canonical(said))})


def listing_of(data: bytes) -> Listing:
    """What the bytes of a ledger.json say.

    Raises:
        ValueError: if they are not as an export writes them.
    """
    try:
        said: dict[str, Any] = json.loads(data)
        rest = {name: value for name, value in said.items() if name != "sha256"}
        if said["sha256"] != sha256_of(canonical(rest)) or canonical(said) != data:
            raise ValueError("not as an export writes it")
        if (said["format"], said["version"]) != (FORMAT, VERSION):
            raise ValueError(f"not of version {VERSION}; a newer stream-detect may read it")
        entries = tuple(Entry(**entry) for entry in said["entries"])
        return Listing(entries, frozenset(said["absent"]), dict(said["files"]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a ledger ({error})") from error


def is_export(path: Path) -> bool:
    """Whether a path is a zip, or the folder that one was unpacked into."""
    return path.is_file() or ((path / LEDGER).is_file() and not (path / STORE).exists())


def verify_export(path: Path, keys: Sequence["PublicKey"] = (), head: str | None = None) -> Report:
    """Compare an export with the ledger in it.

    Raises:
        OutputError: if it is no zip and no folder.
    """
    with tree_of(path) as tree:
        try:
            listing = listing_of(bytes_of(tree, LEDGER))
        except (OSError, ValueError) as error:
            report = Look(tree, None, keys, known=(LEDGER, HOW)).report(head, 0, time.time())
            report.problems.insert(0, Problem(None, LEDGER, f"missing or damaged: {error}"))
            return report
        look = Look(tree, listing.entries, keys, known=(LEDGER, *listing.files), absent=listing.absent)
        report = look.report(head, 0, time.time())
        report.problems += problems_beside(tree, listing.files)
        report.notes.append("an export, compared with the ledger in it; --head says whether that one is whole")
        return report


def problems_beside(tree: Tree, files: Mapping[str, str]) -> Iterator[Problem]:
    """The list, the key and the words that come along have to be those that were put in."""
    for name, expected in files.items():
        try:
            got = sha256_of(bytes_of(tree, name))
        except OSError:
            yield Problem(None, name, "missing, or can't be read")
            continue
        if got != expected:
            yield Problem(None, name, f"expected SHA-256 {expected}, got {got}")


def bytes_of(tree: Tree, path: str) -> bytes:
    return b"".join(tree.chunks(path))


def chosen_of(root: Path, entries: Sequence[Entry], alerts: Sequence[str]) -> list[Entry]:
    """The entries of alerts, in the order of the chain.

    Raises:
        UsageError: for an alert that has none, or not any more.
    """
    wanted = {position for alert in alerts for position in positions_of(root, entries, alert)}
    return [entry for entry in entries if entry.position in wanted]


def positions_of(root: Path, entries: Sequence[Entry], alert: str) -> list[int]:
    found = [entry for entry in entries if is_of(root, entry, alert)]
    kept = [entry.position for entry in found if entry.removed_at is None]
    if kept:
        return kept
    if found:
        gone = found[-1]
        raise UsageError(f"{alert}: its evidence was removed at {gone.removed_at} ({gone.removed_why})")
    raise UsageError(f"{alert}: there is no evidence of such an alert; stream-detect evidence list {root} names it")


def is_of(root: Path, entry: Entry, alert: str) -> bool:
    """Whether an entry is an alert's: by its folder, or by the id in its manifest; its beginning is enough."""
    if entry.folder == alert or entry.folder.rpartition("/")[2].startswith(alert):
        return True
    return entry.removed_at is None and any(id.startswith(alert) for id in ids_in(root / entry.folder))


def ids_in(folder: Path) -> Iterator[str]:
    """The ids of alerts that a manifest names, in `about`."""
    try:
        about = manifest_of((folder / MANIFEST).read_bytes()).about
    except (OSError, ValueError):
        return
    for said in (about.get("alert"), about.get("id")):
        id = said.get("id") if isinstance(said, dict) else said
        if isinstance(id, str):
            yield id
