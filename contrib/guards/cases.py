"""What is sent, and what is to come of it."""
import struct
from collections import namedtuple

from scapy.all import (
    ARP, BOOTP, DHCP, ICMP, IP, LLC, STP, TCP, UDP, Dot3, Ether, IPOption_NOP, IPOption_Router_Alert, Raw, conf,
    DUID_LL, DHCP6OptIA_NA, DHCP6OptIAAddress, DHCP6OptServerId, DHCP6_Advertise, DHCP6_Decline, DHCP6_Reconf,
    DHCP6_RelayForward, DHCP6_RelayReply, DHCP6_Release, DHCP6_Reply, DHCP6_Solicit, ICMPv6EchoRequest, ICMPv6ND_NA,
    ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6ND_Redirect, ICMPv6NDOptDstLLAddr, ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr, IPv6)

from world import BOUND, GATEWAY, HOST, OWN, SERVER

conf.verb = 0
Case = namedtuple("Case", "group name client frames wanted wanted_trusted harm")
CASES = []
ALL, ALL_NODES = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
OWN4, OWN6, OWN_LL = "10.9.0.10", "fd09::10", "fe80::10"
HOST4, HOST6, HOST_LL = "10.9.0.100", "fd09::100", "fe80::100"
GW4, GW6, GW_LL = "10.9.0.254", "fd09::254", "fe80::254"
OTHER4, OTHER6 = "10.9.0.77", "fd09::77"
UDP_NUMBER, ICMP6, AH, NO_NEXT, FRAGMENT, DESTINATION = 17, 58, 51, 59, 44, 60
group = None


def case(name, wanted, *frames, client="own", trusted=None, harm=""):
    """`harm` is what comes of it though the guards are on: what honest clients do, or what no guard is for."""
    frames = [frame if isinstance(frame, tuple) else bytes(frame) for frame in frames]
    frames = [frame if isinstance(frame, tuple) else frame.ljust(60, b"\0") for frame in frames]
    trusted = trusted or ("pass" if len(frames) == 1 else f"pass {len(frames)}")
    CASES.append(Case(group, name, client, frames, wanted, trusted, harm))


def eth(to=ALL, source=OWN):
    return Ether(dst=to, src=source)


def tags(frame, *before):
    """The same frame with tags: (EtherType, VLAN) each, the outer one first."""
    frame = bytes(frame)
    return frame[:12] + b"".join(struct.pack("!HH", *tag) for tag in before) + frame[12:]


def snap(frame, organisation=0):
    """The same packet behind a length, 802.2 and SNAP."""
    frame = bytes(frame)
    rest = b"\xaa\xaa\x03" + organisation.to_bytes(3, "big") + frame[12:]
    return frame[:12] + struct.pack("!H", min(len(rest), 1500)) + rest


def chain(first, payload, source=OWN_LL, to="ff02::1", mac=ALL_NODES, sender=OWN):
    """IPv6 with bytes behind its header."""
    return eth(mac, sender) / IPv6(src=source, dst=to, nh=first, hlim=255, plen=len(payload)) / Raw(payload)


def options(following, units=0):
    return bytes([following, units, 1, 4 + 8 * units]) + bytes(4 + 8 * units)


def fragment(following, offset=0, more=0, number=0):
    """Those of one case belong together."""
    number = (len(CASES) << 8) + number
    return struct.pack("!BBHI", following, 0, offset | more, number)


def cut4(frame, at):
    """IPv4 in two fragments."""
    frame, number = bytes(frame), 1 + len(CASES)
    packet = IP(frame[14:])
    payload = bytes(packet.payload)
    pieces = []
    for start, part, more in ((0, payload[:at], 1), (at, payload[at:], 0)):
        piece = packet.copy()
        piece.remove_payload()
        piece.len = piece.chksum = None
        piece.id, piece.flags, piece.frag = number, more, start // 8
        pieces.append(frame[:14] + bytes(piece / Raw(part)))
    return pieces


# ---------------------------------------------------------------------------------------------------------------
group = "Router advertisements"


def ra_packet(source=OWN_LL, to="ff02::1", hops=255):
    return (IPv6(src=source, dst=to, hlim=hops)
            / ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptSrcLLAddr(lladdr=OWN)
            / ICMPv6NDOptPrefixInfo(prefix="2001:db8:bad::", prefixlen=64, validlifetime=3600, preferredlifetime=1800))


ra_bytes = bytes(ra_packet())[40:]  # with its checksum
ra = eth(ALL_NODES) / ra_packet()
case("as it is", "guard_ra", ra)
case("to the host alone", "guard_ra", eth(HOST) / ra_packet(to=HOST_LL))
case("to the broadcast address of Ethernet", "guard_ra", eth() / ra_packet())
case("behind hop-by-hop options", "guard_ra", chain(0, options(ICMP6) + ra_bytes))
case("behind a router alert", "guard_ra", chain(0, bytes([ICMP6, 0, 5, 2, 0, 0, 1, 0]) + ra_bytes))
case("behind destination options", "guard_ra", chain(60, options(ICMP6) + ra_bytes))
case("behind long destination options", "guard_ra", chain(60, options(ICMP6, 30) + ra_bytes))
case("behind a routing header that is over", "guard_ra", chain(43, bytes([ICMP6, 0, 253, 0, 0, 0, 0, 0]) + ra_bytes))
case("behind three kinds of headers", "guard_ra",
     chain(0, options(60) + options(43) + bytes([ICMP6, 0, 253, 0, 0, 0, 0, 0]) + ra_bytes))
