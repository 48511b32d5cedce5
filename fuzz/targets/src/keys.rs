//! What users paste or write by hand: names, keys, invites, lists of clients.

use std::cell::OnceCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use acton_engine::ServerName;
use acton_engine::keys::{
    ClientList, Invite, KeyError, encode_key, encode_secret, parse_key, parse_secret,
};
use blake2::{Blake2s256, Digest};
use data_encoding::BASE64URL_NOPAD;

/// The name of a server: what is taken, shown, is taken again for the same.
pub fn server_name(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(name) = ServerName::parse(text, 8080) else { return false };
    assert_eq!(ServerName::parse(&name.to_string(), 1), Ok(name));
    true
}

/// A key in base64.
pub fn key_text(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(key) = parse_key(text) else {
        assert!(parse_secret(text).is_err());
        return false;
    };
    // One key has one text, but for the padding.
    assert_eq!(encode_key(&key).trim_end_matches('='), text.trim_end_matches('='));
    let secret = parse_secret(text).expect("public and secret keys are written alike");
    assert_eq!(*encode_secret(&secret), encode_key(&key));
    true
}

/// An invite: a text, or after a first byte of 0xff the binary part, which is given the checksum
/// that a fuzzer cannot guess.
pub fn invite(data: &[u8]) -> bool {
    let text = match data.split_first() {
        Some((0xff, body)) => {
            let sum = Blake2s256::digest(body);
            let bytes = [body, &sum[..4]].concat();
            format!("acton://192.0.2.1:8080/#{}", BASE64URL_NOPAD.encode(&bytes))
        }
        _ => match std::str::from_utf8(data) {
            Ok(text) => text.to_owned(),
            Err(_) => return false,
        },
    };
    let Ok(invite) = text.parse::<Invite>() else { return false };
    assert_eq!(invite.url().parse(), Ok(invite));
    true
}

/// A file that is rewritten for each input, this thread's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let number = NUMBER.fetch_add(1, Relaxed);
        let directory = parent.join(format!("acton-fuzz-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for scratch files");
        Self(directory)
    }

    fn write(&self, data: &[u8]) -> PathBuf {
        let path = self.0.join("clients");
        fs::write(&path, data).expect("a scratch file");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("our own file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A list of clients. Taking a client off the file and putting it back changes nothing else.
pub fn client_list(data: &[u8]) -> bool {
    thread_local!(static SCRATCH: OnceCell<Scratch> = const { OnceCell::new() });
    SCRATCH.with(|scratch| {
        let path = scratch.get_or_init(Scratch::new).write(data);
        let Ok(list) = ClientList::load(&path) else { return false };
        for client in list.iter() {
            assert_eq!(list.get(&client.key), Some(client));
            assert_eq!(list.find(&client.name), Some(client), "names are unique");
        }
        let Some(client) = list.iter().min_by_key(|client| &client.name) else { return false };
        let left = match ClientList::remove(&path, &client.name) {
            // It is written in a way that is its author's to undo.
            Err(KeyError::TableStays { .. }) => return true,
            left => left.expect("a listed client"),
        };
        let shorter = ClientList::load(&path).expect("a list without one of its lines");
        assert_eq!((left, shorter.len()), (list.len() - 1, list.len() - 1));
        assert_eq!(shorter.get(&client.key), None);
        ClientList::add(&path, client).expect("a client that is not listed");
        let again = ClientList::load(&path).expect("a list with a client more");
        assert_eq!(again.len(), list.len());
        // In TOML, what holds for all holds for who is added too.
        if !data.contains(&b'[') {
            assert_eq!(again, list);
        }
        true
    })
}
