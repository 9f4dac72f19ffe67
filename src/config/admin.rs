//! `[admin]`: where the broker is looked after.

use std::net::{Ipv4Addr, SocketAddr};

use super::acl::UserName;
use super::address::Address;
use super::quantity::Period;
use super::section::{section, text};
use super::tls::TlsName;

/// What the Unix socket in the data directory is called.
pub(crate) const ADMIN_SOCKET: &str = "admin.sock";

/// The port of the dashboard, the API and the metrics.
const PORT: u16 = 9_883;

section! {
    /// Where metrics, health and the API are.
    pub struct Admin {
        /// Whether there is a Unix socket `admin.sock` in `server.data_dir`, for `noctule ctl`: there is. The broker's own user
        /// and root may use it; the kernel says who asks, and everybody else is refused.
        socket: bool = true, Restart;

        /// Where HTTP is spoken besides: on the loopback, port 9883. `[]` is nowhere. Where clients have to log in, so have
        /// operators, and without `users` this shows metrics and health alone. An address that other machines can reach wants
        /// `tls` and `users`. A `unix:` path is like the loopback: its directory and its mode (0660) say who reaches it.
        listen: Vec<Address> = vec![Address::Net(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT))], Restart;

        /// How often what has changed of `$SYS/broker/...` is published while somebody subscribes to it: every 10 seconds.
        /// `"0s"` for never.
        sys_interval: Period [0..=3_600_000] = Period::from_secs(10), Restart;

        /// Names under which browsers and programs may reach it, besides addresses and `localhost`: none. A page that points
        /// a name of its own at this machine gets nothing.
        hosts: Vec<HostName> = Vec::new(), Restart;

        /// Users who may look after the broker over HTTP, by the password or token that they have as clients: none. `"*"` is
        /// everybody who has a name.
        users: Vec<UserName> = Vec::new(), Now;

        /// The `[[tls]]` that is spoken there, by its name: none, everything can be read on the way.
        tls: Option<TlsName> = None, Restart;
    }
}

text! {
    /// The name of a machine.
    pub struct HostName = "a name such as \"gateway.lan\"";
}
