//! Ethernet over UDP: the acton server and client.
