"""The manifest of a folder of evidence: what is in it, sealed into the chain."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from stream_detect.errors import OutputError
from stream_detect.evidence.ledger import Entry, Ledger
from stream_detect.evidence.locks import alone_in, only_recorder
from stream_detect.evidence.removed import REMOVED, entry_or_none

if TYPE_CHECKING:
    from stream_detect.evidence.signing import SigningKey

FORMAT = "stream-detect evidence"
VERSION = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
OF_THE_SEAL = (MANIFEST, SIGNATURE)  # what a manifest does not name
ATTEMPTS = 50  # to be the next in the chain, while others seal as well
CHUNK = 1 << 20
QUIET_S = 600.0  # a folder that another process may be filling is left alone until nothing changed in it for so long
CLOCK_NOTE = "sealed_at is never earlier than the entry before; clock is what this machine's clock said"
log = logging.getLogger("stream_detect.evidence")


@dataclass(frozen=True, slots=True)
class Sealed:
    """One file of a manifest."""

    path: str  # within its folder, with / between its parts
    bytes: int
    sha256: str  # in hexadecimal


@dataclass(frozen=True, slots=True)
class Manifest:
    """What manifest.json says."""

    position: int
    folder: str
    previous: str | None
    sealed_at: str
    signed_with: str | None  # the public key in hexadecimal
    about: Mapping[str, Any]
    files: tuple[Sealed, ...]


def seal(root: Path, folder: str, about: Mapping[str, Any], ledger: Ledger, key: "SigningKey | None" = None) -> Entry:
    """Write the manifest of a folder of evidence, signed if there is a key, and enter it into the ledger.

    Several processes may seal at once: each waits for its turn. Nothing may change in the folder afterwards.

    Args:
        root: the folder of all evidence, which the ledger is of.
        folder: within it, with / between its parts.
        about: what is said of the evidence; numbers in it are finite.

    Raises:
        ValueError: if `about` can't be written as JSON, or `folder` leaves the root.
        OutputError: if it can't be read or written, or is sealed already.
    """
    check_folder(folder)
    with alone_in(root):
        return seal_next(root, folder, about, ledger, key)


def seal_next(root: Path, folder: str, about: Mapping[str, Any], ledger: Ledger, key: "SigningKey | None") -> Entry:
    """Seal while the chain is held."""
    with translated(root / folder):
        files = hashed(root / folder)
        if key is not None:
            keep_public_key(root, key)
        for _ in range(ATTEMPTS):
            before = last_of(ledger, folder)
            manifest = following(before, folder, about, files, key)
            entry = entered(root, manifest, write_manifest(root / folder, manifest, key), ledger)
            if entry is not None:
                return entry
    raise OutputError(f"{folder}: other processes seal all the time; it is sealed at the next start")


def last_of(ledger: Ledger, folder: str) -> Entry | None:
    """The newest entry of a ledger that has none of this folder.

    Raises:
        OutputError: if it has one.
    """
    entries = ledger.entries()
    if any(entry.folder == folder for entry in entries):
        raise OutputError(f"{folder}: it is sealed already, and stays as it is")
    return entries[-1] if entries else None


def following(
    before: Entry | None, folder: str, about: Mapping[str, Any], files: Sequence[Sealed], key: "SigningKey | None"
) -> dict[str, Any]:
    """The manifest that follows an entry, as it is written."""
    clock = utc_text(datetime.now(UTC))
    return {
        "format": FORMAT,
        "version": VERSION,
        "position": 0 if before is None else before.position + 1,
        "previous": None if before is None else before.manifest_sha256,
        "folder": folder,
        "sealed_at": clock if before is None else later_of(before.sealed_at, clock),
        "clock": clock,
        "clock_note": CLOCK_NOTE,
        "software": f"stream-detect {version('stream-detect')}",
        "signed_with": None if key is None else key.public.hex,
        "about": about,
        "files": [asdict(file) for file in files],
    }


def entered(root: Path, manifest: Mapping[str, Any], data: bytes, ledger: Ledger) -> Entry | None:
    """The entry of a manifest in the ledger; None if another one came first."""
    names = ("position", "folder", "previous", "sealed_at")
    return entered_or_none(ledger, Entry(manifest_sha256=sha256_of(data), **{name: manifest[name] for name in names}))


def entered_or_none(ledger: Ledger, entry: Entry) -> Entry | None:
    """An entry once it is in the ledger; None if it does not come next there."""
    try:
        ledger.append(entry)
    except OutputError:  # is a ValueError, too
        raise
    except ValueError:
        return None
    return entry


def write_manifest(folder: Path, manifest: Mapping[str, Any], key: "SigningKey | None") -> bytes:
    """Write a manifest, its signature first: where the one is, there is the other. Gives its bytes."""
    data = canonical(manifest)
    if key is not None:
        write_durably(folder / SIGNATURE, key.sign(data))
    write_durably(folder / MANIFEST, data)
    sync_folder(folder.parent)
    return data


def seal_left_open(
    root: Path,
    ledger: Ledger,
    key: "SigningKey | None" = None,
    is_open: Collection[str] = (),
    quiet_s: float = QUIET_S,
) -> list[Entry]:
    """Seal what an interrupted run left open, and enter manifests that it had no time to enter. Call it at the start.

    Folders in which nothing was sealed yet get `about["interrupted"]`. While other processes record into `root`, only
    folders are sealed in which nothing changed for `quiet_s` seconds. What can't be sealed is logged and left.

    Args:
        is_open: folders that this process fills at the moment.

    Raises:
        OutputError: if the root can't be written, or the ledger does not answer.
    """
    calm_s = 0.0 if only_recorder(root) else quiet_s
    with alone_in(root):
        known = {entry.folder for entry in ledger.entries()}
        left = [name for name in folders_in(root, known) if name not in is_open and is_quiet(root / name, calm_s)]
        return list(_sealed_late(root, left, ledger, key))


def _sealed_late(root: Path, left: Sequence[str], ledger: Ledger, key: "SigningKey | None") -> Iterator[Entry]:
    """Complete manifests keep their place where the chain still has it; the others are sealed after them."""
    complete = sorted((made.position, name) for name in left if (made := complete_manifest(root, name, key)))
    stones = [] if ledger.entries() else tombstones(root)  # a ledger that was lost gets them back
    in_order: list[tuple[int, str | Entry]] = [*complete, *((stone.position, stone) for stone in stones)]
    for _, one in sorted(in_order, key=itemgetter(0)):
        if isinstance(one, Entry):
            entered_or_none(ledger, one)
        elif (entry := adopted(root, one, ledger, key)) is not None:
            yield entry
    known = {entry.folder for entry in ledger.entries()}
    for name in dict.fromkeys([*(name for _, name in complete), *left]):
        if name not in known:
            yield from _sealed_again(root, name, ledger, key)


def _sealed_again(root: Path, folder: str, ledger: Ledger, key: "SigningKey | None") -> Iterator[Entry]:
    try:
        yield seal_again(root, folder, ledger, key)
    except (OutputError, ValueError) as error:
        log.warning("evidence %s can't be sealed: %s", folder, error)


def tombstones(root: Path) -> list[Entry]:
    """What removed.jsonl lists, as far as it can be read."""
    try:
        lines = (root / REMOVED).read_bytes().splitlines(keepends=True)
    except OSError:
        return []
    return [entry for line in lines if (entry := entry_or_none(line)) is not None]


def complete_manifest(root: Path, folder: str, key: "SigningKey | None") -> Manifest | None:
    """The manifest of a folder if it may be entered as it is: whole, its own, and signed where we sign."""
    try:
        data = (root / folder / MANIFEST).read_bytes()
        manifest = manifest_of(data)
    except (OSError, ValueError):
        return None
    if manifest.folder != folder or (key is not None and manifest.signed_with != key.public.hex):
        return None
    return manifest if key is None or is_signed(root / folder, data, key) else None


def is_signed(folder: Path, data: bytes, key: "SigningKey") -> bool:
    with suppress(OSError):
        return key.public.fits((folder / SIGNATURE).read_bytes(), data)
    return False


def adopted(root: Path, folder: str, ledger: Ledger, key: "SigningKey | None") -> Entry | None:
    """The entry of a folder whose manifest was written but not entered; None if it does not come next."""
    manifest = complete_manifest(root, folder, key)
    if manifest is None:
        return None
    return entered(root, as_read(manifest), (root / folder / MANIFEST).read_bytes(), ledger)


def as_read(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in Manifest.__slots__}


def seal_again(root: Path, folder: str, ledger: Ledger, key: "SigningKey | None") -> Entry:
    """Seal a folder that was left open; a manifest that leads nowhere is kept under another name."""
    about = {"interrupted": True, **kept_about(root / folder)}
    set_aside(root / folder)
    return seal_next(root, folder, about, ledger, key)


def kept_about(folder: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        return manifest_of((folder / MANIFEST).read_bytes()).about
    return {}


def set_aside(folder: Path) -> None:
    """Give a manifest and signature that lead nowhere names of their own."""
    for name in OF_THE_SEAL:
        stem, _, end = name.partition(".")
        with translated(folder), suppress(FileNotFoundError):
            (folder / name).rename(folder / f"{stem}-{time.time_ns()}.{end}")


def folders_in(root: Path, known: Collection[str] = (), within: str = "") -> list[str]:
    """The folders that directly hold a file, below the root; known ones and what is in them are left out."""
    found: list[str] = []
    with translated(root):
        things = sorted(os.scandir(root / within), key=lambda thing: thing.name)
    for thing in things:
        name = f"{within}/{thing.name}" if within else thing.name
        if thing.is_dir(follow_symlinks=False) and name not in known:
            found += [name] if holds_a_file(root / name) else folders_in(root, known, name)
    return found


def holds_a_file(folder: Path) -> bool:
    with translated(folder), os.scandir(folder) as things:
        return any(not thing.is_dir(follow_symlinks=False) for thing in things)


def is_quiet(folder: Path, calm_s: float) -> bool:
    """Whether nothing changed in a folder for so long."""
    try:
        times = [path.lstat().st_mtime for path in (folder, *folder.rglob("*"))]
    except OSError:  # it is just being changed
        return calm_s <= 0
    return abs(time.time() - max(times)) >= calm_s


def hashed(folder: Path) -> list[Sealed]:
    """Every file of a folder but its seal, put on the disk and hashed, in the order of their names.

    Raises:
        OSError: if one can't be read.
        OutputError: if something is neither a file nor a folder.
    """
    if not folder.is_dir():
        raise OutputError(f"{folder}: there is no such folder to seal")
    remove_parts(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    named = [(path.relative_to(folder).as_posix(), path) for path in paths]
    return [hashed_file(name, path) for name, path in named if name not in OF_THE_SEAL]


def remove_parts(folder: Path) -> None:
    """What a crash left of a seal."""
    for name in OF_THE_SEAL:
        part_of(folder / name).unlink(missing_ok=True)


def hashed_file(name: str, path: Path) -> Sealed:
    if path.is_symlink() or not path.is_file():
        raise OutputError(f"{path}: expected plain files in evidence")
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
        os.fsync(file.fileno())
    return Sealed(name, size, digest.hexdigest())


def keep_public_key(root: Path, key: "SigningKey") -> None:
    """Write the public key beside the evidence, named by its own digits."""
    path = root / public_key_name(key.public.hex)
    if not path.exists() or path.read_bytes() != key.public.pem:
        write_durably(path, key.public.pem)


def public_key_name(of_key: str) -> str:
    return f"public-key-{of_key}.pem"


def write_durably(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all; it is on the disk when this returns."""
    part = part_of(path)
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of the disk as one line of ours."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: the evidence can't be kept ({error.strerror or error})") from error


