"""Redpoll's WebSocket with Python's `websockets`.

`clients.py BINARY` runs the checks. `clients.py --peer URL COMPRESSION` is a client for the other driver: it sends each
line of its input, and prints what it negotiated and then each message, all in Base64, with a T or a B before it.
"""

import base64
import random
import re
import signal
import subprocess
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

MESSAGE_BYTES_MAX = 1 << 20
SIZES = [0, 125, 126, 65535, 65536, MESSAGE_BYTES_MAX]
LIMIT_S = 20
counts = {True: 0, False: 0}


def check(holds, what, detail=""):
    """One check, one line."""
    counts[bool(holds)] += 1
    print(f"ok {what}" if holds else f"FAILED {what}: {detail}", flush=True)


def check_equal(actual, expected, what):
    check(actual == expected, what, f"expected {expected!r:.200}, got {actual!r:.200}")


class Server:
    """A running server."""

    def __init__(self, binary, *options):
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--log", "warn", "--echo", "--max-message", "1M", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = []
        for line in self.process.stdout:
            said.append(line)
            if address := re.search(r"http://(127\.0\.0\.1:\d+)", line):
                self.address = address[1]
                return
        raise RuntimeError(f"exit status {self.process.wait()}; it said: {''.join(said)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            check_equal(self.process.wait(LIMIT_S), 0, "python: the server ends with 0")
        finally:
            self.process.kill()

    def open(self, path="/echo", **options):
        return connect(f"ws://{self.address}{path}", max_size=None, proxy=None, ping_interval=None, **options)

    def peak_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) << 10


def text_of(size):
    """Characters of one to four bytes, which deflate well; exactly `size` bytes."""
    pattern = "tea ü 茶 🫖 "
    text = pattern * (size // len(pattern.encode()))
    return text + "." * (size - len(text.encode()))


def binary_of(size):
    """Bytes that do not deflate: compressed, they are longer than before."""
    return random.Random(size).randbytes(size)


def close_of(websocket, act=lambda: None):
    """What the server closes with, having been given a reason to."""
    try:
        act()
        while True:
            websocket.recv(LIMIT_S)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, repr(closed.__cause__))
    except OSError as error:
        return 1006, repr(error)


def negotiated(websocket):
    """Who forgets its window after each message (server, client), and the windows' bits."""
    return [
        (one.remote_no_context_takeover, one.local_no_context_takeover, one.remote_max_window_bits, one.local_max_window_bits)
        for one in websocket.protocol.extensions
    ]


def sizes(websocket, who):
    for size in SIZES:
        for kind, message in [("a text", text_of(size)), ("a binary", binary_of(size))]:
            websocket.send(message)
            check_equal(websocket.recv(LIMIT_S), message, f"{who}: {kind} of {size} bytes comes back as it was")


def fragments(websocket, who):
    def with_pings(pieces):
        for piece in pieces:
            pongs.append(websocket.ping())
            yield piece

    for size, piece in [(0, 1), (126, 1), (65536, 1000), (MESSAGE_BYTES_MAX, 65536)]:
        for text, data in [(True, text_of(size).encode()), (False, binary_of(size))]:
            pongs = []
            pieces = [b"", *(data[at:at + piece] for at in range(0, size, piece)), b""]
            websocket.send(with_pings(pieces), text=text)
            what = f"{who}: {'a text' if text else 'a binary'} of {size} bytes in {len(pieces) + 1} fragments comes back whole"
            check_equal(websocket.recv(LIMIT_S), data.decode() if text else data, what)
            if not all(pong.wait(LIMIT_S) for pong in pongs):
                check(False, f"{who}: each ping between two fragments has its pong")


def small_fragments(server, who, **options):
    """Compressed, each fragment is a few bytes longer, so that together they are more than the message."""
    data = binary_of(MESSAGE_BYTES_MAX)
    with server.open(**options) as websocket:
        try:
            websocket.send(data[at:at + 100] for at in range(0, len(data), 100))
            answer = websocket.recv(LIMIT_S)
        except ConnectionClosed as closed:
            answer = closed.rcvd
    check_equal(answer, data, f"{who}: the largest binary in fragments of 100 bytes comes back whole")


def pings(websocket, who):
    for payload in [b"", b"tea", bytes(125)]:
        check(websocket.ping(payload).wait(LIMIT_S), f"{who}: a ping of {len(payload)} bytes has its pong")


def closes_by_client(server, who, **options):
    for code, reason in [(1000, ""), (1000, "done"), (3000, "ü" * 61), (4999, "x" * 123)]:
        with server.open(**options) as websocket:
            websocket.close(code, reason)
            closed = websocket.protocol.close_rcvd
            what = f"{who}: a close with {code} and {len(reason.encode())} bytes of reason is answered with {code}"
            check_equal(closed and closed.code, code, what)


def frame(first, payload=b""):
    """A short frame as no well-behaved client sends it; masked with zeros."""
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


