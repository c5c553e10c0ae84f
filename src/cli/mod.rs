//! The command line: one definition for the parser, the help, and the man pages.

mod advice;
mod record;
mod report;
mod serve;
mod values;

use clap::{Args, Parser, Subcommand};

pub use advice::advice;
pub use record::Record;
pub use report::Report;
pub use serve::Serve;

use crate::check::CheckFormat;
use crate::completions::Shell;

/// Each line has a command and its effect, separated by two blanks or more, in at most 80 columns.
const EXAMPLES: &str = "Examples, with sudo or as root:
  netatop check               check whether netatop can record on this host
  netatop record -d 30s       measure all processes for 30 seconds
  netatop record -i 1s -n 10  show the ten busiest processes every second
  netatop record -- curl -sS https://example.org
                              measure one command and all that it starts";

/// Show which process sent and received how much over TCP and UDP
#[derive(Debug, Parser)]
#[command(name = "netatop", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// The subcommand
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure the traffic of each process and report it
    ///
    /// The report is a table for people, or CSV or JSON Lines for programs. A message is a socket
    /// call, not a packet. Bytes are those that socket calls transferred.
    Record(Box<Record>),
    /// Show what recordings say
    ///
    /// Reads what netatop record has written, and shows what was recorded, a timeline, the rows with
    /// the most traffic, and what changed at the busiest time. It also writes the sums as rows, or a
    /// page for a browser. It needs neither root nor a special kernel.
    Report(Report),
    /// Provide network counters to atop
    ///
    /// Replaces netatop-bpf, and listens on the same socket. atop must be 2.10 or later, and started
    /// with -K. The server counts while clients are connected. Root and the user of the server see
    /// all processes. Other users see their own.
    Serve(Serve),
    /// Check whether netatop can record on this host
    ///
    /// Shows each requirement, whether this host meets it, and the remedy if it does not. The exit
    /// status is 0 if netatop can record on this host as this user.
    Check(Check),
    /// Write completions for a shell
    ///
    /// Writes a script to standard output. With it, the shell completes subcommands, options and
    /// values.
    Completions(Completions),
}

/// The options of `netatop check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Format of the output
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: CheckFormat,
}

/// The options of `netatop completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::values::{clients, duration, interval, mode, network, pids, ports, top};
    use super::*;
    use crate::completions::completions;
    use clap::CommandFactory;
    use proptest::prelude::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units_or_are_seconds() {
        let of = |text| duration(text).map(|d| d.as_millis());
        assert_eq!(of("30s"), Ok(30_000));
        assert_eq!(of("500ms"), Ok(500));
        assert_eq!(of("1h30m"), Ok(5_400_000));
        assert_eq!(of("5"), Ok(5_000));
        assert_eq!(of("0.5"), Ok(500));
        for bad in ["0", "0s", "-1", "5 parsecs", "", "inf", "NaN", "1e300"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(interval("1ms").is_err());
        assert!(interval("10ms").is_ok());
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("660"), Ok(0o660));
        assert_eq!(mode("0600"), Ok(0o600));
        for bad in ["", "8", "1777", "-1", "rw"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        assert_eq!(clients("1"), Ok(1));
        for bad in ["0", "-1", "10001", "x"] {
            assert!(clients(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_numbers_with_commas() {
        assert_eq!(ports("443").map(|ports| ports.0), Ok(vec![443]));
        assert_eq!(
            ports("1,53,65535").map(|ports| ports.0),
            Ok(vec![1, 53, 65535])
        );
        for bad in [
            "", ",", "80,", ",80", "0", "80,0", "65536", "-1", "+80", "80-90", "https", "8 0",
        ] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_have_no_bits_behind_the_prefix() {
        let of = |text| network(text).map(|network| network.to_string());
        for (text, known) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(of(text).as_deref(), Ok(known));
        }
        for bad in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/8/8",
            "fe80::%eth0/64",
            "localhost",
            "10.0.0.0/255.0.0.0",
        ] {
            assert!(network(bad).is_err(), "{bad}");
        }
        let meant = |text| network(text).expect_err("bits behind the prefix");
        assert!(meant("10.1.2.3/8").contains("10.0.0.0/8"));
        assert!(meant("2001:db8::1/32").contains("2001:db8::/32"));
    }

    #[test]
    fn process_ids_and_users_are_hinted_at() {
        for (shell, hints) in [
            (Shell::Bash, [("[0-9]*", 2), ("compgen -u", 2)]),
            (Shell::Zsh, [("echo <->", 2), (":_users", 2)]),
            (Shell::Fish, [("_complete_pids", 1), ("_complete_users", 2)]),
        ] {
            let text = completions(shell, &Cli::command());
            for (hint, times) in hints {
                assert_eq!(text.matches(hint).count(), times, "{shell:?}: {hint}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_list_of_ports_is_read_as_it_is(list in prop::collection::vec(1u16.., 1..9)) {
            let text: Vec<String> = list.iter().map(u16::to_string).collect();
            prop_assert_eq!(ports(&text.join(",")).map(|ports| ports.0), Ok(list));
        }

        /// The text of a network is that network; with any other address in it, it is refused, and
        /// the error names the network.
        #[test]
        fn every_network_is_read_as_it_is(address in any::<IpAddr>(), length in 0u8..=128) {
            let text = format!("{address}/{length}");
            let Ok(given) = ipnet::IpNet::new(address, length) else {
                prop_assert!(network(&text).is_err());
                return Ok(());
            };
            let trunc = given.trunc();
            match network(&text) {
                Ok(read) => {
                    prop_assert_eq!(given, trunc);
                    prop_assert_eq!(read.contains(&address.to_canonical()), true);
                    if trunc.addr() == trunc.addr().to_canonical() {
                        prop_assert_eq!(read, trunc);
                    }
                }
                Err(error) => {
                    prop_assert_ne!(given, trunc);
                    prop_assert!(error.contains(&trunc.to_string()), "{}", error);
                }
            }
            let read = network(&trunc.to_string());
            prop_assert!(read.is_ok(), "{:?}", read);
        }

        #[test]
        fn noise_is_refused_without_panic(text in ".*") {
            let _ = (duration(&text), interval(&text), top(&text), pids(&text));
            let _ = (mode(&text), clients(&text), ports(&text), network(&text));
            let _ = Cli::try_parse_from(["netatop", "record", "-d", &text, "-n", &text, "-p", &text]);
        }
    }
}
