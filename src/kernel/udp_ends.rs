//! Where the remote ends of unconnected UDP sockets come from.

use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{ProgramMut, ProgramType};

use super::facts::HostFacts;
use super::skel::{NetatopProgs, NetatopSkelBuilder, OpenNetatopProgs};
use crate::host::cgroup_mount;

/// What tells the remote end of an unconnected UDP socket. The socket does not know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpEnds {
    /// Nothing: no option needs them.
    #[default]
    NotNeeded,
    /// Programs at the entry and exit of the kernel's functions for UDP (`bpf/entries.h`).
    Functions,
    /// Programs on the cgroup hooks for UDP (`leave_note` in `bpf/ends.h`). They do not know the sender
    /// of a datagram if the receiving call does not ask for it.
    CgroupHooks,
    /// The same, without task storage: older kernels do not allow it in cgroup programs.
    HashedCgroupHooks,
    /// Nothing: CAP_NET_ADMIN is missing.
    NoNetAdmin,
    /// Nothing: cgroup v2 is not mounted.
    NoCgroups,
    /// Nothing: the kernel refused all of these programs.
    Refused,
}

/// Number of threads whose notes are kept if they are in a hash map. The map takes 2 MB.
pub(super) const HASHED_NOTES: u32 = 1 << 14;

/// Number of the helper function `bpf_task_storage_get` (include/uapi/linux/bpf.h).
const TASK_STORAGE_GET: u32 = 156;

/// The answer of libbpf, which loads a program of two instructions. That takes far less time than to
/// load the program itself.
fn supports(answer: &libbpf_rs::Result<bool>) -> bool {
    matches!(answer, Ok(true))
}

impl UdpEnds {
    /// The best that this host allows. Tries to load programs.
    #[must_use]
    pub fn of_host(facts: &HostFacts) -> Self {
        if Self::Functions.can_load() {
            Self::Functions
        } else if !facts.cap_net_admin {
            Self::NoNetAdmin
        } else if cgroup_mount().is_none() {
            Self::NoCgroups
        } else if !supports(&ProgramType::CgroupSockAddr.is_supported()) {
            Self::Refused
        } else if supports(&ProgramType::CgroupSockAddr.is_helper_supported(TASK_STORAGE_GET)) {
            Self::CgroupHooks
        } else {
            Self::HashedCgroupHooks
        }
    }

    /// Whether the kernel accepts the programs for this.
    #[must_use]
    pub fn can_load(self) -> bool {
        self.load_alone().is_ok()
    }

    /// Whether remote ends come from programs on the cgroup hooks.
    #[must_use]
    pub fn is_from_hooks(self) -> bool {
        matches!(self, Self::CgroupHooks | Self::HashedCgroupHooks)
    }

    /// Loads only the programs for this, with their map.
    fn load_alone(self) -> libbpf_rs::Result<()> {
        let mut object = MaybeUninit::uninit();
        let mut open = NetatopSkelBuilder::default().open(&mut object)?;
        let is_hashed = self == Self::HashedCgroupHooks;
        for mut program in open.open_object_mut().progs_mut() {
            program.set_autoload(false);
        }
        for mut map in open.open_object_mut().maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            let others = if is_hashed { "hashed_notes" } else { "notes" };
            let is_theirs = ["slots", "slot_notes", others].contains(&name.as_str());
            // The names of maps for variables contain a dot.
            map.set_autocreate(is_theirs || name.contains('.'))?;
        }
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.notes_are_hashed = u32::from(is_hashed);
        }
        self.choose(&mut open.progs);
        let skel = open.load()?;
        if self == Self::Functions {
            // On some processors, such programs can be loaded but not attached.
            for program in functions(&skel.progs) {
                let _attached = program.attach()?;
            }
        }
        Ok(())
    }

    /// Lets libbpf load the programs for this, and no others that tell remote ends.
    pub(super) fn choose(self, progs: &mut OpenNetatopProgs<'_>) {
        let functions = self == Self::Functions;
        for program in [
            &mut progs.on_udp_sendmsg,
            &mut progs.on_udpv6_sendmsg,
            &mut progs.on_skb_recv_udp,
        ] {
            program.set_autoload(functions);
        }
        for program in [
            &mut progs.note_send4,
            &mut progs.note_send6,
            &mut progs.note_recv4,
            &mut progs.note_recv6,
        ] {
            program.set_autoload(self.is_from_hooks());
        }
    }
}

/// The programs of [`UdpEnds::Functions`], in the order in which they are attached.
pub(super) fn functions<'s, 'o>(progs: &'s NetatopProgs<'o>) -> [&'s ProgramMut<'o>; 3] {
    [
        &progs.on_udp_sendmsg,
        &progs.on_udpv6_sendmsg,
        &progs.on_skb_recv_udp,
    ]
}