def closes_by_server(server, who, compressed, **options):
    too_large = MESSAGE_BYTES_MAX + 1
    for what, code, act in [
        ("a text that is too large", 1009, lambda ws: ws.send(text_of(too_large))),
        ("a binary that is too large", 1009, lambda ws: ws.send(binary_of(too_large))),
        ("fragments that are too large together", 1009, lambda ws: ws.send(binary_of(65536) for _ in range(17))),
        ("a text that is not UTF-8", 1007, lambda ws: ws.send(b"tea \xff", text=True)),
        ("a text that is not UTF-8 in its second fragment", 1007, lambda ws: ws.send([b"\xe8\x8c", b"tea"], text=True)),
        ("a close with 1005", 1002, lambda ws: ws.socket.sendall(frame(0x88, b"\x03\xed"))),
        ("a frame without a mask", 1002, lambda ws: ws.socket.sendall(b"\x81\x03tea")),
        ("RSV1 on a ping", 1002, lambda ws: ws.socket.sendall(frame(0xC9))),
        ("RSV1 on a continuation", 1002, lambda ws: ws.socket.sendall(frame(0x01) + frame(0xC0))),
    ] + ([] if compressed else [("RSV1", 1002, lambda ws: ws.socket.sendall(frame(0xC1)))]):
        with server.open(**options) as websocket:
            closed = close_of(websocket, lambda: act(websocket))
            check(closed[0] == code and closed[1], f"{who}: {what} is closed with {code} and a reason", closed)
    with server.open("/channel/x?since=00000000-7", **options) as websocket:
        closed = close_of(websocket)
        check(closed[0] == 4008 and "lost" in closed[1], f"{who}: a position that is not kept any more is closed with 4008", closed)


def offers(server):
    """What each offer is answered with."""
    bits = lambda server_bits, client_bits: {"server_max_window_bits": server_bits, "client_max_window_bits": client_bits}
    for what, offer, expected in [
        ("nothing", {"client_max_window_bits": None}, [(True, True, 15, 15)]),
        ("both without context", {"server_no_context_takeover": True, "client_no_context_takeover": True}, [(True, True, 15, 15)]),
        ("a server window of 15 bits", bits(15, True), [(True, True, 15, 15)]),
        ("a server window of 14 bits", bits(14, True), [(True, True, 9, 15)]),
        ("a server window of 9 bits", bits(9, None), [(True, True, 9, 15)]),
        ("a server window of 8 bits", bits(8, True), []),
    ]:
        with server.open(compression=None, extensions=[ClientPerMessageDeflateFactory(**offer)]) as websocket:
            check_equal(negotiated(websocket), expected, f"python: an offer that asks for {what} is answered with what it allows")
            websocket.send(text_of(65536))
            check_equal(websocket.recv(LIMIT_S), text_of(65536), f"python: and what comes keeps to it: {what}")
    with server.open(extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=9)]) as websocket:
        check(negotiated(websocket)[0][3] == 9, "python: a client keeps to its window of 9 bits", negotiated(websocket))
    with server.open(compression=None, extensions=[
        ClientPerMessageDeflateFactory(server_max_window_bits=8), ClientPerMessageDeflateFactory(),
    ]) as websocket:
        check_equal(negotiated(websocket), [(True, True, 15, 15)], "python: the second offer is taken where the first cannot be")


def bomb(server):
    before = server.peak_bytes()
    with server.open() as websocket:
        closed = close_of(websocket, lambda: websocket.send(bytes(64 << 20)))
    check_equal(closed[0], 1009, "python: 64 MB of zeros in a small message are closed with 1009")
    grown = server.peak_bytes() - before
    check(grown < 8 << 20, "python: and cost no memory", f"{grown} bytes more")
    with server.open() as websocket:
        closed = close_of(websocket, lambda: websocket.socket.sendall(frame(0xC1, b"\xff\xff\xff")))
    check(closed[0] in (1002, 1007) and closed[1], "python: what cannot be inflated is closed with a code and a reason", closed)


def main(binary):
    for how, options, compression in [
        ("compression on", [], "deflate"),
        ("--deflate-from 0", ["--deflate-from", "0"], "deflate"),
        ("compression off", [], None),
        ("--deflate off", ["--deflate", "off"], "deflate"),
    ]:
        with Server(binary, *options) as server:
            who, compressed = f"python, {how}", compression is not None and how != "--deflate off"
            with server.open(compression=compression) as websocket:
                expected = [(True, True, 15, 15)] if compressed else []
                check_equal(negotiated(websocket), expected, f"{who}: the extension is {'agreed' if compressed else 'absent'}")
                sizes(websocket, who)
                fragments(websocket, who)
                pings(websocket, who)
            small_fragments(server, who, compression=compression)
            closes_by_client(server, who, compression=compression)
            closes_by_server(server, who, compressed, compression=compression)
            if how == "compression on":
                offers(server)
                bomb(server)
            with server.open(compression=compression) as websocket:
                ending = lambda: server.process.send_signal(signal.SIGTERM)
                check_equal(close_of(websocket, ending), (1001, "the server is ending"), f"{who}: SIGTERM closes with 1001 and says why")


def peer(url, compression):
    with connect(url, max_size=None, proxy=None, compression="deflate" if compression == "on" else None) as websocket:
        print(len(websocket.protocol.extensions), flush=True)
        threading.Thread(target=send_lines, args=[websocket], daemon=True).start()
        for message in websocket:
            kind, data = ("T", message.encode()) if isinstance(message, str) else ("B", message)
            print(kind + base64.b64encode(data).decode(), flush=True)


def send_lines(websocket):
    for line in sys.stdin:
        websocket.send(base64.b64decode(line[1:]), text=line[0] == "T")
    websocket.close()


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        peer(*sys.argv[2:])
    else:
        try:
            main(sys.argv[1])
        except Exception as error:
            check(False, "python: the test ran to its end", repr(error))
        print(f"{counts[True]} passed, {counts[False]} failed", flush=True)
        sys.exit(1 if counts[False] else 0)
