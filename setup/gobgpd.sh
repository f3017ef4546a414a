#!/bin/sh
# Puts gobgpd, new enough for native BFD, at build/gobgp/usr/bin/gobgpd. Run from the repository root.
# Must never change the system: apt runs with a state, sources and cache of its own under build/apt.
set -eu

minimum=4.6
target=build/gobgp
daemon=$target/usr/bin/gobgpd
apt=build/apt
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
  echo "gobgpd: $1" >&2
  exit 1
}

# Prints `4.8.0`, or fails when the file is missing or does not run here.
version_of() {
  "$1" --version 2>/dev/null | sed -n 's/^gobgpd version \([0-9][0-9.]*\).*/\1/p' | grep .
}

new_enough() {
  version=$(version_of "$1") || return 1
  major=${version%%.*}
  rest=${version#*.}
  minor=${rest%%.*}
  [ "$major" -gt "${minimum%.*}" ] ||
    { [ "$major" -eq "${minimum%.*}" ] && [ "$minor" -ge "${minimum#*.}" ]; }
}

# The mirror that this machine already uses for Debian itself, from its own apt configuration.
debian_mirror() {
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n 's/^Debian|Debian|//p' | head -n 1
}

write_apt_state() {
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/empty"
  cat >"$apt/debian.sources" <<SOURCES
Types: deb
URIs: $1
Suites: testing
Components: main
Targets: Packages
Signed-By: $keyring
SOURCES
  cat >"$apt/preferences" <<'PINS'
Package: *
Pin: release *
Pin-Priority: -1

Package: gobgpd
Pin: release a=testing
Pin-Priority: 500
PINS
  : >"$apt/status"
  # The machine's proxy and credentials stay in force; hooks that would tidy its own cache do not.
  cat >"$apt/apt.conf" <<CONF
Dir::Etc::SourceList "$PWD/$apt/debian.sources";
Dir::Etc::SourceParts "$PWD/$apt/empty";
Dir::Etc::Preferences "$PWD/$apt/preferences";
Dir::Etc::PreferencesParts "$PWD/$apt/empty";
Dir::State "$PWD/$apt";
Dir::State::Lists "$PWD/$apt/lists";
Dir::State::Status "$PWD/$apt/status";
Dir::Cache "$PWD/$apt/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
}

fetch() {
  for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null ||
      fail "no $tool here: put a gobgpd $minimum or newer at $daemon"
  done
  [ -r "$keyring" ] || fail "$keyring is missing: install debian-archive-keyring"
  mirror=$(debian_mirror)
  [ -n "$mirror" ] ||
    fail "apt knows no Debian mirror: run apt-get update, or put a gobgpd $minimum or newer at $daemon"

  write_apt_state "$mirror"
  log=$PWD/$apt/apt.log
  apt-get -c "$apt/apt.conf" -q update >"$log" 2>&1 ||
    fail "cannot read Debian testing's package list: $(tail -n 1 "$log") (see $log)"
  rm -f "$apt"/gobgpd_*.deb
  (cd "$apt" && apt-get -c apt.conf -q download gobgpd) >>"$log" 2>&1 ||
    fail "cannot download gobgpd: $(tail -n 1 "$log") (see $log)"

  # Unpacked beside the target and moved, so that an interrupted run leaves nothing half done.
  rm -rf "$target.new" "$target"
  dpkg-deb -x "$apt"/gobgpd_*.deb "$target.new"
  mv "$target.new" "$target"
}

new_enough "$daemon" && exit 0
fetch
version=$(version_of "$daemon") || fail "$daemon does not run on this machine"
new_enough "$daemon" || fail "Debian testing has gobgpd $version, which is older than $minimum"
