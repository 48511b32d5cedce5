//! The MAC of a TAP without keys, kept from one start to the next.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;

use acton_proto::handshake::{Random, SystemRandom};
use pnet_base::MacAddr;

use super::KeyError;
use super::file::{self, SMALL, WRITE_ACCESS};
use super::state::State;
use crate::run::tap_mac::tap_mac;

/// A MAC that is kept for the TAP of one name. While this lives, no other tunnel on this host gets
/// it, such as one in another network namespace: two alike in one network break both.
#[derive(Debug)]
pub struct KeptMac {
    mac: MacAddr,
    _lock: File,
}

impl KeptMac {
    /// The MAC, unicast and locally administered where it was drawn.
    #[must_use]
    pub const fn mac(&self) -> MacAddr {
        self.mac
    }
}

impl State {
    /// The MAC that is kept here for the TAP called `name`, for tunnels in plain mode: there are no
    /// keys that it could come from, and what else tells hosts apart (a machine-id) containers and
    /// copies of a virtual machine share. The first call draws it.
    ///
    /// # Errors
    /// Where the file cannot be read or made, can be changed by others, holds no such MAC, or is in
    /// use.
    pub fn keep_mac(&self, name: &str) -> Result<KeptMac, KeyError> {
        let path = self.directory().join(format!("tap-{name}.mac"));
        if name.contains('/') {
            // No interface has such a name, and the file would lie elsewhere.
            return Err(KeyError::io("use", path)(ErrorKind::InvalidInput.into()));
        }
        if file::read(&path, SMALL, WRITE_ACCESS)?.is_none() {
            self.prepare()?;
            file::create(&path, &format!("{}\n", draw()))?;
        }
        // It is never replaced, so that whoever opens it locks the same file.
        let lock = File::open(&path).map_err(KeyError::io("read", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(KeyError::MacInUse { path }),
            Err(TryLockError::Error(error)) => return Err(KeyError::io("lock", path)(error)),
        }
        let text = file::read(&path, SMALL, WRITE_ACCESS)?.map(|contents| contents.text);
        let mac = text.and_then(|text| text.trim().parse::<MacAddr>().ok());
        match mac.filter(|mac| mac.is_unicast() && !mac.is_zero()) {
            Some(mac) => Ok(KeptMac { mac, _lock: lock }),
            None => Err(KeyError::BadMac { path }),
        }
    }
}

fn draw() -> MacAddr {
    let mut octets = [0; 5];
    SystemRandom.fill(&mut octets);
    tap_mac(octets)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::keys::file::tests::Directory;

    #[test]
    fn it_stays_and_is_given_out_once_at_a_time() {
        let directory = Directory::new();
        let state = State::new(directory.join("state"));
        let kept = state.keep_mac("server").unwrap();
        let mac = kept.mac();
        assert!(mac.is_unicast() && mac.is_local() && mac.0 == 0xfe);
        assert!(matches!(state.keep_mac("server"), Err(KeyError::MacInUse { .. })));
        let other = state.keep_mac("client").unwrap();
        assert_ne!(other.mac(), mac);
        drop(kept);
        assert_eq!(state.keep_mac("server").unwrap().mac(), mac);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let directory = Directory::new();
        let state = State::new(directory.join("state"));
        assert!(matches!(state.keep_mac("x/../../y"), Err(KeyError::Io { .. })));
        assert!(!directory.join("state").exists());
    }

    #[test]
    fn a_file_without_a_mac_is_refused() {
        let directory = Directory::new();
        let state = State::new(directory.path());
        for text in ["", "01:00:5e:00:00:01\n", "00:00:00:00:00:00\n", "02:00\n"] {
            fs::write(directory.join("tap-x.mac"), text).unwrap();
            assert!(matches!(state.keep_mac("x"), Err(KeyError::BadMac { .. })), "{text:?}");
        }
    }
}
