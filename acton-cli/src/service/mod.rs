//! The service manager that started this process, systemd: it hears when the tunnel is ready, how it
//! is, and that its threads move ([sd_notify(3)]).
//!
//! [sd_notify(3)]: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html

mod follower;
mod manager;
mod passed;
mod progress;
mod telling;

pub(crate) use manager::ServiceManager;
pub(crate) use passed::passed_sockets;