case("behind eight headers", "guard_ra", chain(60, options(60) * 7 + options(ICMP6) + ra_bytes))
case("behind nine headers", "guard_hidden", chain(60, options(60) * 8 + options(ICMP6) + ra_bytes))
case("behind an authentication header", "guard_ra", chain(AH, bytes([ICMP6, 4]) + bytes(22) + ra_bytes))
case("behind a header of nobody's (253)", "pass", chain(253, options(ICMP6) + ra_bytes))
case("behind no next header (59)", "pass", chain(NO_NEXT, ra_bytes))
for name, number in (("of mobility (135)", 135), ("of HIP (139)", 139), ("of Shim6 (140)", 140), ("of ESP (50)", 50)):
    case(f"behind a header {name}", "pass", chain(number, options(ICMP6) + ra_bytes))
case("behind destination options and then hop-by-hop ones", "guard_ra",
     chain(60, options(0) + options(ICMP6) + ra_bytes))
case("atomic fragment (RFC 6946)", "guard_ra", chain(FRAGMENT, fragment(ICMP6) + ra_bytes))
case("two atomic fragments in one another", "guard_ra",
     chain(FRAGMENT, fragment(FRAGMENT) + fragment(ICMP6) + ra_bytes))
case("in fragments (RFC 6980)", "guard_ra + pass",
     chain(FRAGMENT, fragment(ICMP6, 0, 1) + ra_bytes[:16]), chain(FRAGMENT, fragment(ICMP6, 16) + ra_bytes[16:]))
case("in fragments, the later one first", "guard_ra + pass",
     chain(FRAGMENT, fragment(ICMP6, 16) + ra_bytes[16:]), chain(FRAGMENT, fragment(ICMP6, 0, 1) + ra_bytes[:16]))
case("in fragments, the first one a part of the chain (RFC 7112)", "guard_hidden + pass",
     chain(FRAGMENT, fragment(60, 0, 1) + options(ICMP6, 1)[:8]),
     chain(FRAGMENT, fragment(60, 8) + options(ICMP6, 1)[8:] + ra_bytes))
case("in fragments, the first one the chain and no more", "guard_hidden + pass",
     chain(FRAGMENT, fragment(60, 0, 1) + options(ICMP6)), chain(FRAGMENT, fragment(60, 8) + ra_bytes))
case("in fragments, the first one without a byte", "guard_hidden + guard_ra + pass",
     chain(FRAGMENT, fragment(ICMP6, 0, 1)), chain(FRAGMENT, fragment(ICMP6, 0, 1) + ra_bytes[:16]),
     chain(FRAGMENT, fragment(ICMP6, 16) + ra_bytes[16:]))
echo = bytes(IPv6(src=OWN_LL, dst="ff02::1") / ICMPv6EchoRequest())[40:]
case("in fragments that overlap: the second one writes over the type", "pass 2",
     chain(FRAGMENT, fragment(60, 0, 1) + options(ICMP6) + echo), chain(FRAGMENT, fragment(60, 8) + ra_bytes))
case("in fragments that overlap, the later one first", "pass 2",
     chain(FRAGMENT, fragment(60, 8) + ra_bytes), chain(FRAGMENT, fragment(60, 0, 1) + options(ICMP6) + echo))
case("in fragments, two that both are the first", "guard_ra + pass 2",
     chain(FRAGMENT, fragment(ICMP6, 0, 1) + echo.ljust(16, b"\0")[:16]),
     chain(FRAGMENT, fragment(ICMP6, 0, 1) + ra_bytes[:16]), chain(FRAGMENT, fragment(ICMP6, 16) + ra_bytes[16:]))
inner = fragment(ICMP6, 0, 1, 8) + ra_bytes[:16]
case("a fragment of it in fragments", "guard_hidden + pass 2",
     chain(FRAGMENT, fragment(FRAGMENT, 0, 1) + inner[:8]), chain(FRAGMENT, fragment(FRAGMENT, 8) + inner[8:]),
     chain(FRAGMENT, fragment(ICMP6, 16, 0, 8) + ra_bytes[16:]))
case("hop-by-hop options and a length of 0, no jumbogram", "guard_hidden",
     eth(ALL_NODES) / IPv6(src=OWN_LL, dst="ff02::1", nh=0, hlim=255, plen=0) / Raw(options(ICMP6) + ra_bytes))
case("hop-by-hop options of a jumbogram (RFC 2675)", "guard_hidden",
     eth(ALL_NODES) / IPv6(src=OWN_LL, dst="ff02::1", nh=0, hlim=255, plen=0)
     / Raw(bytes([ICMP6, 0, 0xc2, 4, 0, 1, 0, 0]) + ra_bytes))
case("a length of 0", "guard_hidden",
     eth(ALL_NODES) / IPv6(src=OWN_LL, dst="ff02::1", nh=ICMP6, hlim=255, plen=0) / Raw(ra_bytes))
case("a length beyond the frame", "guard_ra",
     eth(ALL_NODES) / IPv6(src=OWN_LL, dst="ff02::1", nh=ICMP6, hlim=255, plen=900) / Raw(ra_bytes))
case("a length that ends behind its type", "guard_ra",
     eth(ALL_NODES) / IPv6(src=OWN_LL, dst="ff02::1", nh=ICMP6, hlim=255, plen=4) / Raw(ra_bytes))
case("behind UDP's end, of a packet that is shorter", "pass",
     eth(ALL_NODES) / IPv6(src=OWN_LL, dst="ff02::1", nh=17, hlim=255, plen=8)
     / Raw(bytes([0, 9, 0, 9, 0, 8, 0, 0]) + ra_bytes))
