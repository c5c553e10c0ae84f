//! Completions offered by real shells in a terminal.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{assert_refused, dir, netatop};

/// A shell in a tmux terminal, ready for input, with the completions loaded.
struct Terminal {
    dir: TempDir,
}

impl Terminal {
    fn open(shell: &str) -> Self {
        let dir = dir();
        let ran = netatop(&["completions", shell]);
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        // compinit finds a function by its name.
        fs::write(dir.path().join("_netatop"), ran.stdout).expect("a file");
        // The shell assembles the prompt, so that the test does not mistake the command for it.
        let (command, load) = match shell {
            "bash" => (
                "bash --noprofile --norc",
                "PS1='rea''dy> '; . ./_netatop; clear",
            ),
            "zsh" => (
                "zsh -f",
                "PS1='rea''dy> '; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; clear",
            ),
            _ => (
                "fish --no-config",
                "function fish_prompt; echo 'rea''dy> '; end; . ./_netatop; clear",
            ),
        };
        let terminal = Self { dir };
        let home = terminal.dir.path().to_str().expect("UTF-8");
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "150",
            "-y",
            "50",
            "-c",
            home,
            "env",
            &format!("HOME={home}"),
            "TERM=screen",
            "sh",
            "-c",
            &format!("exec {command}"),
        ]);
        terminal.keys(&["-l", load]);
        terminal.keys(&["Enter"]);
        terminal.wait(&["ready>"]);
        terminal
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("tmux")
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX")
            .arg("-S")
            .arg(self.socket())
            .args(args);
        let output = tmux
            .output()
            .expect("tmux: scripts/setup --test installs it");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types `text` and presses the tabulator key to complete and to list. bash lists only after a
    /// key press that completed nothing.
    fn offers(&self, text: &str, wanted: &[&str]) -> String {
        self.keys(&["-l", &format!("netatop {text}")]);
        for _ in 0..3 {
            self.keys(&["Tab"]);
        }
        self.wait(wanted)
    }

    /// Waits until the screen contains all of `wanted`.
    #[track_caller]
    fn wait(&self, wanted: &[&str]) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if wanted.iter().all(|part| screen.contains(part)) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {wanted:?} in:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // End the server of this socket, which ends the shell too.
        let mut tmux = Command::new("tmux");
        let _ = tmux
            .arg("-S")
            .arg(self.socket())
            .arg("kill-server")
            .output();
    }
}

/// A process whose id is to be completed. Few other ids begin with the same digits: for hundreds of
/// candidates, shells would ask before listing them.
struct Offered(Child);

impl Offered {
    fn start() -> Self {
        for _ in 0..100 {
            let mut child = Command::new("cat");
            child.stdin(Stdio::piped()).stdout(Stdio::null());
            let offered = Self(child.spawn().expect("a process"));
            let begun = offered.begun();
            let others = fs::read_dir("/proc").expect("proc").flatten();
            let names = others.map(|entry| entry.file_name().to_string_lossy().into_owned());
            if names.filter(|name| name.starts_with(&begun)).count() <= 20 {
                return offered;
            }
        }
        panic!("too many processes have ids that begin alike");
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// The process id without its last digit.
    fn begun(&self) -> String {
        let mut pid = self.pid();
        pid.pop();
        pid
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup whose name without the last letter is a prefix of no other name; `None` if there is none.
fn a_cgroup() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let mount = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[2] == "cgroup2")?[1]
        .to_owned();
    let entries = fs::read_dir(mount).expect("cgroups").flatten();
    let names: Vec<String> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let is_alone = |name: &&String| {
        let begun = &name[..name.len() - 1];
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && names
                .iter()
                .filter(|other| other.starts_with(begun))
                .count()
                == 1
    };
    names.iter().find(is_alone).cloned()
}

/// The cgroup of a unit; `None` if this user may not make one.
struct UnitDirectory {
    path: PathBuf,
    name: String,
}

impl UnitDirectory {
    fn make() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let line = mounts.lines().find(|line| line.contains(" cgroup2 "))?;
        let name = format!("netatop-unit-{}.service", std::process::id());
        let path = PathBuf::from(line.split(' ').nth(1)?).join(&name);
        // The tests of several shells run at the same time.
        let made = fs::create_dir(&path);
        let is_there = made.is_ok() || path.is_dir();
        is_there.then_some(Self { path, name })
    }
}

impl Drop for UnitDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

fn offers(shell: &str) {
    Terminal::open(shell).offers("", &["check", "completions", "record"]);
    Terminal::open(shell).offers("record --f", &["--follow", "--force", "--format"]);
    Terminal::open(shell).offers("record --format ", &["csv", "json", "table"]);
    Terminal::open(shell).offers("record --remote=", &["address", "service", "socket"]);
    Terminal::open(shell).offers("record --user roo", &["--user root"]);
    Terminal::open(shell).offers("record -- printen", &["printenv"]);
    if let Some(cgroup) = a_cgroup() {
        let typed = format!("record -c {}", &cgroup[..cgroup.len() - 1]);
        Terminal::open(shell).offers(&typed, &[&format!("-c {cgroup}")]);
    }
    Terminal::open(shell).offers("record --uid roo", &["--uid root"]);
    if let Some(unit) = UnitDirectory::make() {
        let typed = format!("record --unit {}", &unit.name[..unit.name.len() - 3]);
        Terminal::open(shell).offers(&typed, &[&format!("--unit {}", unit.name)]);
    }
    let offered = Offered::start();
    let typed = format!("record --pid {}", offered.begun());
    Terminal::open(shell).offers(&typed, &[&offered.pid()]);
}

#[test]
fn bash_offers_subcommands_options_and_values() {
    offers("bash");
}

#[test]
fn zsh_offers_subcommands_options_and_values() {
    offers("zsh");
}

#[test]
fn fish_offers_subcommands_options_and_values() {
    offers("fish");
}

#[test]
fn an_unknown_shell_is_answered_with_the_known_ones() {
    assert_refused(&netatop(&["completions", "tcsh"]), 1, "fish");
}
