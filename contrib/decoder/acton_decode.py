#!/usr/bin/env python3
"""A second decoder of acton/1 and its plain mode, written from docs/PROTOCOL.md.

It shares nothing with acton but that document; check_vectors.py beside it runs it on the test
vectors. It needs Python 3.9 and the package `cryptography`.

    acton_decode.py FILE.pcap           one line a datagram of a capture (pcap, Ethernet)
        --port N             UDP port of the server, 8080 unless told
        --key-log FILE       what `acton --key-log` wrote: opens what these keys seal
        --public KEY         public key of the server or a client, to check mac1; more than once
        --network-key KEY    the network key that goes with it
        --plain              the capture is of plain mode
        --frames             writes each Ethernet frame in hexadecimal

KEY is hexadecimal or base64. The last line counts what was seen. The exit code is 0 if nothing was
wrong, 1 if something was.
"""
import argparse, base64, collections, hashlib, ipaddress, struct, sys
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

AEAD = {1: ChaCha20Poly1305, 2: AESGCM}
ZERO = bytes(32)
WINDOW = 8192


class Wrong(Exception):
    """What the specification forbids."""


def need(condition, why):
    if not condition:
        raise Wrong(why)


def blake2s(*parts, size=32, key=b""):
    return hashlib.blake2s(b"".join(parts), digest_size=size, key=key).digest()


def mac1_key(recipient, network_key):
    return blake2s(b"acton1 mac1", recipient, network_key)


def data_key(split, suite):
    """The AEAD key and the iv of one direction."""
    return (blake2s(b"acton1 key", bytes([suite]), key=split),
            blake2s(b"acton1 iv", bytes([suite]), key=split)[:12])


Datagram = collections.namedtuple("Datagram", "type fields")
SEALED = {0x14: ("DATA", 33), 0x15: ("CONTROL", 36), 0x16: ("BUNDLE", 64)}
LENGTHS = {0x11: ("HELLO", 168), 0x12: ("WELCOME", 108), 0x13: ("RETRY", 64), 0x18: ("RESET", 16),
           0x19: ("QUERY", 64), 0x1A: ("REPLY", 64)}


def parse(data):
    need(data, "length")
    name, length = LENGTHS.get(data[0], (None, None))
    if name:
        need(len(data) == length, "length")
        need(data[1:4] == bytes(3), "reserved")
        first = int.from_bytes(data[4:8], "big")
        need(first, "zero-id")
        if name == "HELLO":
            return Datagram(name, {"sender": first, "noise": data[8:136], "mac1": data[136:152],
                                   "mac2": data[152:]})
        if name == "WELCOME":
            second = int.from_bytes(data[8:12], "big")
            need(second, "zero-id")
            return Datagram(name, {"receiver": first, "sender": second, "noise": data[12:92],
                                   "mac1": data[92:]})
        if name == "RETRY":
            return Datagram(name, {"receiver": first, "nonce": data[8:32], "cookie": data[32:]})
        if name == "QUERY":
            need(not any(data[32:48]), "reserved")
            return Datagram(name, {"sender": first, "random": data[8:32], "mac": data[48:]})
        if name == "REPLY":
            return Datagram(name, {"receiver": first, "nonce": data[8:32], "sealed": data[32:]})
        return Datagram(name, {"receiver": first, "counter": int.from_bytes(data[8:], "big")})
    name, least = SEALED.get(data[0], (None, None))
    need(name, "type")
    need(len(data) >= 4, "length")
    index, last, csum = data[1] >> 4, data[1] & 1, data[2] & 1
    if name == "DATA":
        need(not data[1] & 0x0E and not data[2] & 0xFE and not data[3], "reserved")
        need(index < 15 or last, "value")
    elif name == "BUNDLE":
        need(not data[1] and not data[2] & 0xFE and not data[3], "reserved")
    else:
        need(data[1:4] == bytes(3), "reserved")
    need(least <= len(data) <= 65507, "length")
    receiver, counter = struct.unpack(">IQ", data[4:16])
    need(receiver, "zero-id")
    need(counter >= index, "value")
    return Datagram(name, {"receiver": receiver, "counter": counter, "index": index,
                           "last": last, "csum": csum})


