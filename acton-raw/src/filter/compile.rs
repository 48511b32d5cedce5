//! From a filter expression to classic BPF.
//!
//! A program first decodes the frame into scratch memory, one slot a field, as deep as the
//! expression asks; each test is then one load and one comparison. Whether a field is there at
//! all is settled while decoding, by comparisons with the frame's length: a load beyond the end
//! would make the kernel drop the frame, and `!` would no longer be the opposite.

use pnet_base::MacAddr;

use super::{Expression, Instruction, Test};

/// Opcodes (`linux/bpf_common.h`): class | size or operation | mode or source.
mod op {
    pub(super) const LD_IMM: u16 = 0x00;
    pub(super) const LD_MEM: u16 = 0x60;
    pub(super) const LD_LEN: u16 = 0x80;
    pub(super) const LD_W_ABS: u16 = 0x20;
    pub(super) const LD_H_ABS: u16 = 0x28;
    pub(super) const LD_H_IND: u16 = 0x48;
    pub(super) const LD_B_IND: u16 = 0x50;
    pub(super) const LDX_MEM: u16 = 0x61;
    pub(super) const ST: u16 = 0x02;
    pub(super) const ADD_K: u16 = 0x04;
    pub(super) const ADD_X: u16 = 0x0c;
    pub(super) const AND_K: u16 = 0x54;
    pub(super) const LSH_K: u16 = 0x64;
    pub(super) const JA: u16 = 0x05;
    pub(super) const JEQ_K: u16 = 0x15;
    pub(super) const JGE_K: u16 = 0x35;
    pub(super) const JGE_X: u16 = 0x3d;
    pub(super) const JSET_K: u16 = 0x45;
    pub(super) const RET_K: u16 = 0x06;
    pub(super) const TAX: u16 = 0x07;
    pub(super) const TXA: u16 = 0x87;
}

/// Offsets at which loads give what the kernel knows besides the bytes (`linux/filter.h`).
const VLAN_TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG) as u32;
const VLAN_TAG_PRESENT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;

/// Slots of the scratch memory, 16 in all (`BPF_MEMWORDS`).
mod slot {
    /// EtherType after the VLAN tags.
    pub(super) const ETHERTYPE: u32 = 0;
    /// Identifier of the outermost VLAN tag.
    pub(super) const VLAN: u32 = 1;
    /// IP protocol after the IPv6 extension headers.
    pub(super) const PROTOCOL: u32 = 2;
    pub(super) const SOURCE_PORT: u32 = 3;
    pub(super) const DESTINATION_PORT: u32 = 4;
    /// Where the header that is being decoded begins.
    pub(super) const OFFSET: u32 = 5;
}

/// What a slot holds when the frame lacks the field; no field is wider than 16 bits.
const ABSENT: u32 = u32::MAX;

/// Length of an Ethernet header in bytes.
const ETHERNET_HEADER: u32 = 14;

/// VLAN tags in line that are stepped over; two are what 802.1ad stacks.
const TAGS_IN_LINE: usize = 2;

/// IPv6 extension headers that are stepped over; BPF has no loops.
const EXTENSION_HEADERS: usize = 4;

/// Longest jump taken without a hop; one less than fits, for a hop that another target needs.
const NEAR: usize = 254;

/// The program that returns `snaplen` for frames that pass `expression` and 0 for others.
pub(super) fn compile(expression: &Expression, snaplen: u32) -> Vec<Instruction> {
    let mut code = Assembler::default();
    let (accept, reject) = (code.label(), code.label());

    let whole = code.label();
    code.plain(op::LD_LEN, 0);
    code.branch(op::JGE_K, ETHERNET_HEADER, whole, reject);
    code.place(whole);
    match depth(expression) {
        Depth::Addresses => {}
        Depth::EtherType => code.decode_tags(),
        Depth::Transport => {
            code.decode_tags();
            code.decode_ip();
        }
    }
    code.expression(expression, accept, reject);

    code.place(accept);
    code.plain(op::RET_K, snaplen);
    code.place(reject);
    code.plain(op::RET_K, 0);
    code.assemble()
}

