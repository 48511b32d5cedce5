//! Who sends to whom in a test of isolation.

use acton_proto::wire::TestToken;

/// Clients that take part at most, so that each order has numbers of its own.
pub(crate) const MAX_CLIENTS: usize = 256;
/// Others that a client sends to at most: all, where there are no more.
pub(crate) const MAX_PEERS: usize = 4;

/// The clients that client `at` of `clients` sends to, in order: all others, or where these are more than
/// [`MAX_PEERS`] its two neighbours in a ring and two that the token draws. Each is so sent to by as many.
pub(crate) fn peers(token: TestToken, clients: usize, at: usize) -> Vec<usize> {
    if clients == 0 {
        return Vec::new();
    }
    let distances: Vec<usize> = if clients <= MAX_PEERS + 1 {
        (1..clients).collect()
    } else {
        let mut distances = vec![1, clients - 1];
        // Between 2 and clients - 2, of which there are three or more.
        for pair in token.0.as_chunks::<2>().0 {
            let distance = 2 + usize::from(u16::from_be_bytes(*pair)) % (clients - 3);
            if distances.len() < MAX_PEERS && !distances.contains(&distance) {
                distances.push(distance);
            }
        }
        distances
    };
    distances.into_iter().map(|distance| (at + distance) % clients).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_clients_send_to_all_others() {
        let token = TestToken([9; 16]);
        for clients in 1..=5 {
            for at in 0..clients {
                let mut peers = peers(token, clients, at);
                peers.sort_unstable();
                let others: Vec<_> = (0..clients).filter(|&other| other != at).collect();
                assert_eq!(peers, others);
            }
        }
    }

    proptest! {
        #[test]
        fn many_form_a_ring_and_more(token in any::<[u8; 16]>(), clients in 6..=MAX_CLIENTS, at in any::<prop::sample::Index>()) {
            let at = at.index(clients);
            let peers = peers(TestToken(token), clients, at);
            prop_assert!((2..=MAX_PEERS).contains(&peers.len()));
            prop_assert!(!peers.contains(&at) && peers.contains(&((at + 1) % clients)));
            let mut apart = peers.clone();
            apart.sort_unstable();
            apart.dedup();
            prop_assert_eq!(apart.len(), peers.len());
        }
    }
}