def parse_control(text):
    need(len(text) >= 4, "length")
    message, zero, arg = struct.unpack(">BBH", text[:4])
    body = text[4:]
    need(not zero, "reserved")
    if message == 1:
        need(len(body) >= 8, "length")
        need(not any(body[8:]), "reserved")
        need(len(text) + 32 == arg if arg else len(body) == 8, "length")
        return f"KEEPALIVE token={body[:8].hex()} size={arg}"
    if message in (8, 9):
        return isolation(message, arg, body)
    length = {2: 8, 3: 4, 4: 0, 5: 44, 6: 32, 7: 8}.get(message)
    need(length is not None, "type")
    need(message not in (4, 6, 7) or not arg, "reserved")
    need(message != 5 or arg < 2, "value")
    need(len(body) == length, "length")
    if message == 2:
        return f"ECHO token={body.hex()} size={arg}"
    if message == 3:
        reason = {1: "stop", 2: "restart", 3: "replaced", 4: "removed", 5: "limit"}.get(arg, arg)
        return f"BYE reason={reason} retry_ms={int.from_bytes(body, 'big')}"
    if message == 5:
        return f"REPORT role={('question', 'answer')[arg]} token={body[:8].hex()}" + report(body[8:])
    if message == 6:
        return "NETWORK_KEY"
    if message == 7:
        return f"MOVE to={body.hex()}"
    return "REKEY"


def isolation(message, arg, body):
    """Orders of a test of isolation, and what a client says to them."""
    need(len(body) >= 16, "length")
    test, body = body[:16].hex(), body[16:]
    if message == 8:
        need(len(body) >= 4, "length")
        number, zero = struct.unpack(">HH", body[:4])
        need(not zero, "reserved")
        need(arg in (1, 2, 3, 4), "value")
        need(len(body) >= 40, "length")
        kinds, root, peer, ipv4, ipv6 = struct.unpack(">I6s6s4s16s", body[4:40])
        if arg != 2:
            need(not any(body[4:40]), "reserved")
            need(arg == 3 or not number, "reserved")
        need(len(body) >= 68, "length")
        need(not any(body[40:68]), "reserved")
        need(len(body) == 68, "length")
        text = f"ISOLATION_ORDER {('', 'begin', 'send', 'report', 'end')[arg]} test={test}"
        if arg == 2:
            text += (f" number={number} kinds={kinds:#x} root={root.hex(':')} peer={peer.hex(':')}"
                     f" ipv4={ipaddress.ip_address(ipv4)} ipv6={ipaddress.ip_address(ipv6)}")
        return text + (f" from={number}" if arg == 3 else "")
    need(arg in (1, 2, 3, 4), "value")
    name = ("", "agreed", "refused", "sent", "heard")[arg]
    length = (0, 28, 4, 8, 68)[arg]
    need(len(body) >= length, "length")
    if arg == 1:
        mac, zero, ipv4, ipv6 = struct.unpack(">6sH4s16s", body[:28])
        need(not zero, "reserved")
        said = (f" mac={mac.hex(':')} ipv4={ipaddress.ip_address(ipv4)}"
                f" ipv6={ipaddress.ip_address(ipv6)}")
    elif arg == 2:
        reason, zero = struct.unpack(">HH", body[:4])
        need(not zero, "reserved")
        said = f" reason={({1: 'not allowed', 2: 'too soon', 3: 'no TAP'}).get(reason, reason)}"
    elif arg == 3:
        number, zero, kinds = struct.unpack(">HHI", body[:8])
        need(not zero, "reserved")
        said = f" number={number} kinds={kinds:#x}"
    else:
        start, total, *numbers = struct.unpack(">HH32H", body[:68])
        told = min(max(total - start, 0), 32)
        need(not any(numbers[told:]), "reserved")
        said = f" from={start} total={total} numbers={numbers[:told]}"
    need(len(body) == length, "length")
    return f"ISOLATION_ANSWER {name} test={test}{said}"