case("of few hops left", "guard_ra", eth(ALL_NODES) / ra_packet(hops=64))
case("from a global address", "guard_ra", eth(ALL_NODES) / ra_packet(source=OWN6))
case("from the gateway's address", "guard_ra", eth(ALL_NODES) / ra_packet(source=GW_LL))
case("in a priority tag", "guard_ra", tags(ra, (0x8100, 0xe000)))
case("in a priority tag of 802.1ad", "guard_ra", tags(ra, (0x88a8, 0)))
case("in two priority tags (CVE-2021-27853)", "guard_hidden", tags(ra, (0x8100, 0), (0x8100, 0)))
case("in a priority tag of each kind", "guard_hidden", tags(ra, (0x88a8, 0), (0x8100, 0)))
case("in three priority tags", "guard_hidden", tags(ra, (0x8100, 0), (0x8100, 0), (0x8100, 0)))
case("in VLAN 7", "guard_ra", tags(ra, (0x8100, 7)))
case("in VLAN 7 of VLAN 8", "guard_ra", tags(ra, (0x8100, 8), (0x8100, 7)))
case("in VLAN 7 of VLAN 8, QinQ", "guard_ra", tags(ra, (0x88a8, 8), (0x8100, 7)))
case("in VLAN 7 behind a priority tag", "guard_hidden", tags(ra, (0x8100, 0), (0x8100, 7)))
case("in VLAN 4095", "guard_ra", tags(ra, (0x8100, 4095)), trusted="bad_vlan")
case("in a tag of an old kind (0x9100)", "pass", tags(ra, (0x9100, 7)))
case("in SNAP (CVE-2021-27854)", "guard_hidden", snap(ra))
case("in SNAP of another organisation", "guard_hidden", snap(ra, 0xf8))
case("in SNAP, in VLAN 7", "guard_hidden", tags(snap(ra), (0x8100, 7)))
case("in SNAP that has a tag", "guard_hidden", snap(tags(ra, (0x8100, 0))))
case("in 802.2 without SNAP", "pass", Ether(bytes(ra)[:12] + b"\0\x60\x06\x06\x03" + bytes(ra)[14:]))
case("in SNAP with a wrong length (CVE-2021-27862)", "guard_hidden",
     bytes(snap(ra))[:12] + b"\0\3" + bytes(snap(ra))[14:])
case("as IPv4 (EtherType 0x0800)", "pass", bytes(ra)[:12] + b"\x08\0" + bytes(ra)[14:])
case("in IPv4 (6in4, to the host)", "pass", eth(HOST) / IP(src=OWN4, dst=HOST4, proto=41) / ra_packet())
case("in IPv6 (to the host)", "pass", eth(HOST) / IPv6(src=OWN6, dst=HOST6, nh=41) / ra_packet())
case("a router solicitation", "pass", eth("33:33:00:00:00:02") / IPv6(src=OWN_LL, dst="ff02::2", hlim=255)
     / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=OWN))
case("IPv4's router advertisement (ICMP 9)", "pass", eth("01:00:5e:00:00:01") / IP(src=OWN4, dst="224.0.0.1", ttl=1)
     / ICMP(type=9) / Raw(bytes([1, 2, 7, 8]) + bytes([10, 9, 0, 10, 0, 0, 0, 0])))

# ---------------------------------------------------------------------------------------------------------------
group = "Redirects"
inner4 = bytes(IP(src=HOST4, dst="203.0.113.9", proto=1) / ICMP(type=0))
redirect4 = IP(src=GW4, dst=HOST4) / ICMP(type=5, code=1, gw=OWN4) / Raw(inner4)
plain4 = bytes(redirect4)
redirect6 = (IPv6(src=GW_LL, dst=HOST_LL, hlim=255)
             / ICMPv6ND_Redirect(tgt=OWN_LL, dst="2001:db8:9::9") / ICMPv6NDOptDstLLAddr(lladdr=OWN))
redirect6_bytes = bytes(redirect6)[40:]
to_host = {"to": HOST_LL, "mac": HOST, "source": GW_LL}
case("of ICMP", "guard_redirect", eth(HOST) / redirect4)
case("of ICMP, for a network", "guard_redirect",
     eth(HOST) / IP(src=GW4, dst=HOST4) / ICMP(type=5, code=0, gw=OWN4) / Raw(inner4))
case("of ICMP, to all", "guard_redirect", eth() / redirect4)
case("of ICMP, from the client's own address", "guard_redirect",
     eth(HOST) / IP(src=OWN4, dst=HOST4) / ICMP(type=5, code=1, gw=OWN4) / Raw(inner4))
case("of ICMP, behind options of IP", "guard_redirect",
     eth(HOST) / IP(src=GW4, dst=HOST4, options=[IPOption_NOP()] * 4) / ICMP(type=5, code=1, gw=OWN4) / Raw(inner4))
case("of ICMP, behind the longest options of IP", "guard_redirect",
     eth(HOST) / IP(src=GW4, dst=HOST4, options=[IPOption_NOP()] * 40) / ICMP(type=5, code=1, gw=OWN4) / Raw(inner4))
case("of ICMP, in fragments (from the gateway's address)", "guard_gateway + guard_redirect",
     *cut4(eth(HOST) / redirect4, 8))
case("of ICMP, in fragments (from its own address)", "guard_redirect + pass",
     *cut4(eth(HOST) / IP(src=OWN4, dst=HOST4) / ICMP(type=5, code=1, gw=OWN4) / Raw(inner4), 8))
case("of ICMP, in a priority tag", "guard_redirect", tags(eth(HOST) / redirect4, (0x8100, 0)))
case("of ICMP, in SNAP", "guard_hidden", snap(eth(HOST) / redirect4))
case("of ICMP, the length of IP 0", "guard_hidden",
     eth(HOST) / IP(src=OWN4, dst=HOST4, len=0) / ICMP(type=5, code=1, gw=OWN4) / Raw(inner4))
case("of ICMPv6", "guard_redirect", eth(HOST) / redirect6)
case("of ICMPv6, behind destination options", "guard_redirect", chain(60, options(ICMP6) + redirect6_bytes, **to_host))
case("of ICMPv6, atomic fragment", "guard_redirect", chain(FRAGMENT, fragment(ICMP6) + redirect6_bytes, **to_host))
case("of ICMPv6, in two priority tags", "guard_hidden", tags(eth(HOST) / redirect6, (0x8100, 0), (0x8100, 0)))

