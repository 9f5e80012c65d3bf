"""What happens when a GPU fails while it is used: one line, and everything goes on on the CPU."""

from collections.abc import Callable, Sequence
from typing import TypeVar, final

from stream_detect.decode.frame import Frame
from stream_detect.errors import DeviceLost
from stream_detect.examiner import Examined, Examiner, Seen
from stream_detect.types import Face

T = TypeVar("T")


@final
class FallbackExaminer:
    """One examiner until its device is lost, then another one; an `Examiner`.

    Args:
        primary: that raises `DeviceLost` when its device fails.
        make_secondary: the other one, made when it is needed.
        on_fall: hears once why.
    """

    def __init__(
        self, primary: Examiner, make_secondary: Callable[[], Examiner], on_fall: Callable[[str], None]
    ) -> None:
        self._examiner = primary
        self._make_secondary: Callable[[], Examiner] | None = make_secondary
        self._on_fall = on_fall

    @property
    def decode_device(self) -> str:
        """Where the frames it looks at are best decoded."""
        device: str = getattr(self._examiner, "decode_device", "cpu")
        return device

    def find_faces(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]:
        """As the examiner that is in use.

        Raises:
            DeviceLost: if frames lie on the lost device and no longer come from there: leave them out.
        """
        return self._done(
            lambda: self._examiner.find_faces(frames, max_side),
            lambda: self._examiner.find_faces([frame.on_host() for frame in frames], max_side),
        )

    def examine(self, seen: Seen) -> Examined:
        """As the examiner that is in use.

        Raises:
            DeviceLost: as `find_faces` has it.
        """
        return self._done(
            lambda: self._examiner.examine(seen),
            lambda: self._examiner.examine([(frame.on_host(), faces) for frame, faces in seen]),
        )

    def close(self) -> None:
        self._examiner.close()

    def _done(self, work: Callable[[], T], on_host: Callable[[], T]) -> T:
        if self._make_secondary is None:
            return on_host()
        try:
            return work()
        except DeviceLost as lost:
            self._fall(lost)
        return on_host()

    def _fall(self, lost: DeviceLost) -> None:
        make, self._make_secondary = self._make_secondary, None
        before = self._examiner
        self._examiner = make() if make is not None else before
        self._on_fall(f"{lost}; what follows is looked at on the CPU")
        before.close()
