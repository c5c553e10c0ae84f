//! The server as its users start it, and what it holds meanwhile.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::client::Client;
use super::harness::{NETATOP, wait_for};

/// A running server. It is ended when dropped, if it was not before.
pub struct Server {
    pub socket: PathBuf,
    child: Child,
    messages: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    _dir: Option<tempfile::TempDir>,
}

/// A directory that every user may look into.
pub fn public_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    dir
}

impl Server {
    /// One with a socket of its own that takes connections.
    pub fn start(args: &[&str]) -> Self {
        let dir = public_dir();
        let mut server = Self::at(&dir.path().join("socket"), args);
        server._dir = Some(dir);
        server
    }

    /// One with its socket at this path.
    pub fn at(socket: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(NETATOP);
        command.arg("serve").arg("--socket").arg(socket).args(args);
        Self::of(command, socket)
    }

    /// One that this command becomes.
    pub fn of(mut command: Command, socket: &Path) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the server");
        let server = Self::watch(child, socket);
        server.wait_for_message("listening on");
        server
    }

    /// Takes over what may become a server.
    pub fn watch(mut child: Child, socket: &Path) -> Self {
        let messages = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&messages);
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).expect("read") > 0 {
                kept.lock().expect("lock").push_str(&line);
                line.clear();
            }
        });
        Self {
            socket: socket.to_owned(),
            child,
            messages,
            reader: Some(reader),
            _dir: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client of this user, of whom it has taken notice.
    pub fn client(&self) -> Client {
        let mut client = Client::connect(&self.socket);
        client.ask();
        client
    }

    /// What it has said so far.
    pub fn messages(&self) -> String {
        self.messages.lock().expect("lock").clone()
    }

    /// Waits until it says this.
    pub fn wait_for_message(&self, text: &str) {
        wait_for(&format!("the message {text:?}"), || {
            let messages = self.messages();
            if self.reader.as_ref().is_some_and(JoinHandle::is_finished)
                && !self.messages().contains(text)
            {
                panic!("it has ended without saying {text:?}: {messages}");
            }
            messages.contains(text).then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.pid() as i32), signal).expect("kill");
    }

    /// Ends it in good order, and returns what it said.
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        let messages = self.messages();
        assert!(status.success(), "{status}: {messages}");
        messages
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("wait");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reader");
        }
        status
    }

    /// Fails if it has ended.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("wait");
        assert!(ended.is_none(), "{ended:?}: {}", self.messages());
    }

    /// A field of its `/proc/PID/status`, in KiB: VmRSS, VmHWM.
    pub fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|rest| rest.split_ascii_whitespace().next());
        number.expect("the field").parse().expect("a number")
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("fd")
            .count()
    }

    /// The programs and maps it holds in the kernel, by kind and number.
    pub fn held(&self) -> Vec<(&'static str, String)> {
        let mut held = Vec::new();
        let infos = fs::read_dir(format!("/proc/{}/fdinfo", self.pid())).expect("fdinfo");
        for info in infos.flatten() {
            let Ok(mut file) = fs::File::open(info.path()) else {
                continue;
            };
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            // A link names its program, too.
            let is_link = text.contains("link_id:");
            for line in text.lines() {
                for (key, kind) in [("prog_id:", "prog"), ("map_id:", "map")] {
                    if let Some(id) = line.strip_prefix(key)
                        && !is_link
                    {
                        held.push((kind, id.trim().to_owned()));
                    }
                }
            }
        }
        held
    }

    /// How many of this kind it holds.
    pub fn holds(&self, kind: &str) -> usize {
        self.held().iter().filter(|(held, _)| *held == kind).count()
    }
}

/// Whether the kernel still has it, whoever holds it.
pub fn exists((kind, id): &(&'static str, String)) -> bool {
    let show = Command::new("bpftool")
        .args([kind, "show", "id", id])
        .output();
    show.expect("bpftool").status.success()
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // In good order, so that its socket goes; by force, if it does not take that.
            let pid = Pid::from_raw(self.pid() as i32);
            let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::yield_now();
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // What a failed test leaves is told with it.
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.messages());
        }
    }
}