# ---------------------------------------------------------------------------------------------------------------
group = "DHCP"


def dhcp(operation=2, sport=67, dport=68, to="255.255.255.255", mac=ALL, kind="offer", **of_ip):
    return (eth(mac) / IP(src=OWN4, dst=to, **of_ip) / UDP(sport=sport, dport=dport)
            / BOOTP(op=operation, xid=7, yiaddr="10.9.0.66", siaddr=OWN4, chaddr=bytes.fromhex("02ac70000064"))
            / DHCP(options=[("message-type", kind), ("router", OWN4), "end"]))


offer = dhcp()
unicast = {"to": HOST4, "mac": HOST}
case("an offer to all", "guard_dhcp", offer)
case("an acknowledgement to the host", "guard_dhcp", dhcp(kind="ack", **unicast))
case("from an odd port", "guard_dhcp", dhcp(sport=1067, **unicast))
case("to an odd port", "guard_dhcp", dhcp(dport=1068, **unicast))
case("an answer to a relay", "guard_dhcp", dhcp(dport=67, **unicast))
case("without a checksum", "guard_dhcp", bytes(offer)[:40] + b"\0\0" + bytes(offer)[42:])
case("BOOTP to a client's port, as a question", "guard_dhcp", dhcp(operation=1, **unicast))
case("an operation that is none", "guard_dhcp", dhcp(operation=0, dport=67, **unicast))
case("behind options of IP", "guard_dhcp", dhcp(options=[IPOption_NOP()] * 8, **unicast))
case("behind a router alert of IP", "guard_dhcp", dhcp(options=[IPOption_Router_Alert()], **unicast))
for name, at, wanted, more in (("in fragments", 32, "guard_dhcp + pass", {}),
                               ("in fragments, UDP's header alone in the first", 8, "guard_dhcp + pass", {}),
                               ("in fragments, to a relay", 8, "guard_hidden + pass", {"dport": 67})):
    case(name, wanted, *cut4(dhcp(**unicast, **more), at))
case("in fragments, the later one first", "guard_dhcp + pass",
     *reversed(cut4(dhcp(**unicast), 32)))
pieces, harmless = cut4(dhcp(**unicast), 32), cut4(dhcp(sport=9, dport=9, **unicast), 32)
case("in fragments, two that both are the first", "guard_dhcp + pass 2",
     harmless[0], *pieces)
pieces = cut4(dhcp(**unicast), 32)
case("in fragments, one without a byte the first", "guard_dhcp + guard_hidden + pass",
     eth(HOST) / IP(src=OWN4, dst=HOST4, id=1 + len(CASES), flags=1, proto=17), *pieces)
case("with IP's reserved bit set (RFC 3514)", "guard_dhcp", dhcp(flags=4, **unicast))
case("behind an authentication header", "pass",
     eth(HOST) / IP(src=OWN4, dst=HOST4, proto=AH)
     / Raw(bytes([UDP_NUMBER, 4]) + bytes(22) + bytes(dhcp(**unicast)[UDP])))
case("UDP longer than its packet", "guard_dhcp",
     eth(HOST) / IP(src=OWN4, dst=HOST4) / UDP(sport=67, dport=68, len=900) / Raw(bytes(40)))
case("a header of UDP that is cut off", "guard_hidden",
     eth(HOST) / IP(src=OWN4, dst=HOST4, proto=17, len=22) / Raw(b"\0\x43\0\x44" + bytes(20)))
case("in a priority tag", "guard_dhcp", tags(offer, (0x8100, 0)))
case("in two priority tags", "guard_hidden", tags(offer, (0x8100, 0), (0x8100, 0)))
case("in VLAN 7", "guard_dhcp", tags(offer, (0x8100, 7)))
case("in VLAN 7 of VLAN 8, QinQ", "guard_dhcp", tags(offer, (0x88a8, 8), (0x8100, 7)))
case("in SNAP", "guard_hidden", snap(offer))
case("a client's question", "pass", dhcp(operation=1, sport=68, dport=67, kind="discover"), harm="UDP 67")
case("a relay's question", "pass", dhcp(operation=1, sport=67, dport=67, kind="discover", **unicast), harm="UDP 67")
# Linux cuts what comes behind such a header of virtio into datagrams: GSO_UDP_L4 (5) of 32 bytes each.
super_offer = bytes(dhcp(**unicast)[Ether])


def super_frame(frame, kind, size, network, transport):
    """A super-frame: its header of virtio (flags, kind, length of headers, size, start and offset of the checksum)."""
    frame = bytes(frame)
    start = network + transport
    offset = 6 if kind & 0x7f == 5 else 16
    header_len = start + (8 if kind & 0x7f == 5 else 20)
    return struct.pack("=BBHHHH", 1, kind, header_len, size, start, offset), frame


case("a super-frame of four", "guard_dhcp 4", super_frame(super_offer, 5, 64, 14, 20))

# ---------------------------------------------------------------------------------------------------------------
group = "DHCPv6"
DUID = DHCP6OptServerId(duid=DUID_LL(lladdr=OWN))


def dhcp6(message, sport=547, dport=546, to=HOST_LL, mac=HOST):
    return eth(mac) / IPv6(src=OWN_LL, dst=to) / UDP(sport=sport, dport=dport) / message


def dhcp6_bytes(message, **more):
    return bytes(dhcp6(message, **more)[UDP])


