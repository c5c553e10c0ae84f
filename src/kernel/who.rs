//! The filters by what a task is: the name of its process, its user, and its unit.

use libbpf_rs::{MapCore, MapFlags, MapMut};
use plain::Plain;

use super::automaton::Automaton;
use super::skel::{NetatopMaps, OpenNetatopMaps, types};
use crate::error::Error;
use crate::host::Cgroups;

// SAFETY: generated from bpf/who.h. The struct is #[repr(C)] and holds only an array of integers, so
// every bit pattern is a valid value.
unsafe impl Plain for types::automaton_state {}

/// Selects tasks by what they are at the moment of an event. A task must match all parts. The
/// default selects all tasks, and nothing is loaded for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// The names of processes that count. `None`: all.
    pub names: Option<Automaton>,
    /// The real users that count, by number. Empty: all. At most [`MAX_UIDS`].
    pub uids: Vec<u32>,
    /// The paths of cgroups whose tasks count ([`Automaton::of_units`]). `None`: all.
    pub units: Option<Automaton>,
}

/// Maximum number of users in a [`TaskFilter`] (`bpf/who.h`).
pub const MAX_UIDS: usize = 64;

impl TaskFilter {
    /// Whether anything is left out.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.names.is_some() || !self.uids.is_empty() || self.units.is_some()
    }

    /// Writes the settings into the programs' constants.
    pub(super) fn write_to(&self, raw: &mut types::who_settings) {
        raw.names = u32::from(self.names.is_some());
        raw.units = u32::from(self.units.is_some());
        raw.uids = 0;
        for (to, from) in raw.uid.iter_mut().zip(&self.uids) {
            *to = *from;
            raw.uids += 1;
        }
    }

    /// Sets the sizes of the maps, and leaves out those that are not needed. `cgroups` is the number
    /// of cgroups for which there is room.
    pub(super) fn size(
        &self,
        maps: &mut OpenNetatopMaps<'_>,
        cgroups: u32,
    ) -> libbpf_rs::Result<()> {
        for (map, automaton) in [
            (&mut maps.name_states, &self.names),
            (&mut maps.unit_states, &self.units),
        ] {
            match automaton {
                Some(automaton) => map.set_max_entries(automaton.len())?,
                None => map.set_autocreate(false)?,
            }
        }
        match &self.units {
            Some(_) => maps.unit_cgroups.set_max_entries(cgroups),
            None => maps.unit_cgroups.set_autocreate(false),
        }
    }

    /// Puts the automata into their maps. The programs need them from their first event on.
    pub(super) fn fill(&self, maps: &NetatopMaps<'_>) -> libbpf_rs::Result<()> {
        for (map, automaton) in [
            (&maps.name_states, &self.names),
            (&maps.unit_states, &self.units),
        ] {
            if let Some(automaton) = automaton {
                fill(map, automaton)?;
            }
        }
        Ok(())
    }

    /// Adds the cgroups of wanted units that exist. Those that are made from now on are added by the
    /// program on new cgroups, which is attached.
    pub(super) fn add_existing(&self, maps: &NetatopMaps<'_>) -> Result<(), Error> {
        let Some(units) = &self.units else {
            return Ok(());
        };
        let map = &maps.unit_cgroups;
        let all = Cgroups::new();
        for (id, _) in all
            .iter()
            .filter(|(_, path)| units.matches(path.as_bytes()))
        {
            map.update(&id.to_ne_bytes(), &1u32.to_ne_bytes(), MapFlags::ANY)
                .map_err(|error| {
                    let most = map.max_entries();
                    let what = format!("cannot measure the units, of {most} cgroups at most");
                    Error::failed(what, error)
                })?;
        }
        Ok(())
    }
}

fn fill(map: &MapMut<'_>, automaton: &Automaton) -> libbpf_rs::Result<()> {
    for (number, state) in automaton.states() {
        // SAFETY: plain integers without padding, read as the bytes they are.
        let state = unsafe { plain::as_bytes(&state) };
        map.update(&number.to_ne_bytes(), state, MapFlags::ANY)?;
    }
    Ok(())
}
