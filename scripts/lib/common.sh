# shellcheck shell=bash
# Shared functions of the scripts: the path of the repository, messages, and running as root.
# Sourced by scripts that have set -euo pipefail.

# shellcheck disable=SC2034 # read by the scripts that source this file
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." >/dev/null && pwd)
me=${0##*/}

# rustup adds cargo only to the PATH of login shells. cron, CI and `sudo -s` start no login shell.
cargo_bin=${CARGO_HOME:-~/.cargo}/bin
if ! command -v cargo >/dev/null && [[ -x $cargo_bin/cargo ]]; then
	export PATH=$cargo_bin:$PATH
fi

# Messages go to standard error: standard output belongs to netatop or to the tests.
say() {
	printf '%s: %s\n' "$me" "$*" >&2
}

die() {
	say "$@"
	exit 1
}

have() {
	command -v "$1" >/dev/null
}

is_root() {
	[[ $(id -u) == 0 ]]
}

# Runs a command as root. The caller must first check that this is possible.
as_root() {
	if is_root; then
		"$@"
	else
		sudo -- "$@"
	fi
}

# Succeeds if as_root works. Asks for the password once, if there is a terminal.
can_be_root() {
	is_root && return
	have sudo || return
	sudo -n true 2>/dev/null && return
	{ : </dev/tty; } 2>/dev/null && sudo true
}

# version_at_least HAVE WANT: compares major.minor as numbers ("1.100" is newer than "1.88").
version_at_least() {
	local have_major have_minor want_major want_minor
	[[ $1 =~ ^([0-9]+)(\.([0-9]+))? ]] || return
	have_major=${BASH_REMATCH[1]} have_minor=${BASH_REMATCH[3]:-0}
	[[ $2 =~ ^([0-9]+)(\.([0-9]+))? ]] || return
	want_major=${BASH_REMATCH[1]} want_minor=${BASH_REMATCH[3]:-0}
	((have_major > want_major || (have_major == want_major && have_minor >= want_minor)))
}

# Prints the help, which is the comment at the beginning of the running script.
show_help() {
	sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
}

# count_tests FILE: adds up the `test result:` lines of a test output. Prints the numbers of passed,
# failed and ignored tests.
count_tests() {
	awk '{ gsub(/\033\[[0-9;]*m/, "") }
		match($0, /test result: (ok|FAILED)\. [0-9]+ passed; [0-9]+ failed; [0-9]+ ignored;/) {
			split(substr($0, RSTART, RLENGTH), word, /[ ;]+/)
			p += word[4]; f += word[6]; i += word[8]
		}
		END { print p + 0, f + 0, i + 0 }' "$1"
}

# Succeeds if this user has a cargo that runs. A rustup proxy without a toolchain does not run.
can_build() {
	have cargo && (cd "$root" && cargo --version) >/dev/null 2>&1
}

# Builds the release program and prints its path, which cargo reports for any target directory.
# Arguments are passed to cargo. The messages of cargo go to standard error.
build_program() (
	cd "$root" || return
	cargo build --release --locked --bin netatop --message-format=json-render-diagnostics "$@" \
		</dev/null | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
)