def report(body):
    """What a REPORT says of its sender."""
    received, expected, *rtt, major, minor, patch, path_mtu, zero = struct.unpack(">QQ3IBBHHH", body)
    need(received <= expected, "value")
    need(rtt[1] or not any(rtt), "reserved")
    need(not zero, "reserved")
    text = f" received={received} expected={expected}"
    if rtt[1]:
        text += f" rtt_min_us={rtt[0]} rtt_us={rtt[1]} rtt_jitter_us={rtt[2]}"
    if major or minor or patch:
        text += f" version={major}.{minor}.{patch}"
    return text + (f" path_mtu={path_mtu}" if path_mtu else "")


def parse_bundle(text, max_frame=65507):
    """The frames of a bundle's plaintext."""
    need(len(text) <= max_frame, "length")
    frames, at = [], 0
    while at < len(text):
        need(at + 2 <= len(text), "length")
        length = int.from_bytes(text[at:at + 2], "big")
        need(length >= 14 and at + 2 + length <= len(text), "length")
        frames.append(text[at + 2:at + 2 + length])
        at += 2 + length
    need(2 <= len(frames) <= 64, "length")
    return frames


def parse_hello_payload(text):
    low, high = text[:2]
    need(text[30:] == bytes(2), "reserved")
    need(0 < low <= high, "value")


def parse_welcome_payload(text):
    version, suite, zero, refusal = text[:4]
    need(not zero, "reserved")
    need(refusal or version and suite, "value")


class Direction:
    """What comes under one key: opens it, keeps the replay window, puts pieces together."""

    def __init__(self, suite, split, max_frame=65507):
        key, self.iv = data_key(split, suite)
        self.aead, self.max_frame = AEAD[suite](key), max_frame
        self.next, self.seen, self.pieces = 0, set(), {}

    def open(self, data, counter):
        nonce = bytes(a ^ b for a, b in zip(self.iv, bytes(4) + counter.to_bytes(8, "big")))
        return self.aead.decrypt(nonce, data[16:], data[:16])

    def note(self, counter):
        if counter + WINDOW < self.next or counter in self.seen:
            return "drop"
        self.seen.add(counter)
        verdict = "newest" if counter >= self.next else "late"
        self.next = max(self.next, counter + 1)
        return verdict

    def frame(self, fields, text):
        """The frame that a DATA completes, if it does."""
        base = fields["counter"] - fields["index"]
        pieces = self.pieces.setdefault(base, {})
        pieces[fields["index"]] = (text, fields["last"], fields["csum"])
        if not self.fit(pieces):
            del self.pieces[base]
            return None
        last = [index for index, piece in pieces.items() if piece[1]]
        if not last or len(pieces) <= last[0]:
            return None
        whole = b"".join(pieces[i][0] for i in range(last[0] + 1))
        del self.pieces[base]
        return whole if 14 <= len(whole) <= self.max_frame else None

    def fit(self, pieces):
        """Whether pieces of one frame fit together."""
        lasts = [index for index, (_, last, _) in pieces.items() if last]
        sizes = {len(text) for text, last, _ in pieces.values() if not last}
        if len(lasts) > 1 or len(sizes) > 1 or len({csum for _, _, csum in pieces.values()}) > 1:
            return False
        if lasts and max(pieces) > lasts[0]:
            return False
        size = max(sizes, default=0)
        return all(len(text) <= (size or len(text)) and index * size + len(text) <= self.max_frame
                   for index, (text, _, _) in pieces.items())


# --- Frames ---------------------------------------------------------------------------------------

