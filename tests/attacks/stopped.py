"""Subscribers that stop for a while and go on: `stopped.py BINARY`.

A thousand connections, of four transports, to a channel that keeps all that is said meanwhile and to one that does not.
Their processes get SIGSTOP, and ten seconds later SIGCONT, while both channels are published to. In the end each has
every message, or was told what it missed.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time

from server import Server

FOLDER = os.path.dirname(os.path.abspath(__file__))
COUNT = 125
RATE = 10
FILLING = "x" * 3000
TRANSPORTS = ["raw", "redpoll.v1", "sse", "long-poll"]
# One keeps two seconds of what is published, the other one all of it.
OPTIONS = ["--history", "few*=20", "--history", "all*=1000", "--history-bytes", "8M"]


class Publisher:
    def __init__(self, server):
        self.client = http.client.HTTPConnection(server.address, timeout=10)
        self.number = 0
        self.longest_s = 0

    def publish(self, mark=""):
        self.number += 1
        for channel in ("few", "all"):
            begun = time.monotonic()
            text = f"{self.number:08}{mark:4}{FILLING}"
            self.client.request("POST", f"/channel/{channel}", text, {"Content-Type": "text/plain"})
            answer = self.client.getresponse()
            said = answer.read()
            assert answer.status == 201, f"{answer.status} {said}"
            self.longest_s = max(self.longest_s, time.monotonic() - begun)

    def publish_for(self, seconds):
        begun = time.monotonic()
        for index in range(seconds * RATE):
            time.sleep(max(0, begun + index / RATE - time.monotonic()))
            self.publish()


def start(server, transport, channel):
    command = [sys.executable, f"{FOLDER}/subscribers.py", transport, str(COUNT), server.address, channel]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n", f"{transport} subscribes"
    return process


def main(binary):
    with Server(binary, *OPTIONS) as server:
        started = {(transport, channel): start(server, transport, channel) for transport in TRANSPORTS for channel in ("few", "all")}
        try:
            publisher = Publisher(server)
            publisher.publish_for(3)
            [process.send_signal(signal.SIGSTOP) for process in started.values()]
            publisher.publish_for(10)
            stopped_kb = server.resident_bytes() >> 10
            [process.send_signal(signal.SIGCONT) for process in started.values()]
            publisher.publish_for(3)
            publisher.publish("last")
            ended = {key: process.communicate(timeout=60)[0] for key, process in started.items()}
        finally:
            [process.kill() for process in started.values()]
        gaps = server.figure("gaps_total")
    for (transport, channel), said in ended.items():
        status = started[transport, channel].returncode
        assert status == 0, f"{transport} on {channel}: exit status {status}"
        result = json.loads(said)
        print(f"{transport} on a channel that keeps {channel}: {said.strip()}")
        assert result["complete"] + result["closed"] == COUNT, result
        assert (result["told_gaps"] > 0) == (channel == "few"), "only who missed something is told so"
        assert (result["closed"] > 0) == ((transport, channel) == ("raw", "few")), "4008 is for raw ones alone"
    print(
        f"{COUNT * len(started)} subscribers, stopped for 10 s, have every message or were told; {gaps} gaps; the longest "
        f"POST took {publisher.longest_s * 1e3:.1f} ms; {stopped_kb} KB resident while they were stopped"
    )


if __name__ == "__main__":
    main(sys.argv[1])