/// A return of `bytes`.
pub(super) fn ret(bytes: u32) -> Instruction {
    plain(op::RET_K, bytes)
}

/// How much of a frame is to be decoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Addresses,
    EtherType,
    Transport,
}

fn depth(expression: &Expression) -> Depth {
    match expression {
        Expression::Test(Test::Source(_) | Test::Destination(_)) => Depth::Addresses,
        Expression::Test(Test::EtherType(_) | Test::Tagged | Test::Vlan(_)) => Depth::EtherType,
        Expression::Test(_) => Depth::Transport,
        Expression::Not(inner) => depth(inner),
        Expression::All(terms) | Expression::Any(terms) => {
            terms.iter().map(depth).max().unwrap_or(Depth::Addresses)
        }
    }
}

fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// A place in the program, known once it is assembled.
#[derive(Clone, Copy)]
struct Label(usize);

enum Item {
    Plain(Instruction),
    Branch { code: u16, k: u32, then: Label, otherwise: Label },
    Goto(Label),
    Place(Label),
}

/// Collects a program whose jumps, all forward, name labels.
#[derive(Default)]
struct Assembler {
    items: Vec<Item>,
    labels: usize,
}

impl Assembler {
    fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    fn place(&mut self, label: Label) {
        self.items.push(Item::Place(label));
    }

    fn plain(&mut self, code: u16, k: u32) {
        self.items.push(Item::Plain(plain(code, k)));
    }

    fn goto(&mut self, label: Label) {
        self.items.push(Item::Goto(label));
    }

    fn branch(&mut self, code: u16, k: u32, then: Label, otherwise: Label) {
        self.items.push(Item::Branch { code, k, then, otherwise });
    }

    /// Jumps to `then` if `A == k`, and goes on otherwise.
    fn on(&mut self, k: u32, then: Label) {
        let next = self.label();
        self.branch(op::JEQ_K, k, then, next);
        self.place(next);
    }

    fn load(&mut self, slot: u32) {
        self.plain(op::LD_MEM, slot);
    }

    fn store(&mut self, slot: u32) {
        self.plain(op::ST, slot);
    }

    fn clear(&mut self, slots: &[u32]) {
        self.plain(op::LD_IMM, ABSENT);
        for &slot in slots {
            self.store(slot);
        }
    }

    /// Sets X to the offset of the current header, or jumps to `cut` if the frame has fewer than
    /// `bytes` bytes from there on.
    fn header(&mut self, bytes: u32, cut: Label) {
        let fits = self.label();
        self.load(slot::OFFSET);
        self.plain(op::ADD_K, bytes);
        self.plain(op::TAX, 0);
        self.plain(op::LD_LEN, 0);
        self.branch(op::JGE_X, 0, fits, cut);
        self.place(fits);
        self.plain(op::LDX_MEM, slot::OFFSET);
    }

    /// Makes the header `bytes` behind X the current one.
    fn advance(&mut self, bytes: u32) {
        self.plain(op::TXA, 0);
        self.plain(op::ADD_K, bytes);
        self.store(slot::OFFSET);
    }

