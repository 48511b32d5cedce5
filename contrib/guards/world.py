"""Namespaces: a LAN of a Linux bridge with a host and a gateway, a server of acton on it, and clients."""
import json, os, shutil, socket, struct, subprocess, sys, tempfile, time

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "common"))
from netns import Inside, packet_socket  # noqa: E402

PREFIX = f"guards{os.getpid()}-"
GATEWAY, HOST, SERVER = "02:ac:70:00:00:fe", "02:ac:70:00:00:64", "02:ac:70:00:00:01"
OWN, BOUND = "02:ac:70:00:00:0a", "02:ac:70:00:00:0b"  # of the client without a policy, and with one
MARK = b"\x88\xb5"  # for experiments (IEEE 802)


def run(*command, text=None, check=True):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def inside(ns, *command):
    return ["ip", "netns", "exec", PREFIX + ns, *command]


class Wire:
    """A hand on an interface: frames in and out; out also in super-frames, behind a header of virtio."""

    def __init__(self, ns, device):
        self.plain = packet_socket(PREFIX + ns, device)
        with Inside(PREFIX + ns):
            self.offload = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.offload.bind((device, 0))
        # PACKET_AUXDATA; PACKET_VNET_HDR
        self.plain.setsockopt(263, 8, 1)
        self.offload.setsockopt(263, 15, 1)

    def send(self, frame):
        if isinstance(frame, tuple):
            header, frame = frame
            self.offload.send(header + frame)
        else:
            self.plain.send(frame)

    def received(self, until, seconds=3.0):
        """Frames that came in until one did that is equal to `until`, tags where they stood; None if it never came."""
        frames, end = [], time.monotonic() + seconds
        while True:
            self.plain.settimeout(max(0.001, end - time.monotonic()))
            try:
                frame, more, _, (_, _, kind, *_) = self.plain.recvmsg(70_000, 128)
            except TimeoutError:
                return None
            if kind == socket.PACKET_OUTGOING:
                continue
            for level, what, data in more:
                status, tci, tpid = struct.unpack("=I12xHH", data[:20])
                if (level, what) == (263, 8) and status & 0x10:
                    tpid = tpid if status & 0x40 else 0x8100
                    frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
            if frame[:len(until)] == until:
                return frames
            frames.append(frame)


