//! A private PostgreSQL server on a Unix socket, which ends with the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A running server. Dropping it stops the server.
pub struct Server {
    dir: TempDir,
    bin: PathBuf,
}

impl Server {
    /// `None` if PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        let bin = newest()?;
        let dir = tempfile::tempdir().expect("tempdir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        if nix::unistd::geteuid().is_root() {
            // The server refuses to run as root.
            let user = nix::unistd::User::from_name("postgres").expect("users");
            let user = user.expect("the user postgres");
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("chown");
        }
        let server = Self { dir, bin };
        let data = server.socket().join("data");
        server.run(
            "initdb",
            &["-U", "tester", "-A", "trust", "-E", "UTF8", "-N"],
            &data,
        );
        let log = server.socket().join("log");
        let options = format!("-c listen_addresses='' -k {}", server.socket().display());
        let log = log.to_str().expect("utf-8");
        server.run(
            "pg_ctl",
            &["-w", "-s", "-l", log, "-o", &options, "start"],
            &data,
        );
        Some(server)
    }

    /// The directory of the socket, as PGHOST wants it.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    fn command(&self, program: &str, args: &[&str], data: &Path) -> Command {
        let program = self.bin.join(program);
        let mut command = if nix::unistd::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .arg("-D")
            .arg(data)
            .args(args)
            .current_dir(self.dir.path());
        command
    }

    fn run(&self, program: &str, args: &[&str], data: &Path) {
        // Not output(): the server would keep the pipe open.
        let log = fs::File::create(self.dir.path().join("messages")).expect("file");
        let again = log.try_clone().expect("file");
        let mut command = self.command(program, args, data);
        let status = command.stdout(log).stderr(again).status().expect(program);
        let said = fs::read_to_string(self.dir.path().join("messages")).unwrap_or_default();
        assert!(status.success(), "{program}: {said}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.socket().join("data");
        let _ = self
            .command("pg_ctl", &["-w", "-s", "-m", "immediate", "stop"], &data)
            .status();
    }
}

/// Debian keeps each version in a directory of its own, and `initdb` out of PATH.
fn newest() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let bins = versions.flatten().map(|entry| entry.path().join("bin"));
    let debian = bins.filter(|bin| bin.join("initdb").exists()).max();
    debian.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|bin| bin.join("initdb").exists())
    })
}
