//! acton-raw's filters: an expression of any shape, compiled, is a program that the kernel takes
//! and that says what its parts, compiled each alone, say together.

use acton_raw::{Filter, Instruction, Program, VlanTag};

use crate::input::Input;

/// An expression, with the verdict that the verdicts of its parts make.
struct Tree {
    filter: Filter,
    verdict: bool,
}

/// The most tests in an expression; some dozens more than fit 4,096 instructions.
const MAX_TESTS: usize = 300;

struct Case<'a> {
    input: Input<'a>,
    frame: &'a [u8],
    vlan: Option<VlanTag>,
    tests: usize,
}

impl Case<'_> {
    fn test(&mut self) -> Tree {
        self.tests += 1;
        let input = &mut self.input;
        let kind = input.below(8);
        let mac = || [2, 0, 0, 0, 0, 1].into();
        let filter = match kind {
            0 => Filter::ethertype(input.u16()),
            1 => Filter::ethertype([0x0800, 0x86dd, 0x0806, 0x8100][input.below(4)]),
            2 => Filter::mac(mac()),
            3 => Filter::tagged(),
            4 => Filter::vlan(input.u16()),
            5 => Filter::ip_protocol([6, 17, 58, 132][input.below(4)]),
            6 => Filter::port(input.u16()),
            _ => Filter::source_port(input.u16()),
        };
        let program = filter.compile(u32::MAX).expect("a lone test fits");
        let verdict = run(&program, self.frame, self.vlan) != 0;
        Tree { filter, verdict }
    }

    fn tree(&mut self, depth: usize) -> Tree {
        let choice = if depth == 0 || self.tests >= MAX_TESTS { 0 } else { self.input.below(6) };
        match choice {
            0 | 1 => self.test(),
            2 => {
                let inner = self.tree(depth - 1);
                Tree { filter: !inner.filter, verdict: !inner.verdict }
            }
            _ => {
                let mut tree = self.tree(depth - 1);
                for _ in 0..=self.input.below(12) {
                    let other = self.tree(depth - 1);
                    tree = if choice & 1 == 0 {
                        Tree {
                            filter: tree.filter.and(other.filter),
                            verdict: tree.verdict && other.verdict,
                        }
                    } else {
                        Tree {
                            filter: tree.filter.or(other.filter),
                            verdict: tree.verdict || other.verdict,
                        }
                    };
                }
                tree
            }
        }
    }
}

/// Checks what `bpf_check_classic` of net/core/filter.c checks: operations that are known, jumps
/// that stay inside, a return at the end.
fn assert_valid(program: &Program) {
    let code = program.instructions();
    assert!((1..=4096).contains(&code.len()));
    for (at, instruction) in code.iter().enumerate() {
        let Instruction { code: operation, jt, jf, k } = *instruction;
        let room = code.len() - at - 1;
        match operation & 7 {
            5 if operation == 5 => assert!((k as usize) < room, "jump out of the program"),
            5 => assert!(usize::from(jt.max(jf)) < room, "branch out of the program"),
            2 | 3 => assert!(k < 16, "store out of the memory"),
            _ => {}
        }
    }
    assert_eq!(code[code.len() - 1].code & 7, 6, "no return at the end");
}

/// Runs a program as Documentation/networking/filter.rst says, over a frame as AF_PACKET has it.
fn run(program: &Program, frame: &[u8], vlan: Option<VlanTag>) -> u32 {
    let code = program.instructions();
    let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [None; 16], 0_usize);
    let load = |from: u32, size: usize| {
        let field = frame.get(from as usize..)?.get(..size)?;
        Some(field.iter().fold(0_u32, |value, &byte| value << 8 | u32::from(byte)))
    };
    loop {
        let Instruction { code: operation, jt, jf, k } = code[at];
        at += 1;
        let loaded = match operation {
            0x20 if k == 0xffff_f030 => Some(vlan.is_some().into()),
            0x20 if k == 0xffff_f02c => Some(vlan.map_or(0, |tag| tag.tci.into())),
            0x20 => load(k, 4),
            0x28 => load(k, 2),
            0x30 => load(k, 1),
            0x40 => load(x.wrapping_add(k), 4),
            0x48 => load(x.wrapping_add(k), 2),
            0x50 => load(x.wrapping_add(k), 1),
            0x80 => Some(frame.len() as u32),
            0x00 => Some(k),
            0x60 => Some(memory[k as usize].expect("memory is written before it is read")),
            0x87 => Some(x),
            0x04 => Some(a.wrapping_add(k)),
            0x0c => Some(a.wrapping_add(x)),
            0x54 => Some(a & k),
            0x64 => Some(a << k),
            _ => Some(a),
        };
        let Some(value) = loaded else { return 0 }; // a load past the frame drops it
        a = value;
        let holds = match operation {
            0x15 => a == k,
            0x1d => a == x,
            0x25 => a > k,
            0x2d => a > x,
            0x35 => a >= k,
            0x3d => a >= x,
            0x45 => a & k != 0,
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x07 => {
                x = a;
                continue;
            }
            0x61 => {
                x = memory[k as usize].expect("memory is written before it is read");
                continue;
            }
            0x02 => {
                memory[k as usize] = Some(a);
                continue;
            }
            0x00 | 0x04 | 0x0c | 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 | 0x54 | 0x60 | 0x64
            | 0x80 | 0x87 => continue,
            other => panic!("an operation that no filter needs: {other:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

/// A frame, the tag that the kernel took out of it, and an expression about it.
pub fn filter(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let tag = VlanTag { tpid: 0x8100, tci: input.u16() };
    let vlan = input.bool().then_some(tag);
    let frame = input.chunk();
    let mut wire = Vec::new();
    tag.insert(frame, &mut wire);
    assert_eq!(wire.len(), frame.len() + if frame.len() < 12 { 0 } else { 4 });

    let mut case = Case { input, frame, vlan, tests: 0 };
    let tree = case.tree(4);
    let Ok(program) = tree.filter.compile(u32::MAX) else { return false };
    assert_valid(&program);
    let passes = run(&program, frame, vlan) != 0;
    if frame.len() < 14 {
        assert!(!passes, "a frame without a header");
    } else {
        assert_eq!(passes, tree.verdict, "{:?}", tree.filter);
    }
    passes
}
