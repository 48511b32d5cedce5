//! AF_PACKET sockets bound to one interface: filters, VLAN tags, fanout, receive ring.
