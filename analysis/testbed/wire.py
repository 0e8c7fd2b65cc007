"""Messages of tensors over a socket, and a link that is as slow as it is told to be.

A message is a line of JSON (what it is, and name, type and shape of its tensors) after its length,
then the tensors' bytes; nothing that is received is ever run. `Wire` shapes what it sends: a message
occupies the link for its bytes / rate and then travels for the latency while the next may follow, as
`clock.network` has it. The waiting is done by the sender, before the bytes are handed to the socket.
"""

from __future__ import annotations

import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sflsim.errors import SflsimError

LENGTHS = struct.Struct("!II")
TYPES = {"float32": torch.float32, "int64": torch.int64}
HEAD_BYTES = 1 << 20
BODY_BYTES = 1 << 31
GONE = "the other side has closed the connection"


@dataclass(frozen=True)
class Message:
    """What came in: its kind, its tensors and plain fields, and when its sending began (s, monotonic)."""

    kind: str
    tensors: dict[str, Tensor]
    fields: dict[str, Any]
    size_bytes: int
    start_s: float
    end_s: float


class Wire:
    """One end of a connection; sends at `bytes_per_s` with `latency_s`, at full speed by default."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._reader = connection.makefile("rb")
        self._waiting: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
        self._free_at_s = 0.0
        self.bytes_per_s = float("inf")
        self.latency_s = 0.0
        self._sender = threading.Thread(target=self._send_waiting, daemon=True)
        self._sender.start()

    def send(self, kind: str, tensors: Mapping[str, Tensor] | None = None, **fields: Any) -> None:
        """Send a message and return at once; it is handed over when the link has let it through."""
        tensors = {name: tensor.detach().contiguous() for name, tensor in (tensors or {}).items()}
        described = [
            (name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape))
            for name, tensor in tensors.items()
        ]
        body = b"".join(tensor.numpy().tobytes() for tensor in tensors.values())
        start_s = max(time.monotonic(), self._free_at_s)
        head = {"kind": kind, "tensors": described, "fields": fields, "start_s": start_s}
        text = json.dumps(head).encode()
        message = LENGTHS.pack(len(text), len(body)) + text + body
        self._free_at_s = start_s + len(message) / self.bytes_per_s
        self._waiting.put((self._free_at_s + self.latency_s, message))

    def receive(self, kind: str = "") -> Message:
        """Wait for the next message; it must be of this kind, if one is given.

        Raises:
            SflsimError: the other side has gone, or sends something else.
        """
        text_bytes, body_bytes = LENGTHS.unpack(self._read(LENGTHS.size))
        if text_bytes > HEAD_BYTES or body_bytes > BODY_BYTES:
            raise SflsimError("testbed: what came in is no message of a testbed")
        head = json.loads(self._read(text_bytes))
        tensors = _tensors(head["tensors"], self._read(body_bytes))
        if kind and head["kind"] != kind:
            raise SflsimError(f"testbed: expected {kind!r}, got {head['kind']!r}")
        size = LENGTHS.size + text_bytes + body_bytes
        return Message(head["kind"], tensors, head["fields"], size, head["start_s"], time.monotonic())

    def flush(self) -> None:
        """Wait until all that was sent has arrived."""
        time.sleep(max(0.0, self._free_at_s + self.latency_s - time.monotonic()))

    def close(self) -> None:
        """Send what still waits, then close."""
        self._waiting.put(None)
        self._sender.join()
        self._reader.close()
        self._socket.close()

    def _read(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise SflsimError(f"testbed: {GONE}")
        return data

    def _send_waiting(self) -> None:
        """Hand each message to the socket at its time; the latency is equal for all, so order stays."""
        while (entry := self._waiting.get()) is not None:
            at_s, message = entry
            time.sleep(max(0.0, at_s - time.monotonic()))
            try:
                self._socket.sendall(message)
            except OSError:
                return  # the reader of this wire finds out and says so


def _tensors(described: list[tuple[str, str, list[int]]], body: bytes) -> dict[str, Tensor]:
    """Return the tensors that a message's header describes, from its bytes."""
    found, offset, data = {}, 0, bytearray(body)
    for name, type_name, shape in described:
        if type_name not in TYPES:
            raise SflsimError(f"testbed: a tensor of type {type_name!r}; allowed: {', '.join(TYPES)}")
        dtype = TYPES[type_name]
        count = int(torch.Size(shape).numel())
        if count:
            found[name] = torch.frombuffer(data, dtype=dtype, count=count, offset=offset).view(shape)
        else:
            found[name] = torch.empty(shape, dtype=dtype)
        offset += count * dtype.itemsize
    return found
