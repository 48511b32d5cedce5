"""Hosts that are network namespaces, for the trials beside this file: what joins them, what runs in them, what
is wanted and what is seen. All that is made here, `main` takes away again."""
import os, re, shutil, socket, subprocess, sys, tempfile, time

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "common"))
from netns import Inside, packet_socket  # noqa: E402

ACTON = os.path.abspath("target/debug/acton")
PREFIX = f"evpn{os.getpid()}-"
FRR = "/usr/lib/frr"
ETHERTYPE = b"\x88\xb5"  # for experiments (IEEE 802)

directory = tempfile.mkdtemp(prefix="acton-evpn-")
os.chmod(directory, 0o755)
processes, namespaces, failed = [], [], []


def run(*command, ns=None, text=None, check=True):
    command = (["ip", "netns", "exec", PREFIX + ns] if ns else []) + list(command)
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def sh(ns, script):
    return run("sh", "-e", ns=ns, text=script)


def start(ns, *command, log):
    output = open(f"{directory}/{log}", "w")
    environment = {"PATH": os.environ["PATH"]}
    process = subprocess.Popen(["ip", "netns", "exec", PREFIX + ns, *command], stdout=output, stderr=output,
                               env=environment)
    processes.append(process)
    return process


def wait(what, holds, seconds=120, pause=0.02):
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > seconds:
            raise SystemExit(f"never: {what}")
        time.sleep(pause)
    return time.monotonic() - begun


def tell(what, wanted, seen, fine):
    print(f"{'ok  ' if fine else 'FAIL'}  {what:<62} {wanted:>14}   {seen}", flush=True)
    if not fine:
        failed.append(what)


def took(what, wanted, seconds):
    tell(what, f"< {wanted:g} s", f"{seconds:.3f} s", seconds < wanted)


class Wire:
    """A hand on an interface: frames in and out."""

    def __init__(self, ns, device):
        self.socket = packet_socket(PREFIX + ns, device)

    def send(self, to, source, mark):
        self.socket.send(to + source + ETHERTYPE + mark.ljust(46, b"\0"))

    def received(self, seconds=0.0):
        """Marks of frames that came in."""
        marks, end = [], time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.0, end - time.monotonic()))
            try:
                frame, (_, _, kind, *_) = self.socket.recvfrom(2048)
            except (TimeoutError, BlockingIOError):
                return marks
            if kind != socket.PACKET_OUTGOING and frame[12:14] == ETHERTYPE:
                marks.append(frame[14:].rstrip(b"\0"))


def mac(text):
    return bytes(int(part, 16) for part in text.split(":"))


def namespace(name):
    run("ip", "netns", "add", PREFIX + name)
    namespaces.append(name)
    sh(name, "ip link set lo up; for it in iptables ip6tables arptables; do\n"
             "sysctl -qw net.bridge.bridge-nf-call-$it=0 2>/dev/null || true; done")


def cable(name, device, switch, address, mtu):
    run("ip", "link", "add", device, "netns", PREFIX + name, "mtu", str(mtu), "type", "veth", "peer", "name",
        name, "netns", PREFIX + switch)
    sh(switch, f"ip link set {name} mtu {mtu} master lan up")
    sh(name, f"ip link set {device} up; ip address add {address}/16 dev {device}")


def start_frr(host, fabric):
    """FRR by what `acton evpn render` prints for these options."""
    path = f"{directory}/{host}"
    os.makedirs(path, exist_ok=True)
    with open(f"{path}/frr.conf", "w") as file:
        file.write(run(ACTON, "evpn", "render", *fabric, "--print", "frr"))
    open(f"{path}/empty.conf", "w").close()
    run("chown", "-R", "frr:frr", path)
    for daemon in ["zebra", "bgpd"]:
        process = start(host, f"{FRR}/{daemon}", "-z", f"{path}/zserv.api", "-i", f"{path}/{daemon}.pid",
                        "--vty_socket", path, "-f", f"{path}/empty.conf", "-A", "127.0.0.1", log=f"{host}.{daemon}")
        process.daemon = (host, daemon)
        wait(f"{daemon} is up", lambda: os.path.exists(f"{path}/{daemon}.vty"))
    # As at a boot: each daemon is given what is its own. zebra would take "vni" for another thing.
    run("vtysh", "--vty_socket", path, "-f", f"{path}/frr.conf")


def pings(ns, address):
    return not subprocess.run(["ip", "netns", "exec", PREFIX + ns, "ping", "-c1", "-W1", "-q", address],
                              capture_output=True).returncode


def flooded(ns):
    text = run("bridge", "fdb", "show", "dev", "vx100", ns=ns)
    return set(re.findall(r"00:00:00:00:00:00 dst (\S+)", text))


def main(trial):
    """Runs it, ends what it started, and this program: exit code 1 where something was not as wanted."""
    try:
        trial()
        print("all as wanted" if not failed else f"not as wanted: {', '.join(failed)}")
    finally:
        for process in reversed(processes):
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        for name in namespaces:
            subprocess.run(["ip", "netns", "del", PREFIX + name])
        if failed or sys.exc_info()[0]:
            print(f"logs: {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory)
    sys.exit(1 if failed else 0)
