# shellcheck shell=bash
# Downloads packages of another Debian release without installing them. The packages come from the
# archive of the running release, and apt verifies them. Sourced after common.sh.

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Succeeds if there is an apt with the keys of the Debian archive.
can_fetch() {
	have apt-get && [[ -r /etc/debian_version && -r $keyring ]]
}

# Prints the archive of the running release. Works with both formats of apt's sources.
own_archive() {
	local uri codename component
	# shellcheck disable=SC2016 # variables of apt, not of the shell
	while read -r uri codename component; do
		if [[ $codename == "$VERSION_CODENAME" && $component == main ]]; then
			printf '%s\n' "$uri"
			return
		fi
	done < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages')
	return 1
}

# open_suite NAME DIR: downloads the package lists of the release NAME to DIR. After that, suite_apt
# and suite_cache run apt-get and apt-cache with these lists, and with this system's keys and archive.
open_suite() {
	local suite=$1 dir=$2 archive
	# shellcheck source=/dev/null
	source /etc/os-release
	archive=$(own_archive) || die "apt has no source for ${VERSION_CODENAME:-this release} of Debian"
	mkdir -p -- "$dir/lists/partial" "$dir/cache/archives/partial"
	printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$archive" "$suite" >"$dir/sources.list"
	suite_options=(-q=2 -o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=-
		-o "Dir::State::lists=$dir/lists" -o Dir::State::status=/dev/null -o "Dir::Cache=$dir/cache"
		-o APT::Sandbox::User=)
	suite_apt update || die "apt-get update failed for Debian $suite"
}

suite_apt() {
	apt-get "${suite_options[@]}" "$@" </dev/null >&2
}

suite_cache() {
	apt-cache "${suite_options[@]}" "$@" </dev/null
}

# suite_download DIR PACKAGE...: downloads packages to DIR.
suite_download() {
	local dir=$1
	shift
	(cd -- "$dir" && suite_apt download "$@") || die 'apt-get download failed'
}
