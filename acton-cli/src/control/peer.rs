//! Who is at the other end of a connection, and what that one may.

use std::ffi::CString;
use std::io;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, Uid, User, getgrouplist};

/// What somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    /// Nothing.
    None,
    /// Ask.
    Look,
    /// Ask and change.
    Change,
}

/// Somebody at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) user: u32,
    groups: Vec<u32>,
}

impl Peer {
    /// Who connected, as the kernel says.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = getsockopt(stream, PeerCredentials)?;
        let (user, group) = (credentials.uid(), credentials.gid());
        let mut groups = vec![group];
        // Of the further groups the kernel tells safe code nothing: those of the user's account.
        if let Ok(Some(account)) = User::from_uid(Uid::from_raw(user))
            && let Ok(name) = CString::new(account.name)
            && let Ok(further) = getgrouplist(&name, Gid::from_raw(group))
        {
            groups.extend(further.into_iter().map(Gid::as_raw));
        }
        Ok(Self { user, groups })
    }

    /// Root and whoever the tunnel runs as may change, as may the members of `changers`; those of the
    /// socket's group may look.
    pub(super) fn right(&self, owner: u32, socket: Option<u32>, changers: Option<u32>) -> Right {
        let is_member =
            |group: Option<u32>| group.is_some_and(|group| self.groups.contains(&group));
        if self.user == 0 || self.user == owner || is_member(changers) {
            Right::Change
        } else if is_member(socket) {
            Right::Look
        } else {
            Right::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_what() {
        let peer = |user, groups: &[u32]| Peer { user, groups: groups.to_vec() };
        let right = |peer: Peer| peer.right(7, Some(50), Some(60));
        assert_eq!(right(peer(0, &[0])), Right::Change);
        assert_eq!(right(peer(7, &[7])), Right::Change);
        assert_eq!(right(peer(1_000, &[1_000, 60])), Right::Change);
        assert_eq!(right(peer(1_000, &[50])), Right::Look);
        assert_eq!(right(peer(1_000, &[1_000])), Right::None);
        assert_eq!(peer(1_000, &[50]).right(0, None, None), Right::None);
    }

    #[test]
    fn the_kernel_says_who_connected() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(peer.user, nix::unistd::geteuid().as_raw());
        assert!(peer.groups.contains(&nix::unistd::getegid().as_raw()));
    }
}
