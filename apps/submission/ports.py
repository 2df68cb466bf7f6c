"""What a device is connected by: a serial port or pseudo-terminal, or TCP."""

from __future__ import annotations

import re
import select
import socket

from common import UserError


class SerialPort:
    """A serial port or pseudo-terminal."""

    def __init__(self, name: str, baud: int, write_seconds: float) -> None:
        import serial

        self.name = name
        self._port = serial.Serial(name, baud, timeout=0.05, write_timeout=write_seconds)

    def read(self) -> bytes:
        """What is there; b"" after a twentieth of a second of silence."""
        return self._port.read(self._port.in_waiting or 1)

    def write(self, content: bytes) -> None:
        """Send all of it."""
        self._port.write(content)

    def close(self) -> None:
        """Give the port back."""
        self._port.close()


class TcpPort:
    """A TCP connection, `tcp:host:port`."""

    def __init__(self, name: str, write_seconds: float) -> None:
        self.name = name
        match = re.fullmatch(r"(?:tcp:|socket://)(.+):(\d{1,5})", name)
        if not match or int(match[2]) > 65535:
            raise UserError(f"{name}: not tcp:host:port")
        self._socket = socket.create_connection((match[1], int(match[2])), write_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> bytes:
        """See `SerialPort.read`."""
        if not select.select([self._socket], [], [], 0.05)[0]:
            return b""
        content = self._socket.recv(4096)
        if not content:
            raise OSError("the other end closed the connection")
        return content

    def write(self, content: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(content)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
