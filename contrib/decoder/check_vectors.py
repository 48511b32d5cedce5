#!/usr/bin/env python3
"""Checks the test vectors of docs/vectors against acton_decode.py and a handshake of its own.

    check_vectors.py FILE...

Prints how many vectors agree; the exit code is 1 if one does not.
"""
import binascii, copy, hashlib, hmac, ipaddress, struct, sys
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from acton_decode import (ZERO, Direction, Wrong, blake2s, clamp_mss, complete_checksum, data_key,
                          ecn_field, mac1_key, mark_congestion, need, parse, parse_bundle,
                          parse_control, parse_hello_payload, parse_welcome_payload, plain, query_mac,
                          read_invite)


def cookie_for(secret, source):
    host, port = source.rsplit(":", 1)
    ip = ipaddress.ip_address(host.strip("[]"))
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return blake2s(ip.packed, int(port).to_bytes(2, "big"), size=16, key=secret)


def hchacha20(key, nonce):
    state = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I4I", key + nonce))
    rotate = lambda value, bits: (value << bits | value >> 32 - bits) & 0xFFFFFFFF

    def quarter(a, b, c, d):
        for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            state[z] = rotate(state[z] ^ state[x], bits)

    for _ in range(10):
        for i in range(4):
            quarter(i, i + 4, i + 8, i + 12)
        for i in range(4):
            quarter(i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12)
    return struct.pack("<8I", *state[:4], *state[12:])


def open_cookie(key, nonce, sealed, mac1):
    """XChaCha20-Poly1305."""
    inner = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
    return inner.decrypt(bytes(4) + nonce[16:], sealed, mac1)


class Noise:
    """The symmetric state of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s."""

    def __init__(self, server_public):
        self.hash = self.chain = blake2s(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        self.mix_hash(b"acton/1")
        self.mix_hash(server_public)

    def mix_hash(self, data):
        self.hash = blake2s(self.hash, data)

    def expand(self, secret, count):
        temp = hmac.new(self.chain, secret, hashlib.blake2s).digest()
        out, last = [], b""
        for i in range(count):
            last = hmac.new(temp, last + bytes([i + 1]), hashlib.blake2s).digest()
            out.append(last)
        return out

    def mix_key(self, secret):
        self.chain, self.key = self.expand(secret, 2)

    def mix_psk(self, psk):
        self.chain, temp, self.key = self.expand(psk, 3)
        self.mix_hash(temp)

    def mix_public(self, public):
        self.mix_hash(public)
        self.mix_key(public)  # As in all PSK patterns.

    def open(self, sealed):
        """Each key opens one message here, so its nonce is always 0."""
        text = ChaCha20Poly1305(self.key).decrypt(bytes(12), sealed, self.hash)
        self.mix_hash(sealed)
        return text


def dh(private, public):
    return X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(public))


def read_vectors(path):
    """Blocks of (field, value); bytes are 0x and hexadecimal, numbers decimal."""
    block, name = [], None
    for line in open(path, encoding="ascii").read().splitlines() + ["vector end"]:
        if not line or line.startswith("#"):
            continue
        field, value = line.split(" ", 1)
        if field == "vector":
            if name:
                yield name, block
            block, name = [], value
        else:
            block.append((field, bytes.fromhex(value[2:]) if value[:2] == "0x" else value))


def same(what, a, b):
    need(a == b, f"{what}: {a!r} is not {b!r}")


def check_handshake(v):
    client, server, network = v["client_public"], v["server_public"], v["network_key"]
    hello, welcome, retry = parse(v["hello"]), parse(v["welcome"]), parse(v["retry"])
    same("mac1", hello.fields["mac1"],
         blake2s(v["hello"][:136], size=16, key=mac1_key(server, network)))
    same("mac1", welcome.fields["mac1"],
         blake2s(v["welcome"][:92], size=16, key=mac1_key(client, network)))
    cookie = open_cookie(blake2s(b"acton1 cook", server, network), retry.fields["nonce"],
                         retry.fields["cookie"], hello.fields["mac1"])
    same("cookie", cookie, cookie_for(v["cookie_secret"], v["cookie_source"]))
    proven = v["hello_with_cookie"]
    same("mac2", parse(proven).fields["mac2"], blake2s(proven[:152], size=16, key=cookie))
    same("HELLO but mac2", proven[:152], v["hello"][:152])

    noise, message = Noise(server), hello.fields["noise"]
    ephemeral = message[:32]
    noise.mix_public(ephemeral)                                     # e
    noise.mix_key(dh(v["server_private"], ephemeral))               # es
    same("the client's key", noise.open(message[32:80]), client)    # s
    noise.mix_key(dh(v["server_private"], client))                  # ss
    same("payload", noise.open(message[80:]), v["hello_payload"])
    parse_hello_payload(v["hello_payload"])
    message = welcome.fields["noise"]
    noise.mix_public(message[:32])                                  # e
    noise.mix_key(dh(v["client_ephemeral_private"], message[:32]))  # ee
    noise.mix_key(dh(v["client_private"], message[:32]))            # se
    if "client_psk" in v:
        under_its_own = copy.copy(noise)
        under_its_own.mix_psk(v["client_psk"])
        try:
            under_its_own.open(message[32:])
        except InvalidTag:
            pass
        else:
            raise Wrong("it opens under the client's own key")
        need(v["welcome_payload"][3], "only a refusal counts")
    noise.mix_psk(v["psk"])                                         # psk
    same("payload", noise.open(message[32:]), v["welcome_payload"])
    parse_welcome_payload(v["welcome_payload"])
    same("split", noise.expand(b"", 2), [v["split_to_server"], v["split_to_client"]])


