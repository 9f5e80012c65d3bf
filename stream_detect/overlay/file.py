"""Drawn frames as a video file."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from stream_detect.decode.frame import Frame
from stream_detect.errors import OutputError
from stream_detect.overlay.drawing import drawn, whole
from stream_detect.overlay.encoding import TICKS, even, picture_of
from stream_detect.privacy import FaceHider
from stream_detect.types import FrameVerdict

CODEC_OPTIONS = {"preset": "veryfast", "crf": "20", "g": "50", "bf": "0"}  # B-frames would shift a fragmented .mp4
FRAGMENTS = {"movflags": "+hybrid_fragmented"}  # an .mp4 that is cut off in the middle still plays


class OverlayWriter:
    """Writes drawn frames as a video with the times of the source; close it, or use it in a `with`.

    The first frame says how large the video is; later ones of another size are fitted to it. With `hides_faces` nobody
    is recognised in it.

    Raises:
        OutputError: at once, if the file can't be written or has an ending that no video has.
    """

    def __init__(self, path: Path, *, hides_faces: bool = False) -> None:
        self._path = path
        self._hider = FaceHider() if hides_faces else None
        self._stream: VideoStream | None = None
        self._last_tick = -1
        try:
            path.open("wb").close()  # FFmpeg would only try with the first frame
            options = FRAGMENTS if path.suffix.lower() in (".mp4", ".mov", ".m4v") else {}
            self._container: OutputContainer | None = av.open(str(path), "w", container_options=options)
        except (av.FFmpegError, ValueError, OSError) as error:
            hint = "its folder does not exist" if not path.parent.is_dir() else "name a file such as out.mp4"
            raise OutputError(f"{path}: can't be written as a video ({hint})") from error

    def write(self, frame: Frame, verdict: FrameVerdict) -> None:
        """Draw and write one frame; where faces are hidden, that of a moment ago.

        Raises:
            OutputError: if it can't be written, such as on a full disk.
        """
        if self._container is None:
            return
        rgb = whole(frame)
        for shown, said in self._hider.take(rgb, verdict) if self._hider else [(rgb, verdict)]:
            self._write(self._container, drawn(shown, said), said.pts_s)

    def close(self) -> None:
        """Finish the file; may be called twice. A video without a frame is left out.

        Raises:
            OutputError: if its last frames can't be written.
        """
        container, self._container = self._container, None
        if container is None:
            return
        with container:
            for shown, said in self._hider.rest() if self._hider else []:
                self._write(container, drawn(shown, said), said.pts_s)
            if self._stream is not None:
                container.mux(self._stream.encode(None))
        if self._stream is None:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> "OverlayWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, container: OutputContainer, rgb: np.ndarray, pts_s: float) -> None:
        try:
            stream = self._stream or self._start(container, rgb)
            self._last_tick = max(self._last_tick + 1, round(pts_s * TICKS))
            container.mux(stream.encode(picture_of(rgb, (stream.height, stream.width), self._last_tick)))
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"{self._path}: can't be written any more ({error.strerror})") from error

    def _start(self, container: OutputContainer, rgb: np.ndarray) -> VideoStream:
        stream = container.add_stream("libx264", rate=25, options=CODEC_OPTIONS)
        stream.height, stream.width = even(rgb)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        self._stream = stream
        return stream
