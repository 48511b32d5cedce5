//! The test vectors of invites (docs/vectors), as acton-proto's tests write theirs.

use acton_proto::handshake::Secret;
use blake2::{Blake2s256, Digest};
use data_encoding::BASE64URL_NOPAD;

use super::Invite;
use crate::vectors_text::Vectors;
use crate::{Rank, ServerName};

#[test]
fn invites() {
    let mut vectors = Vectors::new(
        "Invites: the URL, then what it holds; a key that it does not hold has no line. `refused` ones are\n\
         not taken.",
    );
    let key = |byte: u8| Some(Secret::new([byte; 32]));
    let cases = [
        ("all", "192.0.2.1:8080", key(2), key(3), key(4)),
        ("for-everybody", "server.example:4242", key(2), None, None),
        ("for-one-client", "[2001:db8::1]:8080", key(2), key(3), None),
        ("without-a-network-key", "192.0.2.1:1", None, key(3), key(4)),
        ("server-alone", "192.0.2.1:65535", None, None, None),
    ];
    for (name, address, network_key, client_key, psk) in cases {
        let server = ServerName::parse(address, 1).unwrap();
        let server_key = [1; 32];
        let (rank, others) = (Rank::default(), Vec::new());
        let invite = Invite { server, server_key, network_key, client_key, psk, rank, others };
        let url = invite.url();
        assert_eq!(url.parse(), Ok(invite.clone()));
        vectors.block(name, "");
        vectors.word("invite", &*url);
        vectors.word("server", &address);
        vectors.bytes("server_key", &server_key);
        let keys = [
            ("network_key", &invite.network_key),
            ("client_key", &invite.client_key),
            ("psk", &invite.psk),
        ];
        for (field, key) in keys {
            if let Some(key) = key {
                vectors.bytes(field, key.bytes());
            }
        }
    }

    let first = Invite {
        server: ServerName::parse("192.0.2.1:8080", 1).unwrap(),
        server_key: [1; 32],
        network_key: key(2),
        client_key: key(3),
        psk: None,
        rank: Rank::default(),
        others: Vec::new(),
    };
    let other = Invite {
        server: ServerName::parse("b.example:1", 1).unwrap(),
        server_key: [5; 32],
        psk: key(6),
        client_key: None,
        ..first.clone()
    };
    let second = ServerName::parse("[2001:db8::1]:8080", 1).unwrap();
    let same = first.clone().or(second, Rank::new(0, 3)).unwrap();
    for (name, invite) in
        [("same-keys", same.clone()), ("keys-of-their-own", same.and(&other).unwrap())]
    {
        let url = invite.url();
        assert_eq!(url.parse(), Ok(invite.clone()));
        vectors.block(name, "");
        vectors.word("invite", &*url);
        vectors.bytes("client_key", invite.client_key.as_ref().unwrap().bytes());
        for (number, server) in (1..).zip(invite.servers()) {
            vectors.word(&format!("server_{number}"), &server.server);
            vectors.word(&format!("priority_{number}"), &server.rank.priority);
            vectors.word(&format!("weight_{number}"), &server.rank.weight);
            vectors.bytes(&format!("server_key_{number}"), &server.server_key);
            let keys = [("network_key", &server.network_key), ("psk", &server.psk)];
            for (field, key) in keys {
                if let Some(key) = key {
                    vectors.bytes(&format!("{field}_{number}"), key.bytes());
                }
            }
        }
    }

    let signed = |mut bytes: Vec<u8>| {
        let sum: [u8; 32] = Blake2s256::digest(&bytes).into();
        bytes.extend(&sum[..4]);
        bytes
    };
    let body = |version, flags, keys: u8| {
        let keys = (1..=keys).flat_map(|key| [key; 32]);
        signed([version, flags].into_iter().chain(keys).collect())
    };
    let mut changed = body(1, 0, 1);
    changed[2] ^= 1;
    let cut = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    for (name, bytes) in [
        ("version-3", body(3, 0, 1)),
        ("one-of-several", signed([&[2, 0, 0, 1, 0, 0][..], &[1; 32]].concat())),
        ("same-as-none", signed(vec![2, 0, 0, 1, 1, 0, 0, 1, 1, 1, b'b'])),
        (
            "second-without-address",
            signed([&[2, 0, 0, 1, 0, 0][..], &[1; 32], &[0, 1, 1, 0]].concat()),
        ),
        ("flag-8", body(1, 8, 2)),
        ("flag-without-its-key", body(1, 4, 1)),
        ("key-without-its-flag", body(1, 0, 2)),
        ("changed", changed),
        ("cut-short", cut(body(1, 7, 4))),
    ] {
        let url = format!("acton://192.0.2.1:8080/#{}", BASE64URL_NOPAD.encode(&bytes));
        assert!(url.parse::<Invite>().is_err(), "{name}");
        vectors.block(name, "");
        vectors.word("refused", &url);
    }
    vectors.check("invite.txt");
}
