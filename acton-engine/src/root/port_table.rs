//! What the kernel's bridge has at the TAP, kept up with who is there: a MAC whose session has ended
//! goes at once, not only when it ages out. Whoever follows that table, as BGP for EVPN does, withdraws
//! it then.
//!
//! On a thread of its own: no frame and no session waits for the kernel's lock of its links.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, Owner};
use acton_netlink::Socket;
use parking_lot::{Condvar, Mutex};
use pnet_base::MacAddr;

use crate::run::clock;
use crate::run::threads::{self, ThreadKind};
use crate::sessions::port::LeafId;

/// MACs that wait for the thread at most, 8 bytes each. Where more go at once, it looks through the
/// whole table instead.
const MAX_WAITING: usize = 1 << 18;
/// MACs that are dealt with at a turn: then those count that came back meanwhile.
const TURN: usize = 1_024;

/// A MAC, and the VLAN of its frames, 0 for untagged ones.
type Address = (MacAddr, u16);

/// Has the kernel's bridge follow who is behind the TAP; dropping it ends that.
pub(crate) struct PortTable {
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    list: Mutex<List>,
    news: Condvar,
}

#[derive(Default)]
struct List {
    gone: Vec<Address>,
    /// More have gone than there was room for.
    too_many: bool,
    /// What is known to be here without a frame.
    here: Vec<Address>,
    ended: bool,
}

impl List {
    fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.here.is_empty() && !self.too_many
    }
}

impl PortTable {
    /// Follows what `bridge` has at clients, in the table of the Linux bridge that the interface with
    /// index `tap` is a port of, while it is one.
    ///
    /// # Errors
    /// There are too many open files, or no thread can be made.
    pub(super) fn start(bridge: Arc<Bridge<LeafId>>, tap: u32) -> io::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let follower = Follower { netlink: Socket::open()?, bridge, tap, failed: false };
        let theirs = Arc::clone(&waiting);
        threads::spawn("acton-port", ThreadKind::BridgePort, move || follower.run(&theirs))?;
        Ok(Self { waiting })
    }

    /// Notes that these have gone.
    pub(crate) fn note_gone(&self, gone: &[Address]) {
        self.note(gone, |list, room| {
            list.too_many |= gone.len() > room;
            &mut list.gone
        });
    }

    /// Notes that a MAC is here, though it may not have said so: the bridge then knows where it is, and
    /// nobody has to ask everybody.
    pub(crate) fn note_here(&self, mac: MacAddr, vlan: u16) {
        self.note(&[(mac, vlan)], |list, _| &mut list.here);
    }

    fn note(&self, all: &[Address], choose: impl Fn(&mut List, usize) -> &mut Vec<Address>) {
        if all.is_empty() {
            return;
        }
        let mut list = self.waiting.list.lock();
        let room = MAX_WAITING.saturating_sub(list.gone.len() + list.here.len());
        choose(&mut list, room).extend(&all[..all.len().min(room)]);
        self.waiting.news.notify_one();
    }
}

impl Drop for PortTable {
    fn drop(&mut self) {
        self.waiting.list.lock().ended = true;
        self.waiting.news.notify_one();
    }
}

struct Follower {
    netlink: Socket,
    bridge: Arc<Bridge<LeafId>>,
    tap: u32,
    /// The last turn failed, which was told.
    failed: bool,
}

/// How the kernel's bridge files frames that come by the TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filing {
    /// By MAC alone.
    Together,
    /// By MAC and VLAN; untagged frames on this one, or not at all.
    ByVlan(Option<u16>),
}

impl Filing {
    /// The VLAN to name to the kernel; `None` where it has no entry for such frames.
    fn vlan(self, vlan: u16) -> Option<Option<u16>> {
        match (self, vlan) {
            (Self::Together, _) => Some(None),
            (Self::ByVlan(pvid), 0) => pvid.map(Some),
            (Self::ByVlan(_), vlan) => Some(Some(vlan)),
        }
    }
}

/// A client's address that the list names is taken from it in more than one step: so what was there
/// still is looked at again, so often, after so long, and so many at most.
const LOOKS: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const MOST_AGAIN: usize = 4_096;

impl Follower {
    fn run(mut self, waiting: &Waiting) {
        // Addresses that were at a client still, and how often they are looked at again.
        let (mut again, mut looks) = (Vec::new(), 0_u32);
        loop {
            let List { mut gone, too_many, here, ended } = {
                let mut list = waiting.list.lock();
                while list.is_empty() && !list.ended {
                    if looks == 0 {
                        waiting.news.wait(&mut list);
                    } else if waiting.news.wait_for(&mut list, LOOK_AGAIN).timed_out() {
                        break;
                    }
                }
                mem::take(&mut *list)
            };
            if ended {
                return;
            }
            looks = if gone.is_empty() { looks.saturating_sub(1) } else { LOOKS };
            gone.append(&mut again);
            if looks > 0 {
                again.clone_from(&gone);
                again.truncate(MOST_AGAIN);
            }
            let followed = self.follow(&gone, too_many, &here);
            if let Err(error) = &followed
                && !self.failed
            {
                log::warn!(
                    "the Linux bridge of the TAP keeps the MACs of clients that have gone until they \
                     age out: {error}"
                );
            }
            self.failed = followed.is_err();
        }
    }