advertise = DHCP6_Advertise(trid=7) / DUID
group_of_servers = {"to": "ff02::1:2", "mac": "33:33:00:01:00:02"}
to_host = {"to": HOST_LL, "mac": HOST}
case("ADVERTISE", "guard_dhcp", dhcp6(advertise))
case("REPLY", "guard_dhcp", dhcp6(DHCP6_Reply(trid=7) / DUID))
case("RECONFIGURE", "guard_dhcp", dhcp6(DHCP6_Reconf(trid=0) / DUID))
case("from an odd port", "guard_dhcp", dhcp6(advertise, sport=1547))
case("REPLY to servers' port", "guard_dhcp", dhcp6(DHCP6_Reply(trid=7) / DUID, dport=547, **group_of_servers))
case("RELAY-REPL", "guard_dhcp",
     dhcp6(DHCP6_RelayReply(linkaddr="::", peeraddr=HOST_LL), dport=547, **group_of_servers))
advertise_bytes = dhcp6_bytes(advertise)
case("behind hop-by-hop options", "guard_dhcp", chain(0, options(UDP_NUMBER) + advertise_bytes, **to_host))
case("behind destination options", "guard_dhcp", chain(60, options(UDP_NUMBER) + advertise_bytes, **to_host))
case("behind an authentication header", "guard_dhcp",
     chain(AH, bytes([UDP_NUMBER, 4]) + bytes(22) + advertise_bytes, **to_host))
case("atomic fragment", "guard_dhcp", chain(FRAGMENT, fragment(UDP_NUMBER) + advertise_bytes, **to_host))
case("in fragments", "guard_dhcp + pass", chain(FRAGMENT, fragment(UDP_NUMBER, 0, 1) + advertise_bytes[:8], **to_host),
     chain(FRAGMENT, fragment(UDP_NUMBER, 8) + advertise_bytes[8:], **to_host))
case("in fragments, the chain alone in the first", "guard_hidden + pass",
     chain(FRAGMENT, fragment(60, 0, 1) + options(UDP_NUMBER), **to_host),
     chain(FRAGMENT, fragment(60, 8) + advertise_bytes, **to_host))
nothing = bytes([0, 9, 0, 9, 0, 8, 0, 0])
case("in fragments that overlap: the second one writes over the ports", "pass 2",
     chain(FRAGMENT, fragment(60, 0, 1) + options(UDP_NUMBER) + nothing, **to_host),
     chain(FRAGMENT, fragment(60, 8) + advertise_bytes, **to_host))
case("in fragments, to servers' port, UDP's header alone in the first", "guard_hidden + pass",
     chain(FRAGMENT, fragment(UDP_NUMBER, 0, 1) + dhcp6_bytes(advertise, dport=547)[:8], **to_host),
     chain(FRAGMENT, fragment(UDP_NUMBER, 8) + dhcp6_bytes(advertise, dport=547)[8:], **to_host))
case("in VLAN 7", "guard_dhcp", tags(dhcp6(advertise), (0x8100, 7)))
case("in two priority tags", "guard_hidden", tags(dhcp6(advertise), (0x8100, 0), (0x8100, 0)))
case("in SNAP", "guard_hidden", snap(dhcp6(advertise)))
case("a client's SOLICIT", "pass",
     dhcp6(DHCP6_Solicit(trid=7), sport=546, dport=547, **group_of_servers), harm="UDP 547")
case("a relay's RELAY-FORW", "pass",
     dhcp6(DHCP6_RelayForward(linkaddr="::", peeraddr=OWN_LL), dport=547, **group_of_servers),
     harm="UDP 547")
case("a super-frame of four", "guard_dhcp 4",
     super_frame(dhcp6(DHCP6_Advertise(trid=7) / Raw(bytes(200))), 5, 64, 14, 40))

# ---------------------------------------------------------------------------------------------------------------
group = "ARP, as the gateway or the server"


def arp(operation, sender, target, mac=ALL, sha=OWN, source=OWN, tha="00:00:00:00:00:00", **more):
    return eth(mac, source) / ARP(op=operation, psrc=sender, pdst=target, hwsrc=sha, hwdst=tha, **more)


def hardware(frame, kind):
    return bytes(frame)[:14] + struct.pack("!H", kind) + bytes(frame)[16:]


answer = arp(2, GW4, HOST4, mac=HOST, tha=HOST)
case("an answer to the host", "guard_gateway", answer)
case("an answer to all", "guard_gateway", arp(2, GW4, HOST4))
case("a question to the host", "guard_gateway", arp(1, GW4, HOST4, mac=HOST))
case("gratuitous, a question", "guard_gateway", arp(1, GW4, GW4))
case("gratuitous, an answer", "guard_gateway", arp(2, GW4, GW4))
case("a probe for it (RFC 5227)", "guard_gateway", arp(1, "0.0.0.0", GW4))
case("the server's address", "guard_gateway", arp(2, "10.9.0.1", HOST4, mac=HOST))
case("with another's hardware address", "guard_gateway", arp(2, GW4, HOST4, mac=HOST, sha="02:ac:70:00:00:77"))
case("hardware of 802 (6)", "guard_gateway", hardware(answer, 6))
case("hardware of another kind (15)", "guard_gateway", hardware(answer, 15))
case("with bytes behind it", "guard_gateway", answer / Raw(bytes(200)))
case("cut off before the sender's address", "pass", bytes(answer)[:26])
case("in a priority tag", "guard_gateway", tags(answer, (0x8100, 0)))
case("in a priority tag of 802.1ad", "guard_gateway", tags(answer, (0x88a8, 0)))
case("in two priority tags", "guard_hidden", tags(answer, (0x8100, 0), (0x8100, 0)))
case("in VLAN 7, where it is nobody's", "pass", tags(answer, (0x8100, 7)))
case("in SNAP", "guard_hidden", snap(answer))
case("a question for it, from its own address", "pass", arp(1, OWN4, GW4))
case("its own address, at another's hardware address", "pass", arp(2, OWN4, HOST4, mac=HOST, sha=GATEWAY))
case("another host's address, without a policy", "pass", arp(2, OTHER4, HOST4, mac=HOST),
     harm="neighbour 10.9.0.77")
