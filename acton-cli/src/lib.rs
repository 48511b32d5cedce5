//! Ethernet over UDP: the acton server and client.
#![deny(unsafe_code)]

mod udp;
