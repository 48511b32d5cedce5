//! Answers ARP for every address that is asked for on a TAP of its own, with one MAC address.
//!
//! ```text
//! cargo run --example arp          # as root; makes tap0 with 192.0.2.1/24
//! ping -c 1 192.0.2.77; ip neigh   # nobody pongs, but 192.0.2.77 has a MAC address now
//! ```

use acton_tap::Tap;
use acton_tap::offload::Headers;

/// The MAC address of everybody; locally administered.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

const ARP: u16 = 0x0806;
/// Ethernet, IPv4, 6 and 4 bytes of address, request (RFC 826).
const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tap = Tap::builder().build()?;
    tap.interface().add_address([192, 0, 2, 1].into(), 24)?;
    tap.interface().up()?;
    println!("{} answers ARP for 192.0.2.0/24", tap.name());

    let queue = &tap.queues()[0];
    let mut buffer = [0; 1514];
    loop {
        let length = queue.recv(&mut buffer)?;
        if let Some(reply) = answer(&buffer[..length]) {
            println!("{}.{}.{}.{} is here", reply[28], reply[29], reply[30], reply[31]);
            queue.send(&reply)?;
        }
    }
}

/// The reply to an ARP request; `None` to any other frame.
fn answer(frame: &[u8]) -> Option<[u8; 42]> {
    let request = frame.get(14..42)?;
    let (sender, target_ip) = (&request[8..18], &request[24..28]);
    if Headers::parse(frame).ethertype() != Some(ARP) || request[..8] != REQUEST {
        return None;
    }
    let mut reply = [0; 42];
    reply[..6].copy_from_slice(&sender[..6]);
    reply[6..12].copy_from_slice(&MAC);
    reply[12..14].copy_from_slice(&ARP.to_be_bytes());
    reply[14..22].copy_from_slice(&REQUEST);
    reply[21] = 2; // a reply
    reply[22..28].copy_from_slice(&MAC);
    reply[28..32].copy_from_slice(target_ip);
    reply[32..].copy_from_slice(sender);
    Some(reply)
}
