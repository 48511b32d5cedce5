//! How the threads of a tunnel begin.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// What a thread of a tunnel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadKind {
    /// It moves frames: it reads and writes descriptors that are open before it begins, and makes none.
    Worker,
    /// It keeps the sessions, and programs the TAP's interface where [`apply`](crate::Handle::apply)
    /// has it do so.
    Control,
    /// It adds and removes entries of the TAP's in the table of a Linux bridge.
    BridgePort,
    /// It looks up names, reads files or hears of changes of the network.
    Other,
}

/// Is called on each thread of a tunnel as it begins.
#[derive(Clone, Default)]
pub(crate) struct OnThreadStart(Option<Arc<dyn Fn(ThreadKind) + Send + Sync>>);

thread_local! {
    /// As with the rights that the kernel gives it, a thread has it of the one that makes it.
    static CURRENT: RefCell<OnThreadStart> = RefCell::default();
}

impl OnThreadStart {
    pub(crate) fn new(begin: impl Fn(ThreadKind) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(begin)))
    }

    /// Has it called on all threads that this one makes until what is returned is dropped, and on those
    /// that they make.
    pub(crate) fn scope(&self) -> Scope {
        Scope { before: CURRENT.replace(self.clone()) }
    }
}

impl fmt::Debug for OnThreadStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnThreadStart").field(&self.0.is_some()).finish()
    }
}

/// Dropping it ends what [`OnThreadStart::scope`] began.
pub(crate) struct Scope {
    before: OnThreadStart,
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(std::mem::take(&mut self.before));
    }
}

/// Makes a thread of a tunnel.
///
/// # Errors
/// Where the system makes none.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    kind: ThreadKind,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let begin = CURRENT.with_borrow(Clone::clone);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(begin) = &begin.0 {
            begin(kind);
        }
        CURRENT.set(begin);
        body()
    })
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn threads_have_it_of_the_one_that_made_them() {
        let begun = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&begun);
        let begin = OnThreadStart::new(move |kind| all.lock().push(kind));
        let make = |kind| spawn("test", kind, || ()).unwrap().join().unwrap();
        make(ThreadKind::Other);
        {
            let _scope = begin.scope();
            let inner = || spawn("inner", ThreadKind::Other, || ()).unwrap().join().unwrap();
            spawn("outer", ThreadKind::Control, inner).unwrap().join().unwrap();
            make(ThreadKind::Worker);
        }
        make(ThreadKind::Other);
        let expected = [ThreadKind::Control, ThreadKind::Other, ThreadKind::Worker];
        assert_eq!(*begun.lock(), expected);
    }
}