case("RARP", "pass", bytes(arp(3, GW4, HOST4))[:12] + b"\x80\x35" + bytes(arp(3, GW4, HOST4))[14:])
case("an IP packet from its address", "guard_gateway", eth(HOST) / IP(src=GW4, dst=HOST4) / UDP(sport=9, dport=9))
case("an IP packet from its address, in fragments", "guard_gateway 2",
     *cut4(eth(HOST) / IP(src=GW4, dst=HOST4) / UDP(sport=9, dport=9) / Raw(bytes(40)), 24))
case("TCP from its address, in VLAN 7 behind a priority tag", "guard_hidden",
     tags(eth(HOST) / IP(src=GW4, dst=HOST4) / TCP(), (0x8100, 0), (0x8100, 7)))
case("TCP from its own, in VLAN 7 behind a priority tag", "guard_hidden",
     tags(eth(HOST) / IP(src=OWN4, dst=HOST4) / TCP(), (0x8100, 0), (0x8100, 7)))
case("TCP from its address", "guard_gateway", eth(HOST) / IP(src=GW4, dst=HOST4) / TCP())
case("TCP from its address, a super-frame of three", "guard_gateway 3",
     super_frame(eth(HOST) / IP(src=GW4, dst=HOST4) / TCP(flags="A") / Raw(bytes(4000)), 1, 1400, 14, 20))

# ---------------------------------------------------------------------------------------------------------------
group = "Neighbour discovery, as the gateway or the server"


def na(target, source=OWN_LL, to=HOST_LL, mac=HOST, at=OWN, sender=OWN):
    return (eth(mac, sender) / IPv6(src=source, dst=to, hlim=255) / ICMPv6ND_NA(tgt=target, R=1, S=1, O=1)
            / ICMPv6NDOptDstLLAddr(lladdr=at))


def ns(target, source, to=HOST_LL, mac=HOST, at=OWN, sender=OWN):
    return (eth(mac, sender) / IPv6(src=source, dst=to, hlim=255) / ICMPv6ND_NS(tgt=target)
            / ICMPv6NDOptSrcLLAddr(lladdr=at))


claim = na(GW6)
claim_bytes = bytes(claim)[54:]
to_host = {"to": HOST_LL, "mac": HOST}
case("an answer to the host", "guard_gateway", claim)
case("an answer to all", "guard_gateway", na(GW6, to="ff02::1", mac=ALL_NODES))
case("an answer, of the link-local address", "guard_gateway", na(GW_LL))
case("a question from it", "guard_gateway", ns(HOST6, GW6))
case("a question from it, of the link-local address", "guard_gateway", ns(HOST_LL, GW_LL))
case("a probe for it", "guard_gateway",
     eth("33:33:ff:00:02:54") / IPv6(src="::", dst="ff02::1:ff00:254", hlim=255) / ICMPv6ND_NS(tgt=GW6))
case("a router solicitation from it", "guard_gateway",
     eth("33:33:00:00:00:02") / IPv6(src=GW_LL, dst="ff02::2", hlim=255)
     / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=OWN))
case("the server's address", "guard_gateway", na("fd09::1"))
case("behind hop-by-hop options", "guard_gateway", chain(0, options(ICMP6) + claim_bytes, **to_host))
case("behind an authentication header", "guard_gateway",
     chain(AH, bytes([ICMP6, 4]) + bytes(22) + claim_bytes, **to_host))
case("behind nine headers", "guard_hidden", chain(60, options(60) * 8 + options(ICMP6) + claim_bytes, **to_host))
case("atomic fragment", "guard_gateway", chain(FRAGMENT, fragment(ICMP6) + claim_bytes, **to_host))
case("in fragments, the address in the second", "guard_hidden + pass",
     chain(FRAGMENT, fragment(ICMP6, 0, 1) + claim_bytes[:8], **to_host),
     chain(FRAGMENT, fragment(ICMP6, 8) + claim_bytes[8:], **to_host))
case("in fragments, a part of the address in the second", "guard_hidden + pass",
     chain(FRAGMENT, fragment(ICMP6, 0, 1) + claim_bytes[:16], **to_host),
     chain(FRAGMENT, fragment(ICMP6, 16) + claim_bytes[16:], **to_host))
case("in fragments, the hardware address in the second", "guard_gateway + pass",
     chain(FRAGMENT, fragment(ICMP6, 0, 1) + claim_bytes[:24], **to_host),
     chain(FRAGMENT, fragment(ICMP6, 24) + claim_bytes[24:], **to_host))
case("in a priority tag", "guard_gateway", tags(claim, (0x8100, 0)))
case("in two priority tags", "guard_hidden", tags(claim, (0x8100, 0), (0x8100, 0)))
case("in SNAP", "guard_hidden", snap(claim))
case("its own address, at another's hardware address", "pass", na(OWN6, at=GATEWAY))
case("another host's address, without a policy", "pass", na(OTHER6), harm="neighbour fd09::77")
case("an IP packet from its address", "guard_gateway", eth(HOST) / IPv6(src=GW6, dst=HOST6) / UDP(sport=9, dport=9))
case("an IP packet from its address, a later fragment", "guard_gateway",
     chain(FRAGMENT, fragment(UDP_NUMBER, 8) + bytes(16), source=GW6, to=HOST6, mac=HOST))

# ---------------------------------------------------------------------------------------------------------------
group = "A client whose policy has `ips`"
BOUND4, BOUND6, BOUND_LL = "10.9.0.11", "fd09::11", "fe80::11"
bound = {"client": "bound"}
mine = {"sha": BOUND, "source": BOUND}
theirs = {"source": "fe80::11", "sender": BOUND, "to": HOST_LL, "mac": HOST}
case("IP from its own address", "pass", eth(HOST, BOUND) / IP(src=BOUND4, dst=HOST4) / UDP(sport=9, dport=9), **bound)
case("IP from another", "source_ip", eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4) / UDP(sport=9, dport=9), **bound)
case("IP from another, TCP", "source_ip", eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4) / TCP(), **bound)
case("IP from another, in fragments", "source_ip 2",
     *cut4(eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4) / UDP(sport=9, dport=1068) / Raw(bytes(40)), 24), **bound)
