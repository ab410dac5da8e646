"""Slow clients, and what a good one notices of them: `slow.py BINARY TURNS [ATTACK]`.

What does not depend on the machine is checked: every good request is answered, every message comes, the server goes on,
and the limit that is meant for an attack ends and counts each of its connections. Latencies are printed, without the
attack and under it, and only an absurd one fails.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time

from server import Server, wait_until

ABSURD_S = 2
MEASURE_S = 5
# From when all attackers are there: what they all begin with at once is not what is measured.
SETTLE_S = 2
# Nobody waits for so long: attackers are ended when the server is rid of them.
ATTACK_S = 60
FOLDER = os.path.dirname(os.path.abspath(__file__))
# Short, so that they bite while one waits; longer than it takes to measure.
OPTIONS = ["--head-timeout", "12s", "--ping", "12s", "--history", "1000", "--history-bytes", "256K"]


def slowhttptest(target, *options):
    command = ["slowhttptest", "-l", str(ATTACK_S), "-p", "3", *options]
    return lambda server, count: [*command, "-c", str(count), "-r", str(count), "-u", server.url + target]


def our_own(name):
    command = [sys.executable, f"{FOLDER}/attackers.py", name]
    return lambda server, count: [*command, server.address, str(count), str(ATTACK_S)]


NARROW = ["-w", "1", "-y", "512", "-n", "1", "-z", "5", "-k", "10"]
# Name: how many, the command, and what counts the connections that are ended.
ATTACKS = {
    "heads": (1000, slowhttptest("/", "-H", "-i", "1"), 'limit_reached_total{limit="head_time"}'),
    "contents": (1000, slowhttptest("/channel/a", "-B", "-i", "1"), 'limit_reached_total{limit="content_time"}'),
    "readers": (1000, slowhttptest("/channel/load?since=earliest", "-X", *NARROW), "connections_dropped_total"),
    "handshakes": (2000, our_own("handshakes"), 'limit_reached_total{limit="head_time"}'),
    "windows": (2000, our_own("windows"), "connections_dropped_total"),
}


def gets(server, seconds, latencies):
    """Asks for a small thing, a hundred times a second, on one connection."""
    client = http.client.HTTPConnection(server.address, timeout=30)
    begun = time.monotonic()
    for index in range(seconds * 100):
        due = begun + index / 100
        time.sleep(max(0, due - time.monotonic()))
        client.request("GET", "/healthz")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok\n"), "a good request is answered"
        # From when it was due, so that an answer that holds up the next ones counts for them too.
        latencies.append(time.monotonic() - due)


def measure(server, binary):
    """The 99th percentiles, in seconds, of a message to 20 WebSockets and of a GET."""
    latencies = []
    asking = threading.Thread(target=gets, args=(server, MEASURE_S, latencies))
    asking.start()
    command = [binary, "bench", "fanout", f"{server.url}/channel/load", "-n", "20", "--rate", "100", "--json"]
    bench = subprocess.run([*command, "--duration", f"{MEASURE_S}s"], capture_output=True, text=True)
    asking.join()
    assert bench.returncode == 0, f"every message comes, once and in order: {bench.stdout}{bench.stderr}"
    assert len(latencies) == MEASURE_S * 100, f"{len(latencies)} requests were answered"
    return json.loads(bench.stdout)["latency_us"]["p99"] / 1e6, sorted(latencies)[len(latencies) * 99 // 100]


def attacked(server, binary, attack):
    """What a good client measures under an attack, how many of its connections are ended, and the memory they take."""
    count, command, counter = ATTACKS[attack]
    enough = count * 95 // 100
    before, accepted = server.figure(counter), server.figure("connections_accepted_total")
    # What slow readers are not given for nothing.
    for _ in range(4):
        server.publish("load", b"x" * 60000)
    # With what the others leave of the processor, also where all of this has a real-time priority (chrt --rr 1), so that
    # a busy machine does not count: attackers have machines of their own.
    command = ["chrt", "--other", "0", "nice", "-n", "10", *command(server, count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as attackers:
        try:
            wait_until("they are there", lambda: server.figure("connections_accepted_total") - accepted >= enough)
            time.sleep(SETTLE_S)
            measured, peak = measure(server, binary), server.resident_bytes()
            wait_until(f"{counter} counts them", lambda: server.figure(counter) - before >= enough)
        finally:
            attackers.terminate()
        said, _ = attackers.communicate()
    assert "service available:   NO" not in said, said
    wait_until("nobody is left", lambda: server.figure("connections") <= 2)
    return measured, server.figure(counter) - before, peak


def main(binary, turns, only):
    for attack, (count, _, counter) in ATTACKS.items():
        if only not in (None, attack):
            continue
        ratios = []
        for turn in range(turns):
            with Server(binary, *OPTIONS) as server:
                without = measure(server, binary)
                under, ended, peak = attacked(server, binary, attack)
            ratios.append([after / before for before, after in zip(without, under)])
            shown = ", ".join(
                f"p99 of a {what} {before * 1e3:.2f} ms, {after * 1e3:.2f} ms under attack"
                for what, before, after in zip(["message", "GET"], without, under)
            )
            print(f"{attack}: {ended} of {count} ended by {counter}; {shown}; {peak >> 10} KB resident", flush=True)
            assert max(under) < ABSURD_S, "a good client waits for longer than any network takes"
        message, get = (statistics.median(ratio) for ratio in zip(*ratios))
        print(f"{attack}: the p99 is {message:.2f} (message) and {get:.2f} (GET) times what it is without", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