def check_sealed(v):
    suite, counter = int(v["suite"]), int(v["counter"])
    same("key and iv", data_key(v["split"], suite), (v["key"], v["iv"]))
    datagram = parse(v["datagram"])
    same("header", (datagram.fields["receiver"], datagram.fields["counter"]),
         (int(v["receiver_id"]), counter))
    text = Direction(suite, v["split"]).open(v["datagram"], counter)
    same("plaintext", text, v["plaintext"])
    if datagram.type == "CONTROL":
        parse_control(text)
    if datagram.type == "BUNDLE":
        parse_bundle(text, max_frame=1514)


def check_fragments(block):
    v = dict(block)
    keys, frame = Direction(int(v["suite"]), v["split"], max_frame=1514), "none"
    for data in (value for field, value in block if field == "datagram"):
        fields = parse(data).fields
        text = keys.open(data, fields["counter"])
        if keys.note(fields["counter"]) != "drop":
            same("base", fields["counter"] - fields["index"], int(v["first"]))
            frame = keys.frame(fields, text) or frame
    same("frame", frame, v["frame"])


def check_refused(url):
    try:
        read_invite(url)
    except (Wrong, binascii.Error):
        return
    raise Wrong("an invite that should not be taken")


def check(block):
    v = dict(block)
    if "refused" in v:
        check_refused(v["refused"])
    elif "invite" in v:
        url = v.pop("invite")
        same("invite", read_invite(url), v)
    elif "sealed" in v:
        same("sealed", clamp_mss(v["frame"], int(v["mtu"]), v["csum"] == "1"), v["sealed"])
    elif "bears" in v:
        same("field", ecn_field(v["frame"]), int(v["bears"]))
        same("marked", mark_congestion(v["frame"]) or "drop", v["marked"])
    elif "partial" in v:
        same("complete", complete_checksum(v["partial"]) or "drop", v["complete"])
    elif "hello_with_cookie" in v:
        check_handshake(v)
    elif "plaintext" in v:
        check_sealed(v)
    elif "frame" in v and "split" in v:
        check_fragments(block)
    elif "query" in v:
        query, reply, network = v["query"], v["reply"], v.get("network_key", ZERO)
        same("mac", query_mac(v["server_public"], network, query), parse(query).fields["mac"])
        same("echo", parse(reply).fields["receiver"], parse(query).fields["sender"])
        same("state", open_cookie(blake2s(b"acton1 repl", v["server_public"], network),
                                  reply[8:32], reply[32:], query[48:]), v["state"])
    elif "reset" in v:
        cause, reset = parse(v["datagram"]).fields, parse(v["reset"]).fields
        same("echo", (reset["receiver"], reset["counter"]), (cause["receiver"], cause["counter"]))
    elif block[0][0] == "reason":
        field, data = block[1]
        parsers = {"datagram": parse, "control": parse_control,
                   "bundle": lambda text: parse_bundle(text, max_frame=1514),
                   "hello_payload": parse_hello_payload, "welcome_payload": parse_welcome_payload}
        try:
            parsers[field](data)
        except Wrong:
            return
        raise Wrong(f"it parses, but should not: {v['reason']}")
    elif block[0][0] in ("newest", "late", "drop") and isinstance(block[0][1], str):
        keys = Direction(1, ZERO)
        for verdict, counter in block:
            same(f"counter {counter}", keys.note(int(counter)), verdict)
    else:
        (verdict, data), = block
        same("plain", plain(data), verdict)


def main(paths):
    failed = 0
    for path in paths:
        agreed = 0
        for name, block in read_vectors(path):
            try:
                check(block)
                agreed += 1
            except (Wrong, InvalidTag, KeyError, ValueError) as error:
                failed += 1
                print(f"{path}: {name}: {error!r}")
        need(agreed or failed, f"{path} holds no vectors")
        print(f"{path}: {agreed} agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
