"""A folder of explanations: one PNG a file, under a name of its own, never over the picture of another file."""

import hashlib
import tempfile
from pathlib import Path

from stream_detect.errors import OutputError, UsageError
from stream_detect.explain.explanation import Explanation

ENDING = ".explained.png"
SUBJECT = "Subject"  # the PNG's text that says, as a hash of the path, which file it explains


class ExplanationFolder:
    """Writes explanations as `<stem>.explained.png`; files that share a stem get `<stem>-2.explained.png` and so on.

    An explanation of the same file from an earlier run is replaced; anything else that lies there stays.

    Raises:
        OutputError: at once, if the folder can't be made or written.
        UsageError: at once, if matplotlib is not installed.
    """

    def __init__(self, folder: Path) -> None:
        check_drawing()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as exc:
            reason = exc.strerror or exc
            raise OutputError(f"{folder}: can't be written ({reason}); choose another folder with --explain") from exc
        self._folder = folder
        self._taken: set[str] = set()

    def take(self, explanation: Explanation) -> str:
        """Write the picture; the name of its file.

        Raises:
            OutputError: if it can't be written any more.
        """
        subject = subject_of(explanation.score.path)
        name = self._free_name(Path(explanation.score.path).stem or "picture", subject)
        explanation.save(self._folder / name, subject)
        return name

    def _free_name(self, stem: str, subject: str) -> str:
        number = 1
        while True:
            name = f"{stem}{ENDING}" if number == 1 else f"{stem}-{number}{ENDING}"
            if name.casefold() not in self._taken and is_free(self._folder / name, subject):
                self._taken.add(name.casefold())  # some file systems don't tell A from a
                return name
            number += 1


def check_drawing() -> None:
    """Raise UsageError if pictures can't be drawn here."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as exc:
        raise UsageError("explanations need matplotlib: pip install 'stream-detect[explain]'") from exc


def subject_of(path: str) -> str:
    """Which file a picture explains, without telling where it lies."""
    return hashlib.sha256(str(Path(path).resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def is_free(path: Path, subject: str) -> bool:
    """Whether a picture may be written there: nothing is, or an earlier explanation of the same file."""
    from PIL import Image, UnidentifiedImageError

    if not path.exists():
        return True
    try:
        with Image.open(path) as picture:
            return picture.info.get(SUBJECT) == subject
    except (UnidentifiedImageError, OSError):
        return False
