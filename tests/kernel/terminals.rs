//! Output on a real terminal.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::harness::{NETATOP, Workload, wait_for};

/// A terminal with an interactive shell, which has job control.
struct Terminal {
    dir: tempfile::TempDir,
}

impl Terminal {
    fn new() -> Self {
        let terminal = Self {
            dir: tempfile::tempdir().expect("tempdir"),
        };
        terminal.tmux(&[
            "new-session",
            "-d",
            "-x",
            "90",
            "-y",
            "30",
            "env PS1='$ ' bash --norc -i",
        ]);
        terminal.wait_for_text("$");
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let ran = Command::new("tmux")
            .arg("-S")
            .arg(self.path("tmux"))
            .args(["-f", "/dev/null"])
            .args(args)
            .env_remove("TMUX")
            .output()
            .expect("tmux");
        assert!(ran.status.success(), "{args:?}: {ran:?}");
        String::from_utf8(ran.stdout).expect("UTF-8")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Types a line. `$N` stands for the program, and `$D` for a directory.
    fn type_line(&self, line: &str) {
        let line = line
            .replace("$N", NETATOP)
            .replace("$D", self.dir.path().to_str().expect("utf-8"));
        self.tmux(&["send-keys", "-l", &line]);
        self.press("Enter");
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// The lines of the screen that are not empty.
    fn screen(&self) -> Vec<String> {
        let screen = self.tmux(&["capture-pane", "-p"]);
        let lines = screen.lines().map(str::trim_end);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn wait_for_text(&self, text: &str) -> Vec<String> {
        wait_for(text, || {
            let screen = self.screen();
            screen
                .iter()
                .any(|line| line.contains(text))
                .then_some(screen)
        })
    }

    /// The exit status that a line with `echo $? >$D/status` wrote.
    fn status(&self) -> i32 {
        wait_for("its end", || {
            let text = fs::read_to_string(self.path("status")).ok()?;
            text.trim().parse().ok()
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.path("tmux"))
            .arg("kill-server")
            .output();
    }
}

const PROGRESS: &str = "so far";

fn is_progress(line: &str) -> bool {
    line.contains(PROGRESS)
}

#[test]
fn the_line_of_progress_leaves_nothing_behind() {
    let flow = Workload::start(&["flow", "size=100"]);
    let terminal = Terminal::new();
    terminal.type_line("clear; $N record -i 1s -o $D/r.csv; echo $? >$D/status");
    let mut most = 0;
    wait_for("some intervals", || {
        let screen = terminal.screen();
        most = most.max(screen.iter().filter(|line| is_progress(line)).count());
        let rows = fs::read_to_string(terminal.path("r.csv")).ok()?;
        (rows.lines().count() > 3).then_some(())
    });
    assert_eq!(most, 1, "one line at a time");
    terminal.wait_for_text(PROGRESS);
    terminal.press("C-c");
    assert_eq!(terminal.status(), 0);
    let screen = terminal.wait_for_text("unattributed");
    flow.finish();
    let lines: Vec<&String> = screen.iter().filter(|line| line.as_str() != "$").collect();
    assert_eq!(lines.len(), 1, "{screen:?}");
}

/// The reader of the pipe writes to the same terminal.
#[test]
fn nothing_is_drawn_between_the_rows_of_another_program() {
    let flow = Workload::start(&["flow", "size=100"]);
    let terminal = Terminal::new();
    terminal.type_line("clear; $N record -i 500ms -f csv | tee $D/r.csv | cut -c1-9");
    let mut drawn = Vec::new();
    wait_for("rows", || {
        drawn.extend(
            terminal
                .screen()
                .into_iter()
                .filter(|line| is_progress(line)),
        );
        let rows = fs::read_to_string(terminal.path("r.csv")).ok()?;
        (rows.lines().count() > 6).then_some(())
    });
    terminal.press("C-c");
    flow.finish();
    assert_eq!(drawn, [""; 0]);
}

#[test]
fn a_job_in_the_background_neither_draws_nor_is_stopped() {
    let flow = Workload::start(&["flow", "size=100"]);
    let terminal = Terminal::new();
    terminal.type_line("stty tostop; clear; $N record -q -d 1h -i 1h -o $D/quiet.csv & $N record -i 500ms -o $D/r.csv &");
    let mut drawn = Vec::new();
    wait_for("rows", || {
        drawn.extend(
            terminal
                .screen()
                .into_iter()
                .filter(|line| is_progress(line)),
        );
        let rows = fs::read_to_string(terminal.path("r.csv")).ok()?;
        (rows.lines().count() > 6).then_some(())
    });
    assert_eq!(drawn, [""; 0]);
    // The line is drawn in the foreground, and is not drawn after a return to the background.
    terminal.type_line("fg");
    terminal.wait_for_text(PROGRESS);
    terminal.press("C-c");
    terminal.wait_for_text("unattributed");
    flow.finish();
    assert!(!terminal.screen().iter().any(|line| is_progress(line)));
}

/// Ctrl-S stops a terminal: writes to it block until Ctrl-Q.
#[test]
fn a_stopped_terminal_does_not_keep_it_from_ending() {
    let flow = Workload::start(&["flow", "size=100"]);
    for rows in ["", "-o $D/r.csv --force"] {
        let terminal = Terminal::new();
        terminal.type_line(&format!(
            "sh -c 'echo $$ >$D/pid; exec $N record -v -i 50ms {rows}'; echo $? >$D/status"
        ));
        terminal.wait_for_text("attached");
        let pid = fs::read_to_string(terminal.path("pid")).expect("a pid");
        terminal.press("C-s");
        let tty = terminal.tmux(&["display-message", "-p", "#{pane_tty}"]);
        let tty = fs::File::options()
            .write(true)
            .open(tty.trim_end())
            .expect("its device");
        wait_for("the terminal to stop", || {
            let mut fds = [PollFd::new(&tty, PollFlags::OUT)];
            (poll(&mut fds, Some(&Timespec::default())) == Ok(0)).then_some(())
        });
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("a number"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("kill");
        // Unread rows are lost, and netatop does not wait to print the summary.
        assert_eq!(terminal.status(), i32::from(rows.is_empty()));
    }
    flow.finish();
}
