//! What a session knows of cgroups and command lines, as they change.

use super::{ROOM, Session};
use crate::model::Extent;

/// After the hierarchy of cgroups was read, it is not read again for this many times the duration of
/// the reading. So lost changes never cost more than a twentieth of a CPU.
const SCAN_PAUSE: u32 = 20;

impl Session<'_> {
    /// Scans the hierarchy again if more changes of cgroups were `lost` since the last scan.
    pub(super) fn scan_cgroups(&mut self, lost: u64, extent: Extent) {
        let begun = self.clock.now();
        // No sample follows the last one.
        let is_due = extent == Extent::All || begun >= self.next_scan;
        if lost == self.scanned_losses || !is_due {
            return;
        }
        self.known.cgroups.scan();
        let ended = self.clock.now();
        let pause = SCAN_PAUSE * ended.saturating_duration_since(begun);
        self.next_scan = ended.checked_add(pause).unwrap_or(ended);
        self.scanned_losses = lost;
    }

    /// Applies the changes of cgroups and command lines that the kernel reported.
    pub(super) fn apply_changes(&mut self) {
        for change in self.source.cgroups() {
            self.known.cgroups.apply(change);
        }
        let changes = self.source.commands();
        if let Some(commands) = &mut self.known.commands {
            let commands = commands.get_mut();
            changes
                .into_iter()
                .for_each(|change| commands.apply(change));
        }
    }

    /// Forgets all command lines if more changes of them were `lost`: anyone may have another one now.
    pub(super) fn forget_commands(&mut self, lost: u64) {
        if lost != self.forgotten_losses
            && let Some(commands) = &mut self.known.commands
        {
            commands.get_mut().forget();
            self.forgotten_losses = lost;
        }
    }

    /// Whether what is known should be used soon, so that it can be forgotten.
    pub(super) fn is_known_full(&mut self) -> bool {
        let commands = self.known.commands.as_mut();
        let is_full = commands.is_some_and(|commands| commands.get_mut().is_full());
        is_full || self.known.cgroups.removed() > ROOM
    }

    /// Forgets what is not needed any more, after all traffic got its names.
    pub(super) fn known_is_used(&mut self) {
        self.known.cgroups.forget_removed();
        if let Some(commands) = &mut self.known.commands {
            commands.get_mut().are_looked_up();
        }
    }

    /// Processes whose command line was not known in time.
    pub(super) fn without_command(&mut self) -> u64 {
        let commands = self.known.commands.as_mut();
        commands.map_or(0, |commands| commands.get_mut().missing())
    }
}
