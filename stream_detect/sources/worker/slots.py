"""Pictures in memory that two processes share: a worker fills slots, the main process frees them.

The memory begins with one byte a slot, 1 while the slot is taken; the slots follow, from the first page on. A slot is
free again when the last array over it is gone, wherever in the main process that was.
"""

import fcntl
import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PAGE = 4096
SLOTS = 8
MOST_SLOTS = 64
LARGEST_BYTES = 400 << 20  # of one slot: the largest picture that is decoded at all
FREE, TAKEN = 0, 1
HAS_SEALS = hasattr(os, "memfd_create")

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a slot holds: planes of uint8 of these shapes, one after the other."""

    shapes: Shapes
    slots: int = SLOTS

    @classmethod
    def checked(cls, shapes: Sequence[Sequence[int]], slots: int) -> "Layout":
        """The layout, as another process describes it.

        Raises:
            ValueError: if it can't be meant.
        """
        whole = tuple(tuple(int(side) for side in shape) for shape in shapes)
        is_meant = 1 <= len(whole) <= 4 and all(1 <= len(shape) <= 3 and min(shape) > 0 for shape in whole)
        layout = cls(whole, int(slots))
        if not is_meant or not 1 <= layout.slots <= MOST_SLOTS or layout.slot_bytes > LARGEST_BYTES:
            raise ValueError(f"no layout of pictures: {shapes} in {slots} slots")
        return layout

    @property
    def slot_bytes(self) -> int:
        """Of one slot, in whole pages."""
        return -(-sum(math.prod(shape) for shape in self.shapes) // PAGE) * PAGE

    @property
    def num_bytes(self) -> int:
        return PAGE + self.slots * self.slot_bytes

    def planes(self, slot: np.ndarray) -> tuple[np.ndarray, ...]:
        """Views of the planes in the bytes of one slot."""
        planes, start = [], 0
        for shape in self.shapes:
            end = start + math.prod(shape)
            planes.append(slot[start:end].reshape(shape))
            start = end
        return tuple(planes)


class SlotWriter:
    """The worker's side: makes the memory. `file` is its descriptor, to be sent once; `close` may be called twice."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.file = _memory(layout.num_bytes)
        self._memory = mmap.mmap(self.file, layout.num_bytes)
        self._bytes = np.frombuffer(self._memory, np.uint8)

    def put(self, planes: Sequence[np.ndarray]) -> int | None:
        """Copy a picture into a free slot; returns its number, None if all are taken."""
        for number in range(self.layout.slots):
            if self._memory[number] == FREE:
                start = PAGE + number * self.layout.slot_bytes
                for view, plane in zip(self.layout.planes(self._bytes[start:]), planes, strict=True):
                    view[...] = plane
                self._memory[number] = TAKEN
                return number
        return None

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class SlotReader:
    """The main process's side. Arrays that it gave out stay good after `close`, also when the worker has died.

    `file` is mapped and stays whoever's it is.

    Raises:
        ValueError: if the file holds less than the layout needs.
    """

    def __init__(self, file: int, layout: Layout) -> None:
        self.layout = layout
        if os.fstat(file).st_size < layout.num_bytes or not _is_sealed(file):
            raise ValueError(f"{os.fstat(file).st_size} bytes of shared memory for {layout.num_bytes}, or not sealed")
        self._memory = mmap.mmap(file, layout.num_bytes)

    def take(self, number: int) -> tuple[np.ndarray, ...]:
        """The planes of a slot, not to be written to; the slot is free when the last array over it is gone.

        Where half of the slots are taken already, the planes are copied and the slot is free at once: whoever keeps
        many frames keeps copies.

        Raises:
            ValueError: if there is no such slot.
        """
        if not 0 <= number < self.layout.slots:
            raise ValueError(f"slot {number} of {self.layout.slots}")
        start = PAGE + number * self.layout.slot_bytes
        root = np.frombuffer(self._memory, np.uint8, self.layout.slot_bytes, start)
        if sum(self._memory[: self.layout.slots]) > self.layout.slots // 2:  # somebody keeps frames
            planes = tuple(plane.copy() for plane in self.layout.planes(root))
            _free(self._memory, number)
            return planes
        root.flags.writeable = False
        weakref.finalize(root, _free, self._memory, number).atexit = False
        return self.layout.planes(root)


def _free(memory: mmap.mmap, number: int) -> None:
    memory[number] = FREE


def _is_sealed(file: int) -> bool:
    """Whether nobody can shrink it: reading beyond the end of a file would end this process."""
    return not HAS_SEALS or bool(fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)


def _memory(num_bytes: int) -> int:
    """A file descriptor of so much memory without a name.

    A memory file is sealed against shrinking, so that nobody can take away what another maps.
    """
    if HAS_SEALS:
        file = os.memfd_create("stream-detect", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(file, num_bytes)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        return file
    with tempfile.TemporaryFile() as kept:
        kept.truncate(num_bytes)
        return os.dup(kept.fileno())