    /// Fills in the EtherType and VLAN, and leaves the offset of what follows.
    fn decode_tags(&mut self) {
        let (in_line, done) = (self.label(), self.label());
        self.clear(&[slot::VLAN]);
        self.plain(op::LD_W_ABS, VLAN_TAG_PRESENT);
        self.on(0, in_line);
        self.plain(op::LD_W_ABS, VLAN_TAG);
        self.plain(op::AND_K, 0x0fff);
        self.store(slot::VLAN);

        self.place(in_line);
        self.plain(op::LD_IMM, ETHERNET_HEADER);
        self.store(slot::OFFSET);
        self.plain(op::LD_H_ABS, ETHERNET_HEADER - 2);
        self.store(slot::ETHERTYPE);
        for _ in 0..TAGS_IN_LINE {
            let (tag, outermost, inner) = (self.label(), self.label(), self.label());
            self.load(slot::ETHERTYPE);
            self.on(0x8100, tag);
            self.branch(op::JEQ_K, 0x88a8, tag, done);
            self.place(tag);
            self.header(4, done);
            self.load(slot::VLAN);
            self.branch(op::JEQ_K, ABSENT, outermost, inner);
            self.place(outermost);
            self.plain(op::LD_H_IND, 0);
            self.plain(op::AND_K, 0x0fff);
            self.store(slot::VLAN);
            self.place(inner);
            self.plain(op::LD_H_IND, 2);
            self.store(slot::ETHERTYPE);
            self.advance(4);
        }
        self.place(done);
    }

    /// Fills in the IP protocol and the ports.
    fn decode_ip(&mut self) {
        let (ipv4, ipv6, ports, done) = (self.label(), self.label(), self.label(), self.label());
        self.clear(&[slot::PROTOCOL, slot::SOURCE_PORT, slot::DESTINATION_PORT]);
        self.load(slot::ETHERTYPE);
        self.on(0x0800, ipv4);
        self.branch(op::JEQ_K, 0x86dd, ipv6, done);
        self.place(ipv4);
        self.decode_ipv4(ports, done);
        self.place(ipv6);
        self.decode_ipv6(ports, done);
        self.place(ports);
        self.decode_ports(done);
        self.place(done);
    }

    /// RFC 791, 3.1.
    fn decode_ipv4(&mut self, ports: Label, done: Label) {
        let first = self.label();
        self.header(20, done);
        self.plain(op::LD_B_IND, 9);
        self.store(slot::PROTOCOL);
        self.plain(op::LD_H_IND, 6);
        self.branch(op::JSET_K, 0x1fff, done, first);
        self.place(first);
        self.plain(op::LD_B_IND, 0);
        self.plain(op::AND_K, 0x0f);
        self.plain(op::LSH_K, 2);
        self.plain(op::ADD_X, 0);
        self.store(slot::OFFSET);
        self.goto(ports);
    }

    /// RFC 8200, 3 and 4.
    fn decode_ipv6(&mut self, ports: Label, done: Label) {
        self.header(40, done);
        self.plain(op::LD_B_IND, 6);
        self.store(slot::PROTOCOL);
        self.advance(40);
        for _ in 0..EXTENSION_HEADERS {
            let (options, fragment, first) = (self.label(), self.label(), self.label());
            let next = self.label();
            self.load(slot::PROTOCOL);
            self.on(0, options); // hop-by-hop options
            self.on(43, options); // routing
            self.on(60, options); // destination options
            self.branch(op::JEQ_K, 44, fragment, ports);

            self.place(fragment);
            self.header(8, done);
            self.plain(op::LD_B_IND, 0);
            self.store(slot::PROTOCOL);
            self.plain(op::LD_H_IND, 2);
            self.branch(op::JSET_K, 0xfff8, done, first);
            self.place(first);
            self.advance(8);
            self.goto(next);

            self.place(options);
            self.header(8, done);
            self.plain(op::LD_B_IND, 0);
            self.store(slot::PROTOCOL);
            self.plain(op::LD_B_IND, 1);
            self.plain(op::ADD_K, 1);
            self.plain(op::LSH_K, 3);
            self.plain(op::ADD_X, 0);
            self.store(slot::OFFSET);
            self.place(next);
        }
    }

    fn decode_ports(&mut self, done: Label) {
        let has_ports = self.label();
        self.load(slot::PROTOCOL);
        self.on(6, has_ports); // TCP
        self.on(17, has_ports); // UDP
        self.branch(op::JEQ_K, 132, has_ports, done); // SCTP
        self.place(has_ports);
        self.header(4, done);
        self.plain(op::LD_H_IND, 0);
        self.store(slot::SOURCE_PORT);
        self.plain(op::LD_H_IND, 2);
        self.store(slot::DESTINATION_PORT);
    }