def inet_sum(data):
    """The ones' complement sum of RFC 1071, folded."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def find_ip(frame):
    """Where the IP header is, behind up to two VLAN tags, and its version; None if there is none."""
    at = 12
    for _ in range(2):
        if frame[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
            at += 4
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[at:at + 2])
    at += 2
    if version is None or len(frame) < at + (20 if version == 4 else 40) or frame[at] >> 4 != version:
        return None
    return at, version


def find_transport(frame):
    """Protocol, start, and whether IP ends with the frame, of a whole TCP or UDP header."""
    ip = find_ip(frame)
    if ip is None:
        return None
    at, version = ip
    if version == 4:
        start, protocol = at + (frame[at] & 15) * 4, frame[at + 9]
        end = at + int.from_bytes(frame[at + 2:at + 4], "big")
        if frame[at] & 15 < 5 or int.from_bytes(frame[at + 6:at + 8], "big") & ~0x4000:
            return None
    else:
        start, protocol = at + 40, frame[at + 6]
        end = start + int.from_bytes(frame[at + 4:at + 6], "big")
        for _ in range(8):
            if protocol not in (0, 43, 60) or len(frame) < start + 2:
                break
            protocol, start = frame[start], start + (frame[start + 1] + 1) * 8
    least = {6: 20, 17: 8}.get(protocol)
    if least is None or len(frame) < start + least:
        return None
    length = (frame[start + 12] >> 4) * 4 if protocol == 6 else 8
    if length < least or len(frame) < start + length:
        return None
    return protocol, start, end == len(frame)


def complete_checksum(frame):
    """A frame with a partial checksum, with the whole one; None if it is to be dropped."""
    found = find_transport(frame)
    if not found or not found[2]:
        return None
    protocol, start, _ = found
    at = start + (16 if protocol == 6 else 6)
    checksum = ~inet_sum(frame[start:]) & 0xFFFF
    if protocol == 17:
        checksum = checksum or 0xFFFF
    return frame[:at] + checksum.to_bytes(2, "big") + frame[at + 2:]


def updated(checksum, old, new):
    """A checksum after one of its words changed (RFC 1624)."""
    words = (~checksum & 0xFFFF, ~old & 0xFFFF, new)
    return ~inet_sum(struct.pack(">3H", *words)) & 0xFFFF


def clamp_mss(frame, mtu, csum):
    """The frame as it is sealed for a path of this MTU."""
    found = find_transport(frame)
    if not found or found[0] != 6 or not frame[found[1] + 13] & 2:
        return frame
    start, frame = found[1], bytearray(frame)
    end, at, limit = start + (frame[start + 12] >> 4) * 4, start + 20, mtu - 32 - start - 20
    while at < end and frame[at]:
        if frame[at] == 1:
            at += 1
        elif frame[at] != 2:
            at += max(frame[at + 1], 2)
        else:
            word = slice((at + 2 - start) // 2 * 2 + start, (at + 5 - start) // 2 * 2 + start)
            before = bytes(frame[word])
            if int.from_bytes(frame[at + 2:at + 4], "big") <= limit:
                break
            frame[at + 2:at + 4] = limit.to_bytes(2, "big")
            for i in range(0, len(before), 2) if not csum else ():
                old, new = (int.from_bytes(data[i:i + 2], "big") for data in (before, frame[word]))
                checksum = int.from_bytes(frame[start + 16:start + 18], "big")
                frame[start + 16:start + 18] = updated(checksum, old, new).to_bytes(2, "big")
            break
    return bytes(frame)


def ecn_field(frame):
    ip = find_ip(frame)
    if ip is None:
        return 0
    at, version = ip
    return frame[at + 1] & 3 if version == 4 else frame[at + 1] >> 4 & 3


def mark_congestion(frame):
    """The frame whose datagram came as CE; None if it is to be dropped."""
    if find_ip(frame) is None or ecn_field(frame) == 3:
        return frame
    if ecn_field(frame) == 0:
        return None
    (at, version), frame = find_ip(frame), bytearray(frame)
    if version == 6:
        frame[at + 1] |= 0x30
        return bytes(frame)
    old = int.from_bytes(frame[at:at + 2], "big")
    frame[at + 1] |= 3
    checksum = int.from_bytes(frame[at + 10:at + 12], "big")
    frame[at + 10:at + 12] = updated(checksum, old, old | 3).to_bytes(2, "big")
    return bytes(frame)


# --- Asking a server how it is --------------------------------------------------------------------

def query_mac(server, network, query):
    return blake2s(query[:48], key=blake2s(b"acton1 quer", server, network), size=16)


# --- Invites --------------------------------------------------------------------------------------

def read_invite(url):
    """What an invite holds."""
    need(url.startswith("acton://") and "#" in url, "scheme")
    server, text = url[8:].split("#", 1)
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(data[:1] in (b"\x01", b"\x02"), "version")
    body, checksum = data[:-4], data[-4:]
    need(blake2s(body)[:4] == checksum, "checksum")
    flags, rest = body[1], body[2:]
    if data[0] == 2:
        return read_servers(server.rstrip("/"), flags, rest)
    need(not flags & ~7, "flags")
    names = ["server_key"] + [name for flag, name in ((4, "network_key"), (1, "client_key"), (2, "psk"))
                              if flags & flag]
    need(len(rest) == 32 * len(names), "length")
    keys = {name: rest[32 * i:32 * i + 32] for i, name in enumerate(names)}
    return {"server": server.rstrip("/"), **keys}


def read_servers(first, flags, rest):
    """What an invite to several servers holds."""
    def take(size):
        nonlocal rest
        need(len(rest) >= size, "length")
        taken, rest = rest[:size], rest[size:]
        return taken

    need(not flags & ~1, "flags")
    invite = {"client_key": take(32)} if flags else {}
    keys, count = None, 0
    while rest:
        priority, weight, flags, length = take(4)
        need(not flags & ~7, "flags")
        address = take(length).decode()
        need(bool(address) == bool(count), "address")
        if flags & 1:
            need(flags == 1 and keys, "flags")
        else:
            names = ["server_key"] + [name for flag, name in ((4, "network_key"), (2, "psk")) if flags & flag]
            keys = {name: take(32) for name in names}
        count += 1
        own = {"server": address or first, "priority": str(priority), "weight": str(weight), **keys}
        invite.update({f"{name}_{count}": value for name, value in own.items()})
    need(2 <= count <= 16, "count")
    return invite


def plain(data):
    if data in (b"HELLO", b"KEEPALIVE", b"BYE"):
        return "control"
    return "frame" if 14 <= len(data) <= 65507 else "drop"


# --- A capture ------------------------------------------------------------------------------------

def read_pcap(path):
    """The Ethernet frames of a pcap file (draft-ietf-opsawg-pcap)."""
    data = open(path, "rb").read()
    order = {0xA1B2C3D4: ">", 0xA1B23C4D: ">"}.get(struct.unpack(">I", data[:4])[0], "<")
    need(struct.unpack(order + "I", data[20:24])[0] == 1, "not Ethernet")
    at = 24
    while at < len(data):
        _, _, length, _ = struct.unpack(order + "4I", data[at:at + 16])
        yield data[at + 16:at + 16 + length]
        at += 16 + length


def read_udp(frame):
    """Source, destination, payload; None if it is no UDP, "fragment" if IP cut it."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == 0x0800 and frame[23] == 17:
        if int.from_bytes(frame[20:22], "big") & 0x3FFF:
            return "fragment"
        at, source, target = 14 + (frame[14] & 15) * 4, frame[26:30], frame[30:34]
    elif kind == 0x86DD and frame[20] in (17, 44):
        if frame[20] == 44:
            return "fragment"
        at, source, target = 54, frame[22:38], frame[38:54]
    else:
        return None
    ports = struct.unpack(">HHH", frame[at:at + 6])
    end = lambda ip, port: (str(ipaddress.ip_address(ip)), port)
    return end(source, ports[0]), end(target, ports[1]), frame[at + 8:at + ports[2]]


