//! How living sockets are found for TCP's own account.

use std::os::fd::AsFd;

use libbpf_rs::Link;

use super::iter;
use super::shared;
use super::skel::{NetatopMaps, NetatopSkel, OpenNetatopProgs};

/// How living sockets are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketWalk {
    /// By their accounts: all of them.
    Accounts,
    /// As open files of all processes, and as sockets of netatop's own network namespace. A socket of
    /// another network namespace that no process has open is not found. It was closed, or was not
    /// accepted yet. Some kernels refuse the better way.
    OpenFiles,
}

impl SocketWalk {
    /// Lets libbpf load the programs for this, and no others that find living sockets.
    pub(super) fn choose(walk: Option<Self>, progs: &mut OpenNetatopProgs<'_>) {
        let is = |one| walk == Some(one);
        progs.tcp_charge.set_autoload(is(Self::Accounts));
        progs.tcp_charge_files.set_autoload(is(Self::OpenFiles));
        progs.tcp_charge_netns.set_autoload(is(Self::OpenFiles));
    }
}

/// The programs that charge the growth of living sockets.
pub(super) struct Charging {
    walk: SocketWalk,
    links: Vec<Link>,
    pass: u32,
    unseen: u64,
}

impl Charging {
    pub(super) fn attach(skel: &NetatopSkel<'_>, walk: SocketWalk) -> libbpf_rs::Result<Self> {
        let progs = &skel.progs;
        let links = match walk {
            SocketWalk::Accounts => vec![progs.tcp_charge.attach_iter(skel.maps.accounts.as_fd())?],
            // In this order: the first reads more exactly, since it has the lock of the socket.
            SocketWalk::OpenFiles => vec![
                progs.tcp_charge_netns.attach()?,
                progs.tcp_charge_files.attach()?,
            ],
        };
        Ok(Self {
            walk,
            links,
            pass: 0,
            unseen: 0,
        })
    }

    /// Charges the living sockets.
    pub(super) fn run(&mut self, maps: &mut NetatopMaps<'_>) -> libbpf_rs::Result<()> {
        if self.walk == SocketWalk::OpenFiles {
            self.pass = self.pass.wrapping_add(1);
            shared::begin_tcp_pass(maps, self.pass);
        }
        for link in &self.links {
            iter::run(link)?;
        }
        if self.walk == SocketWalk::OpenFiles {
            self.unseen = shared::unseen_accounts(maps, self.pass);
        }
        Ok(())
    }

    pub(super) fn walk(&self) -> SocketWalk {
        self.walk
    }

    /// Number of living sockets that the last run did not find.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }
}
