#!/bin/sh
# Puts gobgpd, new enough for native BFD, at build/gobgp/usr/bin/gobgpd. Run from the repository root.
# Must never change the system: apt runs with a state, sources and cache of its own under build/apt.
set -eu

major=4
minor_min=6
wanted="gobgpd $major.$minor_min or newer, of major version $major"
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

# Another major version is another API.
will_do() {
  version=$(version_of "$1") || return 1
  rest=${version#*.}
  [ "${version%%.*}" -eq "$major" ] && [ "${rest%%.*}" -ge "$minor_min" ]
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
  # apt's own user may have no way into this directory, so there is no sandbox user.
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
APT::Update::Error-Mode "any";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
}

# apt names the cause first and the consequences after it.
first_error() {
  echo "$(grep -m 1 -A 1 -E '^(Err|E:|W:)' "$1" | tr -s '\n ' ' ')(see $1)"
}

fetch() {
  for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || fail "no $tool here: put $wanted, at $daemon"
  done
  [ -r "$keyring" ] || fail "$keyring is missing: install debian-archive-keyring"
  mirror=$(debian_mirror)
  [ -n "$mirror" ] ||
    fail "apt knows no Debian mirror: run apt-get update, or put $wanted, at $daemon"

  write_apt_state "$mirror"
  log=$PWD/$apt/apt.log
  apt-get -c "$apt/apt.conf" -q update >"$log" 2>&1 ||
    fail "cannot read Debian testing's package list: $(first_error "$log")"
  rm -f "$apt"/gobgpd_*.deb
  (cd "$apt" && apt-get -c apt.conf -q download gobgpd) >>"$log" 2>&1 ||
    fail "cannot download gobgpd: $(first_error "$log")"

  # Unpacked beside the target and moved, so that an interrupted run leaves nothing half done.
  rm -rf "$target.new" "$target"
  dpkg-deb -x "$apt"/gobgpd_*.deb "$target.new"
  mv "$target.new" "$target"
}

will_do "$daemon" && exit 0
fetch
version=$(version_of "$daemon") || fail "$daemon does not run on this machine"
will_do "$daemon" || fail "Debian testing has gobgpd $version, but this needs $wanted"