def manifest_of(data: bytes) -> Manifest:
    """The manifest that these bytes are.

    Raises:
        ValueError: says why they are none of ours, byte for byte.
    """
    try:
        said = json.loads(data)
        if not isinstance(said, dict) or canonical(said) != data:
            raise ValueError("not as stream-detect writes it")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a manifest ({' '.join(str(error).split())[:120]})") from error
    if (said.get("format"), said.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"not a manifest of version {VERSION}; a newer stream-detect may read it")
    return checked_manifest(said)


def checked_manifest(said: Mapping[str, Any]) -> Manifest:
    try:
        files = tuple(Sealed(**file) for file in said["files"])
        made = Manifest(files=files, **{name: said[name] for name in Manifest.__slots__ if name != "files"})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a whole manifest ({error})") from error
    texts = (made.folder, made.sealed_at, *(file.path for file in files), *(file.sha256 for file in files))
    numbers = (made.position, *(file.bytes for file in files))
    if not (all(type(text) is str for text in texts) and all(type(number) is int for number in numbers)):
        raise ValueError("not a whole manifest (a value is of another kind)")
    if not isinstance(made.about, dict) or not all(
        isinstance(o, str | None) for o in (made.previous, made.signed_with)
    ):
        raise ValueError("not a whole manifest (a value is of another kind)")
    return made


def canonical(value: object) -> bytes:
    """The one way in which a value is written as JSON: sorted keys, ASCII, a line for each.

    Raises:
        ValueError, TypeError: if it can't be.
    """
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode("ascii")


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check_folder(folder: str) -> None:
    """Raise ValueError unless a text names a folder below the root, in the only way in which it is written."""
    parts = PurePosixPath(folder).parts
    if not parts or "/".join(parts) != folder or ".." in parts or "\0" in folder:
        raise ValueError(f"{folder!r}: expected a folder within the evidence, with / between its parts")


def utc_text(moment: datetime) -> str:
    """A moment as every line writes it, such as 2026-11-22T13:00:00.123Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """The moment that a text is which `utc_text` wrote.

    Raises:
        ValueError: if it is none.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or utc_text(moment) != text:
        raise ValueError(f"{text!r}: expected a time such as 2026-11-22T13:00:00.123Z")
    return moment


def later_of(before: str, clock: str) -> str:
    """The later of two times; one that is none doesn't count."""
    try:
        return utc_text(max(moment_of(before), moment_of(clock)))
    except (ValueError, TypeError):
        return clock
