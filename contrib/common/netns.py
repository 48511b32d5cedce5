"""Network namespaces by their names, for trials: a thread in one, and a hand on an interface there."""
import ctypes, os, socket, struct

libc = ctypes.CDLL(None, use_errno=True)


class Inside:
    """This thread in a network namespace."""

    def __init__(self, namespace):
        self.path = f"/run/netns/{namespace}"

    def __enter__(self):
        self.before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.enter(os.open(self.path, os.O_RDONLY))

    def enter(self, fd):
        if libc.setns(fd, 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(fd)

    def __exit__(self, *_):
        self.enter(self.before)


def packet_socket(namespace, device):
    """All frames that come to an interface, whomever they are for, and that go out there; what is sent goes out."""
    with Inside(namespace):
        it = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        index = socket.if_nametoindex(device)
    it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    it.bind((device, 0))
    # PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC
    it.setsockopt(263, 1, struct.pack("IHH8s", index, 1, 0, b""))
    return it