own, other = (cut4(eth(HOST, BOUND) / IP(src=source, dst=HOST4) / UDP(sport=9, dport=1068) / Raw(bytes(40)), 24)
              for source in (BOUND4, OTHER4))
case("IP, its first fragment from its own and the next from another", "source_ip + pass", own[0], other[1], **bound)
case("IP from another, behind options", "source_ip",
     eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4, options=[IPOption_NOP()] * 4) / UDP(sport=9, dport=1068), **bound)
case("IP from another, in a priority tag", "source_ip",
     tags(eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4) / UDP(sport=9, dport=1068), (0x8100, 0)), **bound)
case("IP from another, in two priority tags", "guard_hidden",
     tags(eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4) / UDP(sport=9, dport=1068), (0x8100, 0), (0x8100, 0)), **bound)
case("IP from another, in SNAP", "guard_hidden",
     snap(eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4) / UDP(sport=9, dport=1068)), **bound)
case("IP from another, a header of 16 bytes", "source_ip",
     eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4, ihl=4) / UDP(sport=9, dport=1068), **bound)
case("IP from another, in IP from its own", "pass",
     eth(HOST, BOUND) / IP(src=BOUND4, dst=HOST4) / IP(src=OTHER4, dst=HOST4) / UDP(sport=9, dport=1068), **bound)
case("IP from another, a super-frame of seven", "source_ip 7",
     super_frame(eth(HOST, BOUND) / IP(src=OTHER4, dst=HOST4) / UDP(sport=9, dport=1068) / Raw(bytes(400)),
                 5, 64, 14, 20), **bound)
case("IP from the group of all", "source_ip",
     eth(HOST, BOUND) / IP(src="255.255.255.255", dst=HOST4) / UDP(sport=9, dport=9), **bound)
case("IP from loopback", "source_ip",
     eth(HOST, BOUND) / IP(src="127.0.0.1", dst=HOST4) / UDP(sport=9, dport=1068), **bound)
case("ARP: its own address", "pass", arp(2, BOUND4, HOST4, mac=HOST, **mine), **bound)
case("ARP: an answer with another's", "source_ip", arp(2, OTHER4, HOST4, mac=HOST, **mine), **bound)
case("ARP: a question with another's", "source_ip", arp(1, OTHER4, HOST4, mac=HOST, **mine), **bound)
case("ARP: a probe for another's", "source_ip", arp(1, "0.0.0.0", OTHER4, **mine), **bound)
case("ARP: hardware of 802 (6)", "source_ip", hardware(arp(2, OTHER4, HOST4, mac=HOST, **mine), 6), **bound)
case("ARP: addresses of a length that is not IPv4's", "source_ip",
     arp(2, OTHER4, HOST4, mac=HOST, plen=16, **mine), **bound)
case("ARP: in a priority tag", "source_ip", tags(arp(2, OTHER4, HOST4, mac=HOST, **mine), (0x8100, 0)), **bound)


def gives_back(kind, address, option=None):
    more = [("requested_addr", option)] if option else []
    return (eth(HOST, BOUND) / IP(src=BOUND4, dst=HOST4) / UDP(sport=68, dport=67)
            / BOOTP(op=1, ciaddr=address, chaddr=bytes.fromhex("02ac70000064"))
            / DHCP(options=[("message-type", kind), *more, "end"]))


def gives_back6(message, address):
    lease = DHCP6OptIA_NA(iaid=1, ianaopts=[DHCP6OptIAAddress(addr=address)])
    return (eth("33:33:00:01:00:02", BOUND) / IPv6(src="fe80::11", dst="ff02::1:2") / UDP(sport=546, dport=547)
            / message / lease)


case("DHCP: RELEASE of its own address", "pass", gives_back("release", BOUND4), harm="UDP 67", **bound)
case("DHCP: RELEASE of another's", "source_ip", gives_back("release", OTHER4), **bound)
case("DHCP: DECLINE of another's", "source_ip", gives_back("decline", "0.0.0.0", OTHER4), **bound)
case("DHCP: RELEASE of another's, in fragments", "guard_hidden + pass",
     *cut4(gives_back("release", OTHER4), 64), **bound)
case("DHCPv6: RELEASE of its own address", "pass", gives_back6(DHCP6_Release(trid=7), BOUND6), harm="UDP 547", **bound)
case("DHCPv6: RELEASE of another's", "source_ip", gives_back6(DHCP6_Release(trid=7), OTHER6), **bound)
case("DHCPv6: DECLINE of another's", "source_ip", gives_back6(DHCP6_Decline(trid=7), OTHER6), **bound)
case("IPv6 from its own address", "pass",
     eth(HOST, BOUND) / IPv6(src=BOUND6, dst=HOST6) / UDP(sport=9, dport=9), **bound)
case("IPv6 from another", "source_ip",
     eth(HOST, BOUND) / IPv6(src=OTHER6, dst=HOST6) / UDP(sport=9, dport=1546), **bound)
case("IPv6 from another, a later fragment", "source_ip",
     chain(FRAGMENT, fragment(UDP_NUMBER, 8) + bytes(16), source=OTHER6, to=HOST6, mac=HOST, sender=BOUND), **bound)
case("a neighbour's answer with another's", "source_ip", na(OTHER6, at=BOUND, **theirs), **bound)
case("a neighbour's question from another's", "source_ip",
     ns(HOST6, at=BOUND, **(theirs | {"source": OTHER6})), **bound)
