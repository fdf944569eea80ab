"""Frames that share a message: on the wire a message costs more than a small frame."""

from typing import Final, Generic, Protocol, TypeVar


class Sized(Protocol):
    """What a frame has to tell."""

    def ByteSize(self) -> int:  # noqa: N802
        """Return the bytes that it takes on the wire."""
        ...


F = TypeVar("F", bound=Sized)

_FULL: Final = 256 * 1024


class Bundle(Generic[F]):
    """Frames that wait to be sent together."""

    def __init__(self) -> None:
        self._frames: list[F] = []
        self._size = 0

    def add(self, *frames: F) -> None:
        """Let frames wait."""
        self._frames += frames
        self._size += sum(frame.ByteSize() for frame in frames)

    @property
    def full(self) -> bool:
        """Whether what waits is worth a message of its own."""
        return self._size >= _FULL

    def take(self) -> list[F]:
        """Return what waits, in order, and start again."""
        frames, self._frames, self._size = self._frames, [], 0
        return frames
