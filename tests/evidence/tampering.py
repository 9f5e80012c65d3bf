"""Ways of tampering with evidence, each by chance."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from stream_detect.evidence.ledger import Entry
from stream_detect.evidence.manifest import MANIFEST, canonical, moment_of, sha256_of, utc_text

Entries = list[Entry]
Way = Callable[[random.Random, Path, Entries], Entries | None]


def files_in(root: Path, with_bytes: bool = True) -> list[Path]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return [path for path in paths if path.stat().st_size or not with_bytes]


def folders_of(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.rglob(MANIFEST))


def two(chance: random.Random, things: Sequence[Path]) -> list[Path]:
    return chance.sample(list(things), 2)


def flip(chance: random.Random, root: Path, entries: Entries) -> None:
    path = chance.choice(files_in(root))
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(chance: random.Random, root: Path, entries: Entries) -> None:
    path = chance.choice(files_in(root))
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def append(chance: random.Random, root: Path, entries: Entries) -> None:
    path = chance.choice(files_in(root, with_bytes=False))
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randint(1, 40)))


def remove_file(chance: random.Random, root: Path, entries: Entries) -> None:
    chance.choice([path for path in files_in(root) if not path.name.startswith("public-key")]).unlink()


def add_file(chance: random.Random, root: Path, entries: Entries) -> None:
    place = chance.choice([root, *(path for path in root.rglob("*") if path.is_dir())])
    (place / f"new{chance.randrange(99)}").write_bytes(chance.randbytes(chance.randint(0, 9)))


def add_folder(chance: random.Random, root: Path, entries: Entries) -> None:
    place = chance.choice([root, *(path for path in root.rglob("*") if path.is_dir())])
    (place / f"new{chance.randrange(99)}").mkdir()


def rename_file(chance: random.Random, root: Path, entries: Entries) -> None:
    path = chance.choice([path for path in files_in(root) if not path.name.startswith("public-key")])
    path.rename(path.with_name(f"x{path.name}"))


def swap_files(chance: random.Random, root: Path, entries: Entries) -> None:
    swap(root, *two(chance, files_in(root)))


def swap_manifests(chance: random.Random, root: Path, entries: Entries) -> None:
    swap(root, *two(chance, sorted(root.rglob(MANIFEST))))


def swap(root: Path, one: Path, other: Path) -> None:
    aside = root / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def link_file(chance: random.Random, root: Path, entries: Entries) -> None:
    path = chance.choice(files_in(root))
    elsewhere = path.rename(root.parent / f"{root.name}-{path.name}")
    path.symlink_to(elsewhere)


def remove_folder(chance: random.Random, root: Path, entries: Entries) -> None:
    shutil.rmtree(chance.choice(folders_of(root)))


def rename_folder(chance: random.Random, root: Path, entries: Entries) -> None:
    folder = chance.choice(folders_of(root))
    folder.rename(folder.with_name(f"{folder.name}x"))


def duplicate_folder(chance: random.Random, root: Path, entries: Entries) -> None:
    folder = chance.choice(folders_of(root))
    shutil.copytree(folder, folder.with_name(f"{folder.name}x"))


def swap_folders(chance: random.Random, root: Path, entries: Entries) -> None:
    swap(root, *two(chance, folders_of(root)))


def forge_file(chance: random.Random, root: Path, entries: Entries) -> None:
    """Change a file, and its hash in the manifest."""
    folder = chance.choice(folders_of(root))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    file = chance.choice(manifest["files"])
    data = (folder / file["path"]).read_bytes() + b"!"
    (folder / file["path"]).write_bytes(data)
    file.update(bytes=len(data), sha256=sha256_of(data))
    (folder / MANIFEST).write_bytes(canonical(manifest))


def forge_about(chance: random.Random, root: Path, entries: Entries) -> None:
    folder = chance.choice(folders_of(root))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["about"]["feed"] = "another"
    (folder / MANIFEST).write_bytes(canonical(manifest))


def edit_row(chance: random.Random, root: Path, entries: Entries) -> Entries:
    at = chance.randrange(len(entries))
    entry = entries[at]
    later = utc_text(moment_of(entry.sealed_at) + timedelta(milliseconds=chance.choice((-5000, -1, 1, 5000))))
    other_hash = sha256_of(chance.randbytes(8))
    other = chance.choice(
        (
            replace(entry, position=entry.position + chance.choice((-1, 1))),
            replace(entry, folder=f"{entry.folder}x"),
            replace(entry, manifest_sha256=other_hash),
            replace(entry, previous=other_hash),
            replace(entry, sealed_at=later),
            replace(entry, sealed_at="yesterday"),
            replace(entry, removed_at=later, removed_why="it was in the way"),
            replace(entry, removed_at=None, removed_why=None) if entry.removed_at else replace(entry, removed_why="x"),
        )
    )
    return [*entries[:at], other, *entries[at + 1 :]]


def drop_row(chance: random.Random, root: Path, entries: Entries) -> Entries:
    at = chance.randrange(len(entries))
    return [*entries[:at], *entries[at + 1 :]]


def swap_rows(chance: random.Random, root: Path, entries: Entries) -> Entries:
    one, other = sorted(chance.sample(range(len(entries)), 2))
    changed = list(entries)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def repeat_row(chance: random.Random, root: Path, entries: Entries) -> Entries:
    return [*entries, chance.choice(entries)]


WAYS: tuple[Way, ...] = (
    flip,
    flip,
    flip,
    truncate,
    append,
    remove_file,
    add_file,
    add_folder,
    rename_file,
    swap_files,
    swap_manifests,
    link_file,
    remove_folder,
    rename_folder,
    duplicate_folder,
    swap_folders,
    forge_file,
    forge_about,
    edit_row,
    edit_row,
    drop_row,
    swap_rows,
    repeat_row,
)


def picture(root: Path) -> dict[str, bytes | None]:
    """What lies in a folder: files with their bytes, folders without."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if not path.is_symlink()
    }


def restore(root: Path, before: dict[str, bytes | None]) -> None:
    shutil.rmtree(root)
    root.mkdir()
    for name, data in before.items():
        if data is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(data)
