//! Answers ARP and ping from user space on a TAP interface.

fn main() {}
