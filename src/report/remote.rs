//! The remote ends of traffic, as recordings name them.

use std::fmt::Write;
use std::rc::Rc;

use clap::ValueEnum;

use super::texts::Texts;
use crate::recording::{Field, Row, Schema};

/// How rows of a report are split by remote end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Split {
    /// As the recording is split
    #[default]
    Recorded,
    /// Protocol, role, remote address and service port
    Service,
    /// Protocol and remote address
    Address,
}

/// The fields that identify a remote end.
pub(super) const FIELDS: [Field; 8] = [
    Field::Protocol,
    Field::Role,
    Field::LocalAddr,
    Field::LocalPort,
    Field::RemoteAddr,
    Field::RemotePort,
    Field::Netns,
    Field::RemoteName,
];

/// A remote end, as far as rows are split by it. Absent values are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Remote {
    pub(super) protocol: Option<Rc<str>>,
    pub(super) role: Option<Rc<str>>,
    pub(super) local_addr: Option<Rc<str>>,
    pub(super) local_port: Option<u64>,
    pub(super) remote_addr: Option<Box<str>>,
    pub(super) remote_port: Option<u64>,
    pub(super) netns: Option<u64>,
}

impl Remote {
    /// The remote end of a row. `None` if it is not known.
    pub(super) fn of(
        row: &Row<'_>,
        split: Split,
        texts: &mut Texts,
    ) -> Result<Option<Self>, String> {
        let mut text = |field| Ok::<_, String>(row.text(field)?.map(|text| texts.get(text)));
        let mut remote = Self {
            protocol: text(Field::Protocol)?,
            role: text(Field::Role)?,
            local_addr: text(Field::LocalAddr)?,
            local_port: row.number(Field::LocalPort)?,
            remote_addr: row.text(Field::RemoteAddr)?.map(Into::into),
            remote_port: row.number(Field::RemotePort)?,
            netns: row.number(Field::Netns)?,
        };
        if remote.remote_addr.is_none() {
            return Ok(None);
        }
        match split {
            Split::Recorded => {}
            Split::Service => {
                remote.local_addr = None;
                match remote.role.as_deref() {
                    Some("client") => remote.local_port = None,
                    Some("server") => remote.remote_port = None,
                    _ => return Err("-r=service: the recording was made with -r=address".into()),
                }
            }
            Split::Address => {
                remote = Self {
                    protocol: remote.protocol,
                    remote_addr: remote.remote_addr,
                    netns: remote.netns,
                    ..Self::default()
                };
            }
        }
        Ok(Some(remote))
    }

    /// The remote end for people: the address, and the port after a colon.
    pub(super) fn end(&self) -> String {
        with_port(
            self.remote_addr.as_deref().unwrap_or_default(),
            self.remote_port,
        )
    }

    /// What the process is to the remote end, for people: `TCP client`, `UDP server :53`.
    pub(super) fn part(&self) -> String {
        let mut text = self.protocol.as_deref().unwrap_or_default().to_uppercase();
        if let Some(role) = &self.role {
            // Writing to memory cannot fail.
            let _ = write!(text, " {role}");
        }
        match (&self.local_addr, self.local_port) {
            (Some(address), port) => {
                let _ = write!(text, " {}", with_port(address, port));
            }
            (None, Some(port)) => {
                let _ = write!(text, " :{port}");
            }
            (None, None) => {}
        }
        text
    }
}

/// Whether rows of `schema` have remote ends.
pub(super) fn has_remote(schema: &Schema) -> bool {
    schema.has(Field::RemoteAddr)
}

/// Brackets tell the colons of an IPv6 address from the one before the port.
fn with_port(address: &str, port: Option<u64>) -> String {
    match port {
        None => address.to_owned(),
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
    }
}
