//! Fills the templates from the parser and the column definitions, as roff and as Markdown.

use std::error::Error;
use std::fmt::Write;

use clap::{CommandFactory, ValueEnum};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use netatop::cli::Cli;
use netatop::model::{GroupBy, Layout};
use netatop::output::{self, Column};

/// A page of the manual.
pub struct Page {
    /// The name of the page for `man`.
    pub name: &'static str,
    section: u8,
    /// The subcommand that the page describes.
    subcommand: Option<&'static str>,
    /// The template.
    pub template: &'static str,
}

pub const PAGES: [Page; 6] = [
    Page {
        name: "netatop",
        section: 1,
        subcommand: None,
        template: include_str!("netatop.1.in"),
    },
    Page {
        name: "netatop-record",
        section: 1,
        subcommand: Some("record"),
        template: include_str!("netatop-record.1.in"),
    },
    Page {
        name: "netatop-serve",
        section: 1,
        subcommand: Some("serve"),
        template: include_str!("netatop-serve.1.in"),
    },
    Page {
        name: "netatop-check",
        section: 1,
        subcommand: Some("check"),
        template: include_str!("netatop-check.1.in"),
    },
    Page {
        name: "netatop-completions",
        section: 1,
        subcommand: Some("completions"),
        template: include_str!("netatop-completions.1.in"),
    },
    Page {
        name: "netatop-recording",
        section: 5,
        subcommand: None,
        template: include_str!("netatop-recording.5.in"),
    },
];

impl Page {
    pub fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    pub fn render(&self) -> Result<String, Box<dyn Error>> {
        let mut text = String::from(
            ".\\\" Made by tests/man from its templates and the program itself. Edit those, and run\n\
             .\\\" UPDATE_MAN=1 cargo test --test man\n\
             .ie \\n(.g .ds Aq \\(aq\n\
             .el .ds Aq '\n",
        );
        for line in self.template.lines() {
            match line {
                "@NAME@" => text.push_str(&self.name_line()?),
                "@SYNOPSIS@" => text.push_str(&self.synopsis()?),
                "@SUBCOMMANDS@" => {
                    text.push_str(&section(|w| {
                        Man::new(self.command()?).render_subcommands_section(w)
                    })?);
                }
                "@OPTIONS@" => {
                    text.push_str(&section(|w| {
                        Man::new(self.command()?).render_options_section(w)
                    })?);
                }
                "@COLUMNS@" => text.push_str(&roff_columns(&columns())),
                "@REMOTE@" => text.push_str(&roff_columns(&output::REMOTE)),
                "@GROUPED@" => text.push_str(&roff_columns(&grouped_columns())),
                _ => {
                    text.push_str(&line.replace("@VERSION@", env!("CARGO_PKG_VERSION")));
                    text.push('\n');
                }
            }
        }
        Ok(text)
    }

    fn command(&self) -> std::io::Result<clap::Command> {
        let mut cli = Cli::command().disable_help_subcommand(true);
        cli.build();
        match self.subcommand {
            None => Ok(cli),
            Some(name) => cli
                .find_subcommand(name)
                .cloned()
                .ok_or_else(|| std::io::Error::other(format!("no subcommand {name}"))),
        }
    }

    fn name_line(&self) -> std::io::Result<String> {
        let about = self.command()?.get_about().map(ToString::to_string);
        // Manuals use lower case after the dash.
        let about = about.unwrap_or_default();
        let mut letters = about.chars();
        let first = letters.next().map(|c| c.to_ascii_lowercase());
        let about: String = first.into_iter().chain(letters).collect();
        Ok(format!("{} \\- {about}\n", self.name.replace('-', "\\-")))
    }

    fn synopsis(&self) -> std::io::Result<String> {
        let usage = self.command()?.render_usage().to_string();
        let mut text = String::new();
        for (index, line) in usage.lines().enumerate() {
            let line = line.trim_start_matches("Usage:").trim();
            let command = match self.subcommand {
                None => "netatop".to_owned(),
                Some(name) => format!("netatop {name}"),
            };
            let rest = line.strip_prefix(&command).unwrap_or(line).to_owned();
            let mut roff = Roff::new();
            if index > 0 {
                roff.control("br", []);
            }
            roff.text([bold(command), roman(rest)]);
            text.push_str(&roff.to_roff());
        }
        Ok(text)
    }
}

/// A section from clap_mangen, without its leading definitions, and with less space around possible
/// values.
fn section(
    render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> Result<String, Box<dyn Error>> {
    let mut bytes = Vec::new();
    render(&mut bytes)?;
    let mut text = String::new();
    for line in String::from_utf8(bytes)?.lines() {
        if !line.starts_with(".ie \\n(.g .ds Aq") && !line.starts_with(".el .ds Aq") {
            writeln!(text, "{line}")?;
        }
    }
    Ok(text
        .replace("\n.br\n\n.br\n", "\n.sp\n")
        .replace("\n.RS 14\n", "\n.PD 0\n.RS 9\n")
        .replace("\n.RE\n", "\n.RE\n.PD\n"))
}

/// The columns of processes and threads.
fn columns() -> Vec<Column> {
    let layout = Layout {
        group_by: GroupBy::Process,
        threads: true,
        remote: None,
    };
    output::columns(layout)
}

/// The columns that only grouped rows have.
fn grouped_columns() -> Vec<Column> {
    let same = |a: &Column, b: &Column| (a.id, a.doc) == (b.id, b.doc);
    let known = columns();
    let mut grouped: Vec<Column> = Vec::new();
    for &group_by in GroupBy::value_variants() {
        let layout = Layout {
            group_by,
            threads: false,
            remote: None,
        };
        for column in output::columns(layout) {
            let mut there = known.iter().chain(&grouped);
            if !there.any(|other| same(other, &column)) {
                grouped.push(column);
            }
        }
    }
    // First the keys, and then the columns that all groupings share.
    grouped.sort_by_key(|column| column.id == "processes");
    grouped
}

fn roff_columns(columns: &[Column]) -> String {
    let mut roff = Roff::new();
    for column in columns {
        let mut title = vec![bold(column.id)];
        if !column.unit.is_empty() {
            title.extend([roman(" ("), italic(column.unit), roman(")")]);
        }
        roff.control("TP", []);
        roff.text(title);
        roff.text([roman(column.doc)]);
    }
    roff.to_roff()
}

/// The columns as Markdown, for the README.
pub fn markdown_columns() -> String {
    let mut text = markdown_table(&columns());
    text.push_str(
        "\nGrouped rows (`--group-by`) have, instead of `pid` to `state`, the key and a count:\n\n",
    );
    text.push_str(&markdown_table(&grouped_columns()));
    text.push_str("\nWith `--remote`, all rows have in addition:\n\n");
    text.push_str(&markdown_table(&output::REMOTE));
    text
}

fn markdown_table(columns: &[Column]) -> String {
    let mut text = String::from("| column | unit | what it says |\n|---|---|---|\n");
    for column in columns {
        // Writing to memory cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            column.id,
            column.unit,
            column.doc.replace('|', "\\|")
        );
    }
    text
}
