//! What is thrown.

use acton_tap::{Checksum, Gso, GsoKind, VnetHeader};

use super::offload_frames::{Packet, content};

/// SplitMix64: the next of a sequence.
pub(super) struct Random(u64);

impl Random {
    /// With the seed that was asked for, which is printed.
    pub(super) fn seeded() -> Self {
        let seed = setting("ACTON_HOSTILE_SEED", 1);
        println!("ACTON_HOSTILE_SEED={seed}");
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % bound
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// A packet, mostly one that may be merged with those that follow it.
    pub(super) fn packet(&mut self, most: usize) -> Packet {
        let (v6, udp) = (self.below(2) == 0, self.below(2) == 0);
        let mut packet = Packet::new(v6, udp, 0);
        packet.payload = content(self.below(most), self.below(1 << 16) as u32);
        packet.sequence = self.below(1 << 20) as u32;
        packet.ports.0 = 1_000 + self.below(4) as u16;
        match self.below(8) {
            0 => packet.flags = self.below(256) as u8,
            1 => packet.tcp_options = vec![1; 4 * self.below(11)],
            2 if !v6 => packet.ip_options = vec![1; 4 * self.below(11)],
            3 if !v6 => packet.fragment = self.below(1 << 16) as u16,
            4 => packet.tags = vec![(0x8100, self.below(1 << 16) as u16); 1 + self.below(2)],
            5 => packet.tos = self.below(256) as u8,
            _ => {}
        }
        packet
    }

    /// Changes, cuts or stretches a frame, or leaves it as it is.
    pub(super) fn spoil(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(frame.len().min(90));
            frame[at] = match self.below(3) {
                0 => 0,
                1 => 0xff,
                _ => self.below(256) as u8,
            };
        }
        match self.below(10) {
            0 => frame.truncate(1 + self.below(frame.len())),
            1 => frame.resize(frame.len() + self.below(40), 0xa5),
            _ => {}
        }
    }

    /// Frames that may be merged, of which some are spoiled; with the sum of the pseudo-header in
    /// place of their checksums, or not. None is shorter than an Ethernet header.
    pub(super) fn run(
        &mut self,
        most: usize,
        mut partial: impl FnMut(&mut Self) -> bool,
    ) -> Vec<Vec<u8>> {
        let first = self.packet(most);
        let mut run = Vec::new();
        for packet in first.run(1 + self.below(12)) {
            let mut frame = if partial(self) { packet.partial() } else { packet.frame() };
            if self.below(3) == 0 {
                self.spoil(&mut frame);
            }
            if frame.len() >= 14 {
                run.push(frame);
            }
        }
        run
    }

    /// What a super-frame may claim to be.
    pub(super) fn header(&mut self, packet: &Packet) -> VnetHeader {
        let (mut header, _) = packet.super_frame(1 + self.below(1_460) as u16);
        match self.below(8) {
            0 => header.gso = None,
            1 => {
                let kinds = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp];
                header.gso = header.gso.map(|gso| Gso { kind: kinds[self.below(3)], ..gso });
            }
            2 => {
                let [start, offset] = [self.below(120), self.below(40)].map(|place| place as u16);
                header.checksum = Checksum::Partial { start, offset };
            }
            3 => header.header_len = self.below(200) as u16,
            4 => (header.checksum, header.gso) = (Checksum::Unverified, None),
            _ => {}
        }
        header
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// How many frames to send.
pub(super) fn frames() -> u64 {
    setting("ACTON_HOSTILE_FRAMES", 20_000)
}
