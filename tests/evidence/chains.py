"""Small chains of evidence for tests."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stream_detect.evidence.ledger import Entry, Ledger, ListLedger
from stream_detect.evidence.manifest import seal
from stream_detect.evidence.retention import retire
from stream_detect.evidence.signing import SigningKey

LATER_S = 7200.0  # after a test's evidence was written: nothing is being recorded any more


def evidence(root: Path, folder: str, seed: int = 0, files: int = 3) -> str:
    """A folder of evidence that is not sealed yet."""
    chance = random.Random(f"{folder} {seed}")
    (root / folder / "frames").mkdir(parents=True)
    (root / folder / "scores.json").write_bytes(chance.randbytes(chance.randint(1, 60)))
    for number in range(files - 1):
        (root / folder / "frames" / f"{number}.png").write_bytes(chance.randbytes(chance.randint(0, 60)))
    return folder


def chain(root: Path, length: int = 4, seed: int = 0, key: SigningKey | None = None, files: int = 3) -> ListLedger:
    """A sealed chain of folders of two feeds."""
    root.mkdir(exist_ok=True)
    ledger = ListLedger()
    for number in range(length):
        grow(root, ledger, f"cam{number % 2}/a{number:04d}", seed, key, files)
    return ledger


def grow(
    root: Path, ledger: Ledger, folder: str, seed: int = 0, key: SigningKey | None = None, files: int = 3
) -> Entry:
    return seal(root, evidence(root, folder, seed, files), {"alert": folder[-5:], "feed": folder[:4]}, ledger, key)


def retired(root: Path, ledger: ListLedger, count: int) -> list[Entry]:
    """Let retention remove the oldest."""
    sizes = [folder_bytes(root / entry.folder) for entry in ledger.entries() if entry.removed_at is None]
    left = sum(sizes[count:])
    return retire(root, ledger, None, (left + 0.5) / (1 << 30) if count else None)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def days_later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
