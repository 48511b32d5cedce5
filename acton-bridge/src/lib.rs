//! A learning Ethernet bridge with ageing and E-Tree rules, without I/O.
