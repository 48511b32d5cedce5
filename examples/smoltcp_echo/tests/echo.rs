//! Echoes through the program what the kernel's TCP sends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use testbed::sh;

/// Bytes to echo: many windows, each of many frames.
const BYTES: usize = 8 << 20;
/// No frame of 1,500 bytes of packet is as long.
const SUPER_FRAME: usize = 4 * 1_514;

/// The program, killed when the test ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Echoes `sent` by a connection to `address`.
fn echoed(address: &str, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    })
}

fn super_frames_both_ways() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smoltcp_echo"));
    let mut program = Program(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(program.0.stdout.take().unwrap()).lines();
    let up = lines.next().unwrap().unwrap();
    assert_eq!(up, "192.0.2.2 echoes TCP at port 7, CSUM+TSO4+TSO6+TSO_ECN");
    sh("ip addr add fd00::1/64 dev smol0 nodad");

    let sent: Vec<u8> = (0..BYTES / 4).flat_map(|word| (word as u32).to_le_bytes()).collect();
    // Over IPv6 smoltcp sends frames of the MTU alone (device.rs says why).
    for (address, out) in [("192.0.2.2:7", SUPER_FRAME..65_550), ("[fd00::2]:7", 1_000..1_515)] {
        assert!(echoed(address, &sent) == sent, "{address}: not what was sent");
        let line = lines.next().unwrap().unwrap();
        let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let &[bytes, _, longest_in, _, longest_out] = &numbers[..] else { panic!("{line}") };
        assert_eq!(bytes, BYTES, "{line}");
        assert!(longest_in > SUPER_FRAME && out.contains(&longest_out), "{address}: {line}");
    }
    let ping = sh("ping -c 1 -W 30 192.0.2.2");
    assert!(ping.contains(" 0% packet loss"), "{ping}");
}

testbed::main! {
    super_frames_both_ways: ["ping"],
}