def read_key(text):
    key = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text + "=" * (-len(text) % 4))
    need(len(key) == 32, "a key has 32 bytes")
    return key


def read_key_log(path):
    """The directions of a key log, by the id that datagrams carry there."""
    keys = collections.defaultdict(dict)
    for line in open(path, encoding="ascii"):
        words = line.split()
        need(words[:1] == ["acton/1"], "not a key log of acton/1")
        role, entry = words[1], dict(word.split("=", 1) for word in words[2:])
        ends = {"server": "local", "client": "remote"} if role == "server" else {
            "server": "remote", "client": "local"}
        for end, field in ends.items():
            split = bytes.fromhex(entry["to_" + end])
            # Both ends may log: the same direction twice is one.
            keys[int(entry[field], 16)].setdefault(split, Direction(int(entry["suite"]), split))
    return keys


class Decoder:
    def __init__(self, options):
        self.options, self.counts = options, collections.Counter()
        self.keys = read_key_log(options.key_log) if options.key_log else {}
        network = read_key(options.network_key) if options.network_key else ZERO
        self.mac1_keys = [mac1_key(read_key(text), network) for text in options.public]

    def sealed(self, kind, fields, data):
        for keys in self.keys.get(fields["receiver"], {}).values():
            try:
                text = keys.open(data, fields["counter"])
            except InvalidTag:
                continue
            self.counts["opened"] += 1
            verdict = keys.note(fields["counter"])
            said = " replayed" if verdict == "drop" else ""
            if kind == "CONTROL":
                return said + " " + parse_control(text)
            if verdict == "drop":
                return said
            if kind == "BUNDLE":
                return "".join(map(self.ethernet, parse_bundle(text)))
            frame = keys.frame(fields, text)
            return self.ethernet(frame) if frame else ""
        need(fields["receiver"] not in self.keys, "forged")
        self.counts["sealed"] += 1
        return ""

    def ethernet(self, frame):
        self.counts["frames"] += 1
        return " frame=" + (frame.hex() if self.options.frames else f"{len(frame)}")

    def describe(self, data):
        if self.options.plain:
            verdict = plain(data)
            need(verdict != "drop", "neither control nor a frame")
            self.counts["plain-" + verdict] += 1
            return data.decode() if verdict == "control" else "FRAME" + self.ethernet(data)
        kind, fields = parse(data)
        self.counts[kind] += 1
        text = kind + "".join(f" {name}={value}" for name, value in fields.items()
                              if isinstance(value, int))
        if "mac1" in fields and self.mac1_keys:
            at = {"HELLO": 136, "WELCOME": 92}[kind]
            tags = [blake2s(data[:at], size=16, key=key) for key in self.mac1_keys]
            need(fields["mac1"] in tags, "mac1")
            self.counts["mac1"] += 1
            text += " mac1=right"
        return text + (self.sealed(kind, fields, data) if data[0] in SEALED else "")

    def run(self):
        for number, frame in enumerate(read_pcap(self.options.capture), 1):
            udp = read_udp(frame)
            if udp == "fragment":
                self.counts["ip-fragment"] += 1
            if udp in (None, "fragment") or self.options.port not in (udp[0][1], udp[1][1]):
                continue
            source, target, data = udp
            try:
                text = self.describe(data)
            except Wrong as why:
                self.counts["wrong"] += 1
                text = f"WRONG {why}: {data[:32].hex()} ({len(data)} bytes)"
            print(number, f"{source[0]}:{source[1]}", f"{target[0]}:{target[1]}", text)
        print("total", *(f"{name}={count}" for name, count in sorted(self.counts.items())))
        return 1 if self.counts["wrong"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description=__doc__)
    parser.add_argument("capture")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--key-log")
    parser.add_argument("--public", action="append", default=[])
    parser.add_argument("--network-key")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--frames", action="store_true")
    sys.exit(Decoder(parser.parse_args()).run())
