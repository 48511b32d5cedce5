"""A server and three clients with traffic, each in a network namespace of its own."""
import os, shutil, subprocess, tempfile, time

CLIENTS = ("berlin", "oslo", "rome")
# What comes from a client's TAP: a flood of ARP, and frames that no bridge forwards.
FLOOD = """
import socket, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("client", 0))
mine = open("/sys/class/net/client/address").read().strip().replace(":", "")
arp = bytes.fromhex("ff" * 6 + mine + "0806" + "0001080006040001" + mine + "0a090063" + "00" * 6 + "0a0900fe" + "00" * 18)
stp = bytes.fromhex("0180c2000000" + mine + "0027" + "00" * 46)
while True:
    # Forty seconds of flood, twenty of none.
    for _ in range(600 if time.time() % 60 < 40 else 2):
        link.send(arp)
    for _ in range(7):
        link.send(stp)
    time.sleep(0.1)
"""
# A transfer whose rate goes up and down.
SEND = """
import math, socket, sys, time
to = socket.create_connection((sys.argv[1], 9000))
while True:
    to.sendall(b"x" * int(float(sys.argv[2]) * (1.1 + math.sin(time.time() / 9)) / 10))
    time.sleep(0.1)
"""
TAKE = """
import socket, threading
listener = socket.create_server(("", 9000))
def take(stream):
    while stream.recv(65536): pass
while True:
    threading.Thread(target=take, args=(listener.accept()[0],), daemon=True).start()
"""


class World:
    HTTP = "127.0.0.1:9273"

    def __init__(self, acton, page):
        self.acton, self.page = os.path.abspath(acton), page
        self.scratch = tempfile.mkdtemp(prefix="acton-world-")
        self.tag = f"acton{os.getpid()}"
        self.processes, self.spaces = [], []

    def run(self, *command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def space(self, name):
        name = f"{self.tag}-{name}"
        self.run("ip", "netns", "add", name)
        self.spaces.append(name)
        self.run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def spawn(self, space, *command):
        log = open(f"{self.scratch}/log", "a")
        process = subprocess.Popen(["ip", "netns", "exec", space, *command], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def inside(self, command):
        """A command in the server's namespace."""
        return ["ip", "netns", "exec", self.server, *command]

    def start(self):
        self.server, state = self.space("server"), f"{self.scratch}/server"
        self.run("ip", "-n", self.server, "link", "add", "lan", "type", "bridge")
        self.run("ip", "-n", self.server, "addr", "add", "192.0.2.1/24", "dev", "lan")
        self.run("ip", "-n", self.server, "link", "set", "lan", "up")
        invites = [self.run(self.acton, "invite", "--name", name, "--host", "192.0.2.1", "--state", state).split()[-1] for name in CLIENTS]
        self.spawn(self.server, self.acton, "server", "--config", "none", "--state", state, "--control", f"{self.scratch}/sock",
                   "-a", "10.9.0.1/24", "--http", self.HTTP, "--metrics-per-session", "--keepalive", "2")
        for number, (name, invite) in enumerate(zip(CLIENTS, invites)):
            space = self.space(name)
            self.run("ip", "link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", f"port{number}", "netns", self.server)
            self.run("ip", "-n", self.server, "link", "set", f"port{number}", "master", "lan", "up")
            self.run("ip", "-n", space, "addr", "add", f"192.0.2.{10 + number}/24", "dev", "eth0")
            self.run("ip", "-n", space, "link", "set", "eth0", "up")
                    # The way to the last one is longer.
            if number == 2:
                subprocess.run(["ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "30ms", "4ms"],
                               capture_output=True)  # not every kernel has netem
            self.spawn(space, self.acton, "client", invite, "--config", "none", "--state", f"{self.scratch}/{name}",
                       "--control", f"{self.scratch}/{name}.sock", "-a", f"10.9.0.{10 + number}/24", "--keepalive", "2")
        self.ping(self.server, ["10.9.0.10", "10.9.0.11", "10.9.0.12"])
        for space in self.spaces:
            self.spawn(space, "python3", "-c", TAKE)
        time.sleep(1)
        self.spawn(self.spaces[1], "python3", "-c", SEND, "10.9.0.1", "400e3")
        self.spawn(self.spaces[2], "python3", "-c", SEND, "10.9.0.1", "90e3")
        self.spawn(self.server, "python3", "-c", SEND, "10.9.0.11", "250e3")
        self.spawn(self.server, "python3", "-c", SEND, "10.9.0.12", "30e3")
        self.spawn(self.spaces[1], "python3", "-c", FLOOD)

    def ping(self, space, addresses):
        for address in addresses:
            for _ in range(60):
                if subprocess.run(["ip", "netns", "exec", space, "ping", "-c1", "-W1", address], capture_output=True).returncode == 0:
                    break
            else:
                raise TimeoutError(f"{address} does not answer: {open(self.scratch + '/log').read()}")

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space])
        shutil.rmtree(self.scratch, ignore_errors=True)
