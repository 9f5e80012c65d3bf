"""The list of pictures and clips to train on or to evaluate: a CSV, or folders of real and forged footage."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream_detect.errors import ConfigError, SourceNotFound

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".ts", ".mpg"}
LABELS = {"real": False, "fake": True}
KINDS = ("image", "video")


@dataclass(frozen=True, slots=True)
class Item:
    """One file with what is known of it; `group` is the unit that is split and resampled: a person, else the file."""

    path: Path
    is_fake: bool
    kind: str  # image | video
    generator: str = "none"
    source: str = ""
    identity: str = ""
    licence: str = ""  # of the source, in its own words

    @property
    def group(self) -> str:
        return self.identity or self.path.name


def read_manifest(path: Path) -> list[Item]:
    """The items of a CSV with at least the columns path and label; paths are relative to the CSV.

    Raises:
        SourceNotFound: if there is no such file.
        ConfigError: if it is no CSV, a column is missing, a row can't be meant, or there is no row.
    """
    if not path.is_file():
        raise SourceNotFound(f"{path}: no such manifest; expected a CSV with the columns path,label")
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:  # spreadsheets write a byte order mark
            items = _items(csv.DictReader(lines), path)
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ConfigError(f"{path}: expected a CSV in UTF-8, got something else ({exc})") from exc
    if not items:
        raise ConfigError(f"{path}: no rows, expected one line a file")
    return items


def _items(reader: "csv.DictReader[str]", path: Path) -> list[Item]:
    missing = {"path", "label"} - set(reader.fieldnames or ())
    if missing:
        raise ConfigError(f"{path}: column {' and '.join(sorted(missing))} missing, got {reader.fieldnames}")
    return [_item(row, path, number) for number, row in enumerate(reader, start=2)]


def _item(row: dict[str, str | None], manifest: Path, number: int) -> Item:
    label = (row["label"] or "").strip().lower()
    if label not in LABELS:
        raise ConfigError(f"{manifest}:{number}: label {row['label']!r}, expected real or fake")
    if not row["path"]:
        raise ConfigError(f"{manifest}:{number}: no path, expected that of a picture or a clip")
    path = manifest.parent / row["path"]
    kind = row.get("kind") or kind_by_suffix(path)
    if kind not in KINDS:
        raise ConfigError(f"{manifest}:{number}: kind {kind!r}, expected image or video")
    return Item(
        path=path,
        is_fake=LABELS[label],
        kind=kind,
        generator=row.get("generator") or "none",
        source=row.get("source") or "",
        identity=row.get("identity") or "",
        licence=row.get("licence") or row.get("license") or "",
    )


def items_in_folders(real: Sequence[Path], fake: Sequence[Path] = ()) -> list[Item]:
    """Every picture and clip below the folders; a clip, or a folder of pictures within one of them, is one person.

    Raises:
        SourceNotFound: if a folder is missing or holds nothing to look at.
    """
    items = [item for folders, is_fake in ((real, False), (fake, True)) for f in folders for item in _walk(f, is_fake)]
    if not items:
        raise SourceNotFound(
            f"nothing to look at in {', '.join(map(str, [*real, *fake]))}: expected pictures or videos"
        )
    return items


def _walk(folder: Path, is_fake: bool) -> Iterable[Item]:
    if not folder.is_dir():
        raise SourceNotFound(f"{folder}: no such folder; expected one with pictures or videos")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGES | VIDEOS:
            kind, generator = kind_by_suffix(path), "unknown" if is_fake else "none"
            is_album = kind == "image" and path.parent != folder
            person = str(path.parent.relative_to(folder)) if is_album else ""
            yield Item(path, is_fake, kind, generator, source=folder.name, identity=person)


def kind_by_suffix(path: Path) -> str:
    return "video" if path.suffix.lower() in VIDEOS else "image"