    /// Jumps to `then` or `otherwise` by the value of `expression`.
    fn expression(&mut self, expression: &Expression, then: Label, otherwise: Label) {
        match expression {
            Expression::Test(test) => self.test(*test, then, otherwise),
            Expression::Not(inner) => self.expression(inner, otherwise, then),
            Expression::All(terms) => {
                let Some((last, terms)) = terms.split_last() else { return self.goto(then) };
                for term in terms {
                    let next = self.label();
                    self.expression(term, next, otherwise);
                    self.place(next);
                }
                self.expression(last, then, otherwise);
            }
            Expression::Any(terms) => {
                let Some((last, terms)) = terms.split_last() else { return self.goto(otherwise) };
                for term in terms {
                    let next = self.label();
                    self.expression(term, then, next);
                    self.place(next);
                }
                self.expression(last, then, otherwise);
            }
        }
    }

    fn test(&mut self, test: Test, then: Label, otherwise: Label) {
        let (slot, value) = match test {
            Test::Destination(address) => return self.address(0, address, then, otherwise),
            Test::Source(address) => return self.address(6, address, then, otherwise),
            Test::Tagged => {
                self.load(slot::VLAN);
                return self.branch(op::JEQ_K, ABSENT, otherwise, then);
            }
            Test::EtherType(ethertype) => (slot::ETHERTYPE, ethertype),
            Test::Vlan(id) => (slot::VLAN, id),
            Test::Protocol(protocol) => (slot::PROTOCOL, protocol.into()),
            Test::SourcePort(port) => (slot::SOURCE_PORT, port),
            Test::DestinationPort(port) => (slot::DESTINATION_PORT, port),
        };
        self.load(slot);
        self.branch(op::JEQ_K, value.into(), then, otherwise);
    }

    fn address(&mut self, at: u32, address: MacAddr, then: Label, otherwise: Label) {
        let [a, b, c, d, e, f] = address.octets();
        let low = self.label();
        self.plain(op::LD_W_ABS, at);
        self.branch(op::JEQ_K, u32::from_be_bytes([a, b, c, d]), low, otherwise);
        self.place(low);
        self.plain(op::LD_H_ABS, at + 4);
        self.branch(op::JEQ_K, u16::from_be_bytes([e, f]).into(), then, otherwise);
    }

    /// From the end to the beginning, so that the distance of every target is known.
    fn assemble(self) -> Vec<Instruction> {
        let mut reversed: Vec<Instruction> = Vec::new();
        // Instructions from each label to the end of the program.
        let mut remaining = vec![0; self.labels];
        for item in self.items.into_iter().rev() {
            match item {
                Item::Place(label) => remaining[label.0] = reversed.len(),
                Item::Plain(instruction) => reversed.push(instruction),
                Item::Goto(label) => jump(&mut reversed, remaining[label.0]),
                Item::Branch { code, k, then, otherwise } => {
                    let otherwise = near(&mut reversed, remaining[otherwise.0]);
                    let then = near(&mut reversed, remaining[then.0]);
                    let jt = (reversed.len() - then) as u8;
                    let jf = (reversed.len() - otherwise) as u8;
                    reversed.push(Instruction { code, jt, jf, k });
                }
            }
        }
        reversed.reverse();
        reversed
    }
}

/// A jump to the place `target` instructions before the end, unless it is the next one.
fn jump(reversed: &mut Vec<Instruction>, target: usize) {
    let distance = reversed.len() - target;
    if distance > 0 {
        reversed.push(plain(op::JA, distance as u32));
    }
}

/// `target`, or a hop to it where a branch, which holds its distance in 8 bits, would not reach.
fn near(reversed: &mut Vec<Instruction>, target: usize) -> usize {
    if reversed.len() - target <= NEAR {
        return target;
    }
    jump(reversed, target);
    reversed.len()
}
