"""The traffic of scripts/example-incident, over a veth pair:

example-traffic.py --role NAME SECONDS    is one program, with that name
example-traffic.py CLIENTS SECONDS        starts the programs of a host in the network namespace CLIENTS
"""

import contextlib
import socket
import subprocess
import sys
import threading
import time

SERVER = "10.77.0.2"
# Port, and bytes of an answer. Port 0 bytes: only takes data.
SERVICES = {"postgres": (5432, 6000), "redis-server": (6379, 20000), "vault": (873, 0)}


def named(name):
    """Gives this process a name, as the kernel shows it."""
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)


def serve(name):
    port, answer = SERVICES[name]
    listener = socket.create_server(("", port), backlog=200)

    def talk(peer):
        # A worker that crashes resets its connection.
        with peer, contextlib.suppress(ConnectionError):
            while data := peer.recv(1 << 20):
                if answer:
                    peer.sendall(data[:1] * answer)

    while True:
        peer, _ = listener.accept()
        threading.Thread(target=talk, args=[peer], daemon=True).start()


def ask(name, port, every, until):
    """Asks a service again and again on one connection."""
    with socket.create_connection((SERVER, port)) as peer:
        while time.monotonic() < until:
            peer.sendall(b"q" * 200)
            left = dict((port, answer) for port, answer in SERVICES.values())[port]
            while left:
                left -= len(peer.recv(left))
            time.sleep(every)


def back_up(until):
    """Sends as a backup does: all that it can, in blocks, below some rate."""
    block = b"b" * (1 << 18)
    with socket.create_connection((SERVER, 873)) as peer:
        while time.monotonic() < until:
            peer.sendall(block)
            time.sleep(0.02)


def crash():
    """Asks once, and fails."""
    with socket.create_connection((SERVER, 5432)) as peer:
        peer.sendall(b"hello")
        peer.recv(100)
    sys.exit(1)


def run(role, seconds):
    named(role)
    until = time.monotonic() + seconds
    if role in SERVICES:
        serve(role)
    elif role == "web":
        ask(role, 5432, 0.01, until)
    elif role == "app-server":
        ask(role, 6379, 0.02, until)
    elif role == "backup":
        back_up(until)
    else:
        crash()


def main(clients, seconds):
    def start(role, length=0.0):
        command = [sys.executable, __file__, "--role", role, str(length)]
        return subprocess.Popen(["ip", "netns", "exec", clients, *command], stderr=subprocess.DEVNULL)

    begin = time.monotonic()
    running = [start("web", seconds), start("app-server", seconds)]
    has_backup = False
    while (passed := time.monotonic() - begin) < seconds:
        if passed > seconds * 0.5 and not has_backup:
            has_backup = True
            running.append(start("backup", seconds * 0.2))
        if passed > seconds * 0.75:
            start("report-worker").wait()
        time.sleep(0.2)
    for process in running:
        process.wait()


if sys.argv[1] == "--role":
    run(sys.argv[2], float(sys.argv[3]))
else:
    main(sys.argv[1], float(sys.argv[2]))