class World:
    def __init__(self, acton):
        self.acton = os.path.abspath(acton)
        self.directory = tempfile.mkdtemp(prefix="acton-guards-")
        self.processes, self.namespaces, self.marks = [], [], 0

    def sh(self, ns, script, check=True):
        return run(*inside(ns, "sh", "-c" if not check else "-ec", script), check=check)

    def spawn(self, ns, log, *command):
        output = open(f"{self.directory}/{log}.log", "w")
        process = subprocess.Popen(inside(ns, *command), stdout=output, stderr=output,
                                   env={"PATH": os.environ["PATH"], "ACTON_CONFIG": "none"})
        self.processes.append(process)

    def wait(self, what, holds, seconds=60):
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise SystemExit(f"never: {what}")
            time.sleep(0.02)

    def start(self):
        for name in ("wan", "root", "host", "gateway", "own", "bound"):
            run("ip", "netns", "add", PREFIX + name)
            self.namespaces.append(name)
            self.sh(name, "ip link set lo up")
        for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"):
            self.sh("root", f"sysctl -qw net.bridge.{name}=0", check=False)
        self.sh("wan", "ip link add lan type bridge mcast_snooping 0; ip link set lan up")
        for name, number in (("root", 1), ("own", 10), ("bound", 11)):
            run("ip", "link", "add", "eth0", "netns", PREFIX + name, "type", "veth", "peer", "name", name,
                "netns", PREFIX + "wan")
            self.sh("wan", f"ip link set {name} master lan up")
            self.sh(name, f"ip link set eth0 up; ip address add 192.0.2.{number}/24 dev eth0")
        self.sh("root", f"ip link add br0 address {SERVER} type bridge mcast_snooping 0; ip link set br0 up; "
                        "ip address add 10.9.0.1/24 dev br0; ip address add fd09::1/64 dev br0 nodad")
        for name, mac, last in (("host", HOST, 100), ("gateway", GATEWAY, 254)):
            run("ip", "link", "add", "eth0", "address", mac, "netns", PREFIX + name, "type", "veth", "peer",
                "name", name, "netns", PREFIX + "root")
            self.sh("root", f"ip link set {name} master br0 up")
            self.sh(name, "sysctl -qw net.ipv6.conf.eth0.accept_ra=2 net.ipv6.conf.eth0.accept_dad=0 "
                          "net.ipv4.conf.all.accept_redirects=1 net.ipv4.conf.eth0.accept_redirects=1 "
                          "net.ipv4.neigh.eth0.locktime=0 net.ipv4.conf.all.secure_redirects=0 "
                          "net.ipv4.conf.eth0.secure_redirects=0; "
                          "ethtool -K eth0 gro off 2>/dev/null || true; ip link set eth0 up; "
                          f"ip address add 10.9.0.{last}/24 dev eth0; "
                          f"ip address add fd09::{last}/64 dev eth0 nodad; "
                          f"ip address add fe80::{last}/64 dev eth0 nodad")
        self.sh("root", "ping -qc1 -W5 10.9.0.254; ping -qc1 -W5 fd09::254; ping -qc1 -W5 fe80::254%br0; "
                        "ip route add default via 10.9.0.254; ip -6 route add default via fd09::254 metric 7; "
                        "ip -6 route add default via fe80::254 dev br0 metric 8")
        self.keys()
        self.spawn("root", "server", self.acton, "server", "-t", "server", "--bridge", "br0", "--state",
                   f"{self.directory}/server", "--no-loop-guard", "--workers", "1", "--control", self.control())
        self.wait("the server listens", lambda: "server on UDP" in self.log("server"))
        for name, mac in (("own", OWN), ("bound", BOUND)):
            self.spawn(name, name, self.acton, "client", self.invites[name], "--state", f"{self.directory}/{name}",
                       "-m", mac, "--control", "none", "--no-loop-guard")
            self.wait(f"{name} is connected", lambda: "connected to" in self.log(name))
            # Its kernel says nothing of its own.
            self.sh(name, "sysctl -qw net.ipv6.conf.client.disable_ipv6=1; ip link set client mtu 1500 up")
        for address in ("10.9.0.254", "fd09::254", "fe80::254", "10.9.0.1", "fd09::1"):
            self.wait(f"{address} is guarded", lambda: address in self.ask("events"))
        self.wires = {name: Wire(name, "client") for name in ("own", "bound")}
        self.lan = Wire("host", "eth0")
        self.sockets = {}
        with Inside(PREFIX + "host"):
            for family, any_address, ports in ((socket.AF_INET, "0.0.0.0", (67, 68, 1068)),
                                               (socket.AF_INET6, "::", (546, 547, 1546))):
                for port in ports:
                    it = socket.socket(family, socket.SOCK_DGRAM)
                    if family == socket.AF_INET6:
                        it.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                        index = socket.if_nametoindex("eth0")
                        group = socket.inet_pton(family, "ff02::1:2") + struct.pack("I", index)
                        it.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
                    it.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    it.bind((any_address, port))
                    it.setblocking(False)
                    self.sockets[port] = it

    def keys(self):
        state = f"{self.directory}/server"
        os.mkdir(state, 0o700)
        self.list = f"{state}/clients"
        self.invites = {}
        with open(os.open(self.list, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write("[default]\n")
        for name, policy in (("own", ""), ("bound", 'ips = ["10.9.0.11", "fd09::11"]\n')):
            self.invites[name] = run(self.acton, "invite", "--state", state, "--host", "192.0.2.1",
                                     "--name", name).strip()
            with open(self.list, "a") as file:
                file.write(policy)

    def trust(self):
        """From now on both clients may do all that a policy may let them."""
        with open(self.list) as file:
            text = file.read().replace("[default]\n", "[default]\ntrusted = true\n")
        with open(self.list, "w") as file:
            file.write("".join(line for line in text.splitlines(True) if not line.startswith("ips =")))
        self.wait("they are trusted", lambda: not any(
            session["policy"]["guarded"] or session["policy"].get("sources") for session in self.sessions()))

    def control(self):
        return f"{self.directory}/server.sock"

    def log(self, name):
        try:
            with open(f"{self.directory}/{name}.log") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def ask(self, *what):
        return run(self.acton, *what, "--control", self.control(), "--json", check=False)

    def sessions(self):
        return json.loads(self.ask("status"))["sessions"]

    def drops(self, name):
        [session] = [session for session in self.sessions() if session["name"] == name]
        return session["traffic"]["drops"]

    def reset(self):
        """The host as it was: its gateway's addresses resolved, one route, no socket that has got anything."""
        self.sh("host", f"""ip -6 route flush proto ra; ip -6 route flush cache; ip route flush cache
            ip -6 address flush dev eth0 dynamic
            ip neigh replace 10.9.0.254 lladdr {GATEWAY} dev eth0 nud stale
            ip neigh replace fd09::254 lladdr {GATEWAY} dev eth0 nud stale
            ip neigh replace fe80::254 lladdr {GATEWAY} dev eth0 nud stale
            ip neigh replace 10.9.0.10 lladdr {OWN} dev eth0 nud permanent
            ip neigh replace 10.9.0.1 lladdr {SERVER} dev eth0 nud stale
            ip neigh replace 10.9.0.77 lladdr {GATEWAY} dev eth0 nud stale
            ip neigh replace fd09::77 lladdr {GATEWAY} dev eth0 nud stale
            ip route replace default via 10.9.0.254; ip -6 route replace default via fe80::254 dev eth0""", check=False)
        self.taken()

    def taken(self):
        got = []
        for port, it in self.sockets.items():
            try:
                while it.recv(70_000) is not None:
                    got.append(f"UDP {port}")
            except BlockingIOError:
                pass
        return sorted(set(got))

    def harm(self):
        """What of the host changed."""
        said = self.sh("host", """ip -6 route show proto ra; ip -6 -o address show dev eth0 scope global dynamic
            echo ---; ip neigh show; echo ---; ip route get 203.0.113.9; ip -6 route get 2001:db8:9::9""", check=False)
        router, neighbours, ways = said.split("---")
        harm = ["router"] if router.strip() else []
        for address, mac in (("10.9.0.254", GATEWAY), ("fd09::254", GATEWAY), ("fe80::254", GATEWAY),
                             ("10.9.0.1", SERVER), ("10.9.0.77", GATEWAY), ("fd09::77", GATEWAY)):
            lines = [line for line in neighbours.splitlines() if line.startswith(address + " ")]
            if any("lladdr" in line and mac not in line for line in lines):
                harm.append(f"neighbour {address}")
        if "via 10.9.0.254 " not in ways or "via fe80::254 " not in ways:
            harm.append("route")
        return ", ".join(harm + self.taken())

    def try_out(self, case):
        """Sends its frames; the counter that grew, `pass` where all of them came out, and the harm."""
        self.reset()
        wire, before = self.wires[case.client], self.drops(case.client)
        self.marks += 1
        source = {"own": OWN, "bound": BOUND}[case.client]
        mark = b"\xff" * 6 + bytes.fromhex(source.replace(":", "")) + MARK + self.marks.to_bytes(4, "big") + bytes(42)
        for frame in case.frames:
            wire.send(frame)
        wire.send(mark)
        frames = [frame[1] if isinstance(frame, tuple) else frame for frame in case.frames]
        came = self.lan.received(mark)
        if came is None:
            return "no answer", self.harm()
        if any(isinstance(frame, tuple) for frame in case.frames):
            # What the server puts together again comes after what it need not.
            wire.send(mark)
            came += self.lan.received(mark) or []
        out = sum(any(got[:len(frame)] == frame for got in came) for frame in frames)
        if any(isinstance(frame, tuple) for frame in case.frames):
            # They come cut.
            out = int(any(got[6:12] == frames[0][6:12] and got[12:14] == frames[0][12:14] for got in came))
        grew = {name: count - before.get(name, 0) for name, count in self.drops(case.client).items()}
        told = [f"{name}" + (f" {count}" if count > 1 else "") for name, count in grew.items() if count]
        if out:
            told.append("pass" + (f" {out}" if out > 1 else ""))
        return " + ".join(told) or "lost", self.harm()

    def end(self, failed):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        for name in self.namespaces:
            run("ip", "netns", "del", PREFIX + name, check=False)
        if failed:
            print(f"logs: {self.directory}")
        else:
            shutil.rmtree(self.directory)