    fn follow(&mut self, gone: &[Address], too_many: bool, here: &[Address]) -> io::Result<()> {
        let Some((master, filing)) = self.filing()? else { return Ok(()) };
        for gone in gone.chunks(TURN) {
            self.remove(gone, filing)?;
        }
        if too_many {
            self.look_through(master, filing)?;
        }
        for here in here.chunks(TURN) {
            self.add(here, filing)?;
        }
        Ok(())
    }

    /// The Linux bridge that the TAP is a port of, and how that files frames.
    fn filing(&mut self) -> io::Result<Option<(u32, Filing)>> {
        let tap = self.netlink.link_by_index(self.tap)?;
        let Some(master) = tap.master.filter(|_| tap.master_kind == "bridge") else {
            return Ok(None);
        };
        let status = self.netlink.link_by_index(master)?.bridge.unwrap_or_default();
        let filing = match status.vlan_filtering {
            true => Filing::ByVlan(self.netlink.port_pvid(self.tap)?),
            false => Filing::Together,
        };
        Ok(Some((master, filing)))
    }

    /// Removes what is at no client, and puts back what came back while it was being removed.
    fn remove(&mut self, gone: &[Address], filing: Filing) -> io::Result<()> {
        let away = gone.iter().copied().filter(|&address| !self.is_here(address, filing));
        let away: Vec<_> = away.collect();
        let (addresses, places) = places(&away, filing);
        let mut removed = Vec::new();
        self.netlink.remove_from_fdb(self.tap, &places, |number| {
            removed.push(addresses[number]);
        })?;
        let back = removed.into_iter().filter(|&address| self.is_here(address, filing));
        let back: Vec<_> = back.collect();
        self.add(&back, filing)
    }

    fn add(&mut self, here: &[Address], filing: Filing) -> io::Result<()> {
        let here = here.iter().copied().filter(|&address| self.is_here(address, filing));
        let (_, places) = places(&here.collect::<Vec<_>>(), filing);
        self.netlink.add_to_fdb(self.tap, &places, |_| {})
    }

    /// Removes all that the Linux bridge has learned at the TAP and that is at no client.
    fn look_through(&mut self, master: u32, filing: Filing) -> io::Result<()> {
        let entries = self.netlink.fdb(master)?;
        let learned = entries.iter().filter(|entry| entry.port == self.tap && entry.ages);
        let addresses: Vec<_> = learned
            .map(|entry| match filing {
                Filing::ByVlan(pvid) if entry.vlan != pvid => (entry.mac, entry.vlan.unwrap_or(0)),
                _ => (entry.mac, 0),
            })
            .collect();
        addresses.chunks(TURN).try_for_each(|some| self.remove(some, filing))
    }

    /// Whether a client has it. A bridge that files all VLANs together also has it there where one has
    /// it untagged.
    fn is_here(&self, (mac, vlan): Address, filing: Filing) -> bool {
        let now = clock::now();
        let has = |vlan| matches!(self.bridge.lookup(vlan, mac, now), Some(Owner::Leaf(_)));
        has(vlan) || (filing == Filing::Together && vlan != 0 && has(0))
    }
}

/// What the kernel is to be told of these addresses: the ones that it can have, each once.
fn places(addresses: &[Address], filing: Filing) -> (Vec<Address>, Vec<(MacAddr, Option<u16>)>) {
    let mut all: Vec<_> = addresses
        .iter()
        .filter_map(|&(mac, vlan)| Some(((mac, vlan), (mac, filing.vlan(vlan)?))))
        .collect();
    all.sort_unstable_by_key(|&(_, place)| place);
    all.dedup_by_key(|&mut (_, place)| place);
    all.into_iter().unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);

    #[test]
    fn a_mac_is_named_once_as_the_bridge_files_it() {
        let addresses = [(MAC, 0), (MAC, 7), (MAC, 8)];
        let named = |filing| places(&addresses, filing).1;
        assert_eq!(named(Filing::Together), [(MAC, None)]);
        let by_vlan = |pvid| named(Filing::ByVlan(pvid));
        assert_eq!(by_vlan(Some(1)), [1, 7, 8].map(|vlan| (MAC, Some(vlan))));
        assert_eq!(by_vlan(Some(7)), [7, 8].map(|vlan| (MAC, Some(vlan))));
        assert_eq!(by_vlan(None), [7, 8].map(|vlan| (MAC, Some(vlan))));
    }

    #[test]
    fn what_waits_has_a_bound() {
        let table = PortTable { waiting: Arc::default() };
        let all = vec![(MAC, 0); MAX_WAITING - 1];
        table.note_gone(&all);
        table.note_here(MAC, 0);
        assert!(!table.waiting.list.lock().too_many);
        table.note_here(MAC, 0);
        table.note_gone(&[(MAC, 0); 2]);
        let list = table.waiting.list.lock();
        assert!(list.too_many);
        assert_eq!((list.gone.len(), list.here.len()), (MAX_WAITING - 1, 1));
    }
}
