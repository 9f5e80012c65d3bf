"""What `--overlay` names: a file or a server, one for all that is watched or, with {feed} in it, one for each feed."""

import re
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from stream_detect.decode.frame import Frame
from stream_detect.errors import UsageError
from stream_detect.overlay.encoding import FORMATS
from stream_detect.overlay.file import OverlayWriter
from stream_detect.overlay.publisher import OverlayPublisher
from stream_detect.redact import redact
from stream_detect.secrets import filled
from stream_detect.types import FrameVerdict

PLACEHOLDER = "{feed}"
Writer = OverlayWriter | OverlayPublisher


class Overlay:
    """Writes the frames of every feed where `target` says; close it, or use it in a `with`.

    Args:
        target: a file such as out.mp4, or rtsp(s)://..., rtmp(s)://...; ${NAME} and ${file:PATH} are filled in, and
            {feed} by the name of each feed.
        feeds: how many are watched at first; where the target has no {feed}, one at most.
        hides_faces: whether faces are made unrecognisable.
        gpu: number of the GPU whose encoder is tried first for what is sent; None: the processor encodes.

    Raises:
        UsageError: if that can't be meant.
        OutputError: if the file can't be written.
        ConfigError: if something to be filled in can't be had.
    """

    def __init__(self, target: str, feeds: int = 1, *, hides_faces: bool = False, gpu: int | None = None) -> None:
        self._target = filled(target)
        self._hides_faces, self._gpu = hides_faces, gpu
        self._is_for_each = PLACEHOLDER in self._target
        self._writers: dict[str, Writer] = {}
        self._names: set[str] = set()
        refuse_unknown(self._target)
        if feeds > 1 and not self._is_for_each:
            way = f"put {PLACEHOLDER} into its name, or run one watch for each"
            raise UsageError(f"--overlay writes one source, got {feeds}; {way}")
        self._only = None if self._is_for_each else self._opened(self._target)

    def write(self, frame: Frame, verdict: FrameVerdict) -> None:
        """Draw a frame where its feed's go; of a target for one feed, that is the first that comes.

        Raises:
            OutputError: if it can't be written to a file.
        """
        writer = self._writers.get(verdict.source)
        if writer is None and self._is_for_each:
            writer = self._opened(self._target.replace(PLACEHOLDER, self._name(verdict.source)))
        elif writer is None and not self._writers:
            writer = self._only
        if writer is not None:
            self._writers[verdict.source] = writer
            writer.write(frame, verdict)

    def close(self) -> None:
        """Finish files and connections; may be called twice."""
        writers = {id(one): one for one in (*self._writers.values(), self._only) if one is not None}.values()
        for writer in writers:
            if isinstance(writer, OverlayPublisher):
                writer.leave()  # all at once: each may take a second
        with ExitStack() as stack:
            for writer in writers:
                stack.callback(writer.close)

    def __enter__(self) -> "Overlay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self, target: str) -> Writer:
        if is_network(target):
            return OverlayPublisher(target, hides_faces=self._hides_faces, gpu=self._gpu)
        return OverlayWriter(Path(target), hides_faces=self._hides_faces)

    def _name(self, source: str) -> str:
        """The feed's name as part of an address or a file's name, unlike any other feed's."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", source).strip("-.") or "feed"
        name, number = plain, 2
        while name in self._names:
            name, number = f"{plain}-{number}", number + 1
        self._names.add(name)
        return name


def is_network(target: str) -> bool:
    return "://" in target


def refuse_unknown(target: str) -> None:
    """Refuse an address of which nothing is known.

    Raises:
        UsageError: names the schemes that are.
    """
    scheme, is_address, rest = target.partition("://")
    known = ", ".join(f"{one}://" for one in FORMATS)
    if is_address and scheme.lower() not in FORMATS:
        raise UsageError(
            f"--overlay: {redact(scheme)}:// is not known here; expected {known} or a file such as out.mp4"
        )
    if is_address and not rest.strip("/"):
        raise UsageError(f"--overlay: {redact(target, target)} names no host; write such as rtsp://host/live")
