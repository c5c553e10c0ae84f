# shellcheck shell=bash
# Collects the contents of the archive of scripts/release. Sourced after common.sh.

# stage_archive PROGRAM DIR: copies the program, its manual, completions and units, the
# documentation and the installation notes to DIR. The units and the notes have the same prefix.
stage_archive() {
	local program=$1 dir=$2 prefix=/usr/local stage
	stage=$(mktemp -d)
	# shellcheck disable=SC2154 # common.sh sets it
	"$root/scripts/install" --prefix "$prefix" --destdir "$stage" --binary "$program"
	rm -r -- "$stage$prefix/share/netatop" # the list of scripts/install
	mkdir -p -- "$dir"
	cp -R -- "$stage$prefix"/. "$dir"
	rm -r -- "$stage"
	(cd "$root" && cp -R -- README.md CHANGELOG.md LICENSE* docs "$dir")
	sed "s|@PREFIX@|$prefix|g" "$root/scripts/lib/INSTALL.in" >"$dir/INSTALL"
}