case("a neighbour's probe for another's", "source_ip",
     eth("33:33:ff:00:00:77", BOUND) / IPv6(src="::", dst="ff02::1:ff00:77", hlim=255)
     / ICMPv6ND_NS(tgt=OTHER6), **bound)
other_bytes = bytes(na(OTHER6, at=BOUND, **theirs))[54:]
of_bound = {"to": HOST_LL, "mac": HOST, "source": "fe80::11", "sender": BOUND}
case("a neighbour's answer behind destination options", "source_ip",
     chain(60, options(ICMP6) + other_bytes, **of_bound), **bound)
case("a neighbour's answer in fragments", "guard_hidden + pass",
     chain(FRAGMENT, fragment(ICMP6, 0, 1) + other_bytes[:8], **of_bound),
     chain(FRAGMENT, fragment(ICMP6, 8) + other_bytes[8:], **of_bound), **bound)

# ---------------------------------------------------------------------------------------------------------------
group = "Whose a MAC is"
datagram = IP(src=OWN4, dst=HOST4) / UDP(sport=9, dport=9)
for name, source, wanted in (("the gateway's", GATEWAY, "source_protected"),
                             ("the server's", SERVER, "source_protected"),
                             ("a host's of the LAN", HOST, "source_at_root"),
                             ("another client's", BOUND, "source_held"),
                             ("a group's", "01:00:5e:00:00:01", "source_group"),
                             ("none", "00:00:00:00:00:00", "source_zero")):
    case(name, wanted, eth(ALL, source) / datagram, trusted=wanted)
    if name == "the gateway's":
        case("the gateway's, in VLAN 7", wanted, tags(eth(ALL, source) / datagram, (0x8100, 7)), trusted=wanted)

# ---------------------------------------------------------------------------------------------------------------
group = "What switches say"


def switch(destination, kind, payload=bytes(46)):
    return Ether(dst=destination, src=OWN, type=kind) / Raw(payload)


bpdu = Dot3(dst="01:80:c2:00:00:00", src=OWN) / LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP(rootid=0, bridgeid=0)
reserved = {"trusted": "reserved"}
case("spanning tree", "reserved", bpdu, **reserved)
case("spanning tree, in VLAN 7", "reserved", tags(bpdu, (0x8100, 7)), **reserved)
case("spanning tree, to the host", "pass", bytes.fromhex(HOST.replace(":", "")) + bytes(bpdu)[6:])
case("spanning tree of providers (-08)", "reserved", switch("01:80:c2:00:00:08", 0x26), **reserved)
for name, destination, kind in (("LACP", "02", 0x8809), ("802.1X", "03", 0x888e), ("LLDP", "0e", 0x88cc),
                                ("LLDP, nearest customer bridge", "00", 0x88cc), ("MVRP of providers", "0d", 0x88f5)):
    case(name, "reserved", switch(f"01:80:c2:00:00:{destination}", kind), **reserved)
case("a pause", "pause", switch("01:80:c2:00:00:01", 0x8808), trusted="pause")
case("a pause, to the host", "pass", switch(HOST, 0x8808))
case("MVRP", "guard_control", switch("01:80:c2:00:00:21", 0x88f5))
case("GMRP", "guard_control", switch("01:80:c2:00:00:20", 0x26))
for name, destination in (("Cisco's CDP", "cc"), ("Cisco's per-VLAN spanning tree", "cd")):
    case(name, "guard_control", switch(f"01:00:0c:cc:cc:{destination}", 0x26))
case("Cisco's UplinkFast", "guard_control", switch("01:00:0c:cd:cd:cd", 0x26))
case("Cisco's per-VLAN spanning tree, in VLAN 7", "guard_control", tags(switch("01:00:0c:cc:cc:cd", 0x26), (0x8100, 7)))
case("802.1X, to the host", "pass", switch(HOST, 0x888e))
case("IS-IS (-14)", "pass", switch("01:80:c2:00:00:14", 0x26))
case("connectivity faults (CFM)", "pass", switch("01:80:c2:00:00:34", 0x8902))
case("PTP", "pass", switch("01:1b:19:00:00:00", 0x88f7))

# ---------------------------------------------------------------------------------------------------------------
group = "What is not looked at: a router's own protocols, and tunnels in the tunnel"
case("VRRP", "pass",
     eth("01:00:5e:00:00:12") / IP(src=OWN4, dst="224.0.0.18", proto=112, ttl=255)
     / Raw(bytes([0x21, 1, 255, 1, 0, 1, 0, 0, 10, 9, 0, 254])))
case("HSRP", "pass",
     eth("01:00:5e:00:00:02") / IP(src=OWN4, dst="224.0.0.2", ttl=1) / UDP(sport=1985, dport=1985) / Raw(bytes(20)))
case("OSPF", "pass", eth("01:00:5e:00:00:05") / IP(src=OWN4, dst="224.0.0.5", proto=89, ttl=1) / Raw(bytes(24)))
case("RIP", "pass",
     eth("01:00:5e:00:00:09") / IP(src=OWN4, dst="224.0.0.9", ttl=1) / UDP(sport=520, dport=520) / Raw(bytes(24)))
case("PADO, of a PPPoE concentrator", "pass",
     switch(HOST, 0x8863, bytes([0x11, 7, 0, 0, 0, 4, 1, 1, 0, 0]) + bytes(36)))
case("an offer of DHCP in VXLAN", "pass",
     eth(HOST) / IP(src=OWN4, dst=HOST4) / UDP(sport=9, dport=4789)
     / Raw(bytes([8, 0, 0, 0, 0, 0, 1, 0]) + bytes(offer)))
case("an offer of DHCP in MPLS", "pass", switch(HOST, 0x8847, bytes([0, 0, 0x11, 64]) + bytes(offer)[14:]))
