"""Many subscribers in one process, which can be stopped: `subscribers.py TRANSPORT COUNT HOST:PORT CHANNEL`.

Each message is a number that is one more than the one before, then filling; the last one says so. Prints `ready` when all
subscribe, and at the end a line of JSON: how many had each message, how many were told gaps, how many were closed with
4008. A message that is missing without a word, comes twice or out of order ends it with an exit status of 1.
"""

import json
import selectors
import socket
import struct
import sys
import time

DEADLINE_S = 60
HEAD = "GET /channel/{channel}{query} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Subscriber:
    """What one has received, whatever the transport."""

    def __init__(self, address, channel):
        self.channel = channel
        self.stream = socket.socket()
        # Little, so that the server soon notices that nobody reads.
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.stream.connect(address)
        self.buffer = b""
        self.number = None
        self.gaps = 0
        # Messages that a gap has said are lost; `None` for a gap that does not say how many.
        self.excused = 0
        self.is_ready = False
        self.ended = None
        self.ask()

    def send_head(self, query="", fields=""):
        self.stream.sendall(HEAD.format(channel=self.channel, query=query, fields=fields).encode())

    def receive(self):
        received = self.stream.recv(1 << 16)
        if not received:
            raise AssertionError(f"the connection ends after {self.number}")
        self.buffer += received
        while self.ended is None and self.take():
            pass

    def take_head(self):
        """The head of an answer, once it is whole."""
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        self.buffer = rest
        status = head.split(b" ")[1]
        assert status in (b"101", b"200"), head
        self.is_ready = True
        return head.decode()

    def message(self, data):
        number = int(data[:8])
        if self.number is not None:
            missed = number - self.number - 1
            assert missed == self.excused or self.excused is None and missed >= 0, (
                f"{self.channel}: {number} after {self.number}, and a gap of {self.excused} was told"
            )
        self.number, self.excused = number, 0
        if data[8:12] == "last":
            self.ended = "complete"

    def gap(self, missed):
        self.gaps += 1
        self.excused = missed

    def gap_between(self, gap):
        first, last = (int(gap[end].rsplit("-", 1)[1]) for end in ("from", "to"))
        self.gap(last - first)


class RawWebSocket(Subscriber):
    def ask(self):
        self.send_head(fields=UPGRADE)

    def take(self):
        if not self.is_ready:
            return self.take_head() is not None
        if len(self.buffer) < 2:
            return False
        opcode, length, start = self.buffer[0] & 15, self.buffer[1], 2
        if length == 126:
            if len(self.buffer) < 4:
                return False
            length, start = struct.unpack(">H", self.buffer[2:4])[0], 4
        payload = self.buffer[start : start + length]
        if len(payload) < length:
            return False
        self.buffer = self.buffer[start + length :]
        if opcode == 9:
            self.stream.sendall(bytes([0x8A, 0x80 | length, 0, 0, 0, 0]) + payload)
        elif opcode == 8:
            code = struct.unpack(">H", payload[:2])[0]
            assert code == 4008, f"closed with {code}: {payload[2:]}"
            self.gaps += 1
            self.ended = "closed"
        else:
            self.payload(payload.decode())
        return True

    def payload(self, text):
        self.message(text)


class Commands(RawWebSocket):
    def ask(self):
        self.send_head(fields=UPGRADE + "Sec-WebSocket-Protocol: redpoll.v1\r\n")

    def payload(self, text):
        said = json.loads(text)
        if "gap" in said:
            self.gap_between(said["gap"])
        elif "data" in said:
            self.message(said["data"])


class EventStream(Subscriber):
    def ask(self):
        self.send_head(fields="Accept: text/event-stream\r\n")

    def take(self):
        if not self.is_ready:
            return self.take_head() is not None
        event, end, rest = self.buffer.partition(b"\n\n")
        if not end:
            return False
        self.buffer = rest
        fields = dict(line.split(": ", 1) for line in event.decode().splitlines() if ": " in line[1:])
        if fields.get("event") == "gap":
            self.gap_between(json.loads(fields["data"])["gap"])
        elif "data" in fields:
            self.message(fields["data"])
        return True


class LongPoll(Subscriber):
    length = None

    def ask(self, since="latest", wait=0):
        self.send_head(query=f"?since={since}&wait={wait}")

    def take(self):
        if self.length is None:
            head = self.take_head()
            if head is None:
                return False
            self.length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        if len(self.buffer) < self.length:
            return False
        said = json.loads(self.buffer[: self.length])
        self.buffer, self.length = self.buffer[self.length :], None
        if said["gap"]:
            self.gap(None)
        for message in said["messages"]:
            self.message(message["data"])
        if self.ended is None:
            self.ask(said["cursor"], 25)
        return True


TRANSPORTS = {"raw": RawWebSocket, "redpoll.v1": Commands, "sse": EventStream, "long-poll": LongPoll}


def main(transport, count, address, channel):
    host, port = address.split(":")
    polled = selectors.DefaultSelector()
    subscribers = [TRANSPORTS[transport]((host, int(port)), channel) for _ in range(count)]
    for subscriber in subscribers:
        polled.register(subscriber.stream, selectors.EVENT_READ, subscriber)
    has_said, until = False, time.monotonic() + DEADLINE_S
    while waits := [subscriber for subscriber in subscribers if subscriber.ended is None]:
        assert time.monotonic() < until, f"{len(waits)} of {transport} still wait, one after {waits[0].number}"
        for key, _ in polled.select(1):
            key.data.receive()
            if key.data.ended:
                polled.unregister(key.fileobj)
        if not has_said and all(subscriber.is_ready for subscriber in subscribers):
            has_said = True
            print("ready", flush=True)
    ended = [subscriber.ended for subscriber in subscribers]
    told = sum(subscriber.gaps > 0 for subscriber in subscribers)
    print(json.dumps({"complete": ended.count("complete"), "closed": ended.count("closed"), "told_gaps": told}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
