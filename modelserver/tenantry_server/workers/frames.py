"""What front, zygote and workers say to each other: frames of a kind, a length and a body."""

import enum
import os
import signal
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tenantry_server.kernels.arrays import Buffer

HEAD = struct.Struct("<BQ")
KEY = struct.Struct("<Q")  # of a model in a worker
SHAPE = struct.Struct("<QII")  # key, rows, columns
PROGRESS = struct.Struct("<Q")  # the call that a worker makes, in a page that both see; 0: none
SHOW_STACK = signal.SIGUSR1  # makes a worker print where it is, whatever it does
MOST_BYTES = 1 << 30  # of one frame: a larger one is not an answer to anything that fits a request
_MOST_FDS = 8
FORK_SERVER_BYTES, FORK_SERVER_FDS = (
    128 << 10,
    4,
)  # the most of a message to it: the socket, the lifeline, and two outputs


@enum.unique
class Kind(enum.IntEnum):
    """Of a frame; who sends it, and what its body is."""

    LOAD = 1  # front: JSON of what to load, with two descriptors: the artifact, and room for a kernel
    ROWS = 2  # front: key and shape, then a float64 matrix
    PAYLOAD = 3  # front: key, then a pickled payload
    DROP = 4  # front: key; answered by nothing
    LOADED = 5  # worker: JSON of what became of the load
    ANSWER = 6  # worker: as `answers` writes it
    FAILED = 7  # worker: JSON of an error
    FORK = (
        8  # front to zygote: JSON of a number, with four descriptors: channel, output, lifeline, progress
    )
    FORKED = 9  # zygote: JSON of that number and the process id
    EXITED = 10  # zygote: JSON of the process id and the wait status
    IMPORTED = 11  # zygote: JSON of its process id and its reaper's; it has imported the libraries
    READ = 12  # front: a table's bytes and what to read of them, as `arrays` writes it
    WRITE = 13  # front: columns, the same
    PARSE = 15  # front: a large body and what form it has, as `arrays` writes it
    CHECK = 14  # front: JSON of a signature, the digest that it should sign, and who is trusted
    LOAD_MANY = 16  # front: what to load, and the artifacts, as `arrays` writes it; LOADED has kernels so


_FDS = {Kind.LOAD: 2, Kind.FORK: 4}  # how many descriptors come with a frame
_AT_ONCE_BYTES = 256 << 10


class ChannelClosed(Exception):
    """The other end is gone."""


class BlockingChannel:
    """Frames over a socket, in a process that does nothing else meanwhile.

    Args:
        channel: blocking; closed by nobody else.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._socket = channel
        self._read = bytearray()
        self._fds: list[int] = []

    def waits(self) -> bool:
        """Return whether the next frame has arrived whole, as far as was read."""
        if len(self._read) < HEAD.size:
            return False
        length: int = HEAD.unpack_from(self._read)[1]
        return len(self._read) >= HEAD.size + length

    def receive(self) -> tuple[Kind, bytearray, list[int]]:
        """Wait for a frame; return its kind, its body and the descriptors that came with it.

        Raises:
            ChannelClosed: the other end is gone.
        """
        while not self.waits():
            try:
                data, fds, _, _ = socket.recv_fds(self._socket, _AT_ONCE_BYTES, _MOST_FDS)
            except ConnectionResetError:  # it ended, and had not read all
                raise ChannelClosed from None
            if not data:
                raise ChannelClosed
            self._read += data
            self._fds += fds
        kind, length = HEAD.unpack_from(self._read)
        body = self._read[HEAD.size : HEAD.size + length]
        del self._read[: HEAD.size + length]
        count = _FDS.get(kind, 0)  # those of the next frame may have come with the end of this one
        fds, self._fds = self._fds[:count], self._fds[count:]
        return Kind(kind), body, fds

    def send(self, frames: Sequence[tuple[Kind, Sequence[Buffer]]]) -> None:
        """Send frames whole.

        Raises:
            ChannelClosed: the other end is gone.
        """
        parts: list[Buffer] = []
        for kind, buffers in frames:
            parts += (HEAD.pack(kind, sum(len(each) for each in buffers)), *buffers)
        try:
            self._socket.sendall(b"".join(parts))
        except OSError:
            raise ChannelClosed from None


def memory_file(name: str, buffers: Sequence[Buffer] = ()) -> int:
    """Return the descriptor of a file that lives in memory, with these contents."""
    fd = os.memfd_create(name)
    try:
        write_all(fd, buffers)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_all(fd: int, buffers: Sequence[Buffer]) -> int:
    """Write buffers to a file; return their length in bytes."""
    total = 0
    for buffer in buffers:
        view = memoryview(buffer)
        while view:
            written = os.write(fd, view)
            total += written
            view = view[written:]
    return total


def read_all(fd: int) -> bytes:
    """Read a file from its beginning; its writer may go on, which changes nothing that was read."""
    size = os.fstat(fd).st_size
    parts = []
    at = 0
    while at < size:
        part = os.pread(fd, size - at, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def exchange(data: bytes) -> Iterator[tuple[int, int]]:
    """Open a file that holds an artifact, and one with room for what a worker writes; in memory, both."""
    artifact = memory_file("artifact", [data])
    del data  # a large one is in memory once
    room = memory_file("room")
    try:
        yield artifact, room
    finally:
        os.close(artifact)
        os.close(room)
