"""The server that is attacked, and what it says of itself."""

import re
import subprocess
import time
import urllib.request

DEADLINE_S = 60


class Server:
    def __init__(self, binary, *options):
        command = [binary, "--listen", "127.0.0.1:0", "--log", "error", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = re.search(r"http://(\S+)", self.process.stdout.readline())[1]
        self.url = f"http://{self.address}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            status = self.process.wait(DEADLINE_S)
            assert status == 0, f"the server ended with {status}"
        finally:
            self.process.kill()

    def publish(self, channel, data):
        request = urllib.request.Request(f"{self.url}/channel/{channel}", data, {"Content-Type": "text/plain"})
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status

    def figure(self, name):
        """A figure of /metrics: `connections`, or `limit_reached_total{limit="head_time"}`."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=DEADLINE_S) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"redpoll_{name} "):
                    return int(line.rsplit(" ", 1)[1])
        raise KeyError(name)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) << 10


def wait_until(what, is_so, deadline_s=DEADLINE_S):
    until = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.1)
