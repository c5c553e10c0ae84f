//! Runs the server as users start it, and reads its resources.

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

/// A running server. Dropping it stops the server.
pub struct Server {
    pub socket: PathBuf,
    child: Child,
    messages: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    _dir: Option<tempfile::TempDir>,
}

/// A directory that every user may access.
pub fn public_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    dir
}

impl Server {
    /// Starts a server with its own socket, and waits until it accepts connections.
    pub fn start(args: &[&str]) -> Self {
        let dir = public_dir();
        let mut server = Self::at(&dir.path().join("socket"), args);
        server._dir = Some(dir);
        server
    }

    /// Starts a server with its socket at this path.
    pub fn at(socket: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(NETATOP);
        command.arg("serve").arg("--socket").arg(socket).args(args);
        Self::of(command, socket)
    }

    /// Starts this command as the server.
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

    /// Watches a child that may become a server.
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

    /// Connects a client of this user, and waits until it is admitted.
    pub fn client(&self) -> Client {
        let mut client = Client::connect(&self.socket);
        client.ask();
        client
    }

    /// The server's messages so far.
    pub fn messages(&self) -> String {
        self.messages.lock().expect("lock").clone()
    }

    /// Waits for a message with this text.
    pub fn wait_for_message(&self, text: &str) {
        wait_for(&format!("the message {text:?}"), || {
            let messages = self.messages();
            if self.reader.as_ref().is_some_and(JoinHandle::is_finished)
                && !self.messages().contains(text)
            {
                panic!("the server ended without the message {text:?}: {messages}");
            }
            messages.contains(text).then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.pid() as i32), signal).expect("kill");
    }

    /// Stops the server with a signal, and returns its messages.
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        let messages = self.messages();
        assert!(status.success(), "{status}: {messages}");
        messages
    }

    /// Waits until the server has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("wait");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reader");
        }
        status
    }

    /// Fails if the server has ended.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("wait");
        assert!(ended.is_none(), "{ended:?}: {}", self.messages());
    }

    /// A field of `/proc/PID/status` in KiB, such as VmRSS or VmHWM.
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

    /// The BPF programs, maps and links of the server, by kind and id.
    pub fn held(&self) -> Vec<(&'static str, String)> {
        let mut held = Vec::new();
        let infos = fs::read_dir(format!("/proc/{}/fdinfo", self.pid())).expect("fdinfo");
        for info in infos.flatten() {
            let Ok(mut file) = fs::File::open(info.path()) else {
                continue;
            };
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            // The fdinfo of a link also contains the id of its program.
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

    /// Number of its BPF objects of this kind.
    pub fn holds(&self, kind: &str) -> usize {
        self.held().iter().filter(|(held, _)| *held == kind).count()
    }
}

/// Whether the BPF object still exists in the kernel.
pub fn exists((kind, id): &(&'static str, String)) -> bool {
    let show = Command::new("bpftool")
        .args([kind, "show", "id", id])
        .output();
    show.expect("bpftool").status.success()
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A signal first, so that the server removes its socket. SIGKILL if it does not end.
            let pid = Pid::from_raw(self.pid() as i32);
            let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::yield_now();
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Print the server's messages if the test failed.
        if std::thread::panicking() {
            eprintln!("the server's messages:\n{}", self.messages());
        }
    }
}
