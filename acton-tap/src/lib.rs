//! Linux TAP interfaces: creation, ioctl programming, offloads, batched I/O.
