"""The load of compare-tools: processes that know what they sent and received, and a capture of the wire.

This file is also the program that each of those processes runs.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

NAME = f"nacmp{os.getpid()}"
HERE, THERE = NAME + "a", NAME + "b"
LINK = "cmp0"
SERVERS = [f"10.99.7.{n}" for n in (2, 3, 4)] + [f"fd99:7::{n}" for n in (2, 3)]
PORT = 7007
SHORT = 40

# Capture tools look for the process once a second: how long the processes with long lives stay.
LONG = 6


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def receive(one, size):
    left = size
    while left:
        data = one.recv(min(left, 65536))
        assert data, "the stream ended early"
        left -= len(data)


def serve():
    """Answers each request of ten digits with as many bytes; a datagram with three times its size."""

    def stream(connection):
        with connection:
            while True:
                try:
                    request = connection.recv(20, socket.MSG_WAITALL)
                except ConnectionError:
                    return
                if len(request) < 20:
                    return
                receive(connection, int(request[:10]))
                connection.sendall(b"a" * int(request[10:]))

    def listen(address):
        with socket.create_server((address, PORT), family=family(address), backlog=200) as one:
            while True:
                threading.Thread(target=stream, args=[one.accept()[0]], daemon=True).start()

    def datagrams(address):
        one = socket.socket(family(address), socket.SOCK_DGRAM)
        one.bind((address, PORT))
        while True:
            data, sender = one.recvfrom(65536)
            one.sendto(data * 3, sender)

    for address in SERVERS:
        for loop in listen, datagrams:
            threading.Thread(target=loop, args=[address], daemon=True).start()
    signal.pause()


def client(kind, name):
    """A process of the load. Prints what it sent to and received from each remote end."""
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
    truth, ports = {}, set()

    def add(protocol, address, sent, received):
        sums = truth.setdefault((protocol, address), [0, 0])
        sums[0] += sent
        sums[1] += received

    def exchange(one, address, sent, received):
        ports.add(("tcp", one.getsockname()[1], address))
        one.sendall(b"%010d%010d" % (sent, received) + b"r" * sent)
        receive(one, received)
        add("tcp", address, 20 + sent, received)

    def datagram(one, address, size):
        sent = one.sendto(b"d" * size, (address, PORT)) if kind != "udp" else one.send(b"d" * size)
        ports.add(("udp", one.getsockname()[1], address))
        data, _ = one.recvfrom(65536)
        add("udp", address, sent, len(data))

    rounds = range(LONG * 10)
    if kind == "tcp":
        open_ones = [(socket.create_connection((a, PORT)), a) for a in SERVERS for _ in range(2)]
        for number in rounds:
            for one, address in open_ones:
                exchange(one, address, 300 + number, 5000 + number)
            time.sleep(0.1)
    elif kind in ("udp", "udp-unconnected"):
        sockets = []
        for address in SERVERS:
            same = [one for one, other in sockets if family(other) == family(address)]
            if kind == "udp" or not same:
                same = [socket.socket(family(address), socket.SOCK_DGRAM)]
            if kind == "udp":
                same[0].connect((address, PORT))
            sockets.append((same[0], address))
        for number in rounds:
            for one, address in sockets:
                datagram(one, address, 100 + number)
            time.sleep(0.1)
    elif kind == "tcp-short":
        address = SERVERS[int(name[-2:]) % len(SERVERS)]
        with socket.create_connection((address, PORT)) as one:
            exchange(one, address, 700, 9000)
    elif kind == "udp-short":
        address = SERVERS[int(name[-2:]) % len(SERVERS)]
        datagram(socket.socket(family(address), socket.SOCK_DGRAM), address, 300)
    print(json.dumps([[[*end, *sums] for end, sums in truth.items()], list(ports)]))


def capture(path):
    """Adds up the packets on the link, by protocol, own port and remote address, until SIGTERM: the
    frames, and the segments and datagrams with their own headers but without those below."""
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    one.setsockopt(socket.SOL_SOCKET, 33, 1 << 27)  # SO_RCVBUFFORCE
    one.bind((LINK, 0))
    one.settimeout(0.2)
    sums, done = {}, []
    signal.signal(signal.SIGTERM, lambda *_: done.append(1))
    print("ready", flush=True)
    while True:
        try:
            frame, (_, _, kind, *_) = one.recvfrom(1 << 17)
        except TimeoutError:
            if done:
                break
            continue
        if frame[12:14] == b"\x08\x00":
            protocol, ends, rest = frame[23], (frame[26:30], frame[30:34]), frame[34:]
            segment = struct.unpack("!H", frame[16:18])[0] - 20
        elif frame[12:14] == b"\x86\xdd":
            protocol, ends, rest = frame[20], (frame[22:38], frame[38:54]), frame[54:]
            segment = struct.unpack("!H", frame[18:20])[0]
        else:
            continue
        if protocol not in (6, 17):
            continue
        is_out = kind == 4  # PACKET_OUTGOING
        ports = struct.unpack("!HH", rest[:4])
        remote = ends[1 if is_out else 0]
        address = socket.inet_ntop(socket.AF_INET if len(remote) == 4 else socket.AF_INET6, remote)
        key = ["tcp" if protocol == 6 else "udp", ports[0 if is_out else 1], address]
        count = sums.setdefault(json.dumps(key), [0, 0])
        count[0] += len(frame)
        count[1] += segment
    dropped = struct.unpack("II", one.getsockopt(263, 6, 8))[1]  # PACKET_STATISTICS
    with open(path, "w") as out:
        json.dump({"dropped": dropped, "sums": [[json.loads(k), v] for k, v in sums.items()]}, out)


def inside(namespace, *command, **options):
    return subprocess.Popen(["ip", "netns", "exec", namespace, *command], **options)


def run_self(namespace, *words, **options):
    return inside(namespace, sys.executable, os.path.abspath(__file__), *words, **options)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def set_up():
    for namespace in HERE, THERE:
        ip("netns", "add", namespace)
    ip("-n", HERE, "link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns", THERE)
    ip("-n", HERE, "addr", "add", "10.99.7.1/24", "dev", LINK)
    ip("-n", HERE, "addr", "add", "fd99:7::1/64", "dev", LINK, "nodad")
    for address in SERVERS:
        bits, more = ("/64", ["nodad"]) if ":" in address else ("/24", [])
        ip("-n", THERE, "addr", "add", address + bits, "dev", LINK, *more)
    for namespace in HERE, THERE:
        for link in "lo", LINK:
            ip("-n", namespace, "link", "set", link, "up")


def wait_for_servers():
    until = time.monotonic() + 10
    probe = "import socket; [socket.create_connection((a, %d)).close() for a in %r]" % (PORT, SERVERS)
    while inside(HERE, sys.executable, "-c", probe, stderr=subprocess.DEVNULL).wait():
        assert time.monotonic() < until, "the servers do not answer"


def load():
    """Runs all processes. Returns the kind, the name and what it said of each pid."""
    running = {}

    def start(kind, name):
        one = run_self(HERE, "--client", kind, name, stdout=subprocess.PIPE, text=True)
        running[one.pid] = (kind, name, one)
        return one

    for number, kind in enumerate(["tcp", "tcp", "udp", "udp-unconnected"]):
        start(kind, f"long{number:02}")
    time.sleep(1)
    for kind, letter in ("tcp-short", "t"), ("udp-short", "u"):
        for number in range(SHORT):
            start(kind, f"{letter}short{number:02}").wait()
    said = {}
    for pid, (kind, name, one) in running.items():
        text, _ = one.communicate()
        assert one.returncode == 0, name
        said[pid] = (kind, name, json.loads(text))
    return said


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve"]:
            serve()
        case ["--client", kind, name]:
            client(kind, name)
        case ["--capture", path]:
            capture(path)
        case _:
            sys.exit(__doc__)
