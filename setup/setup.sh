#!/bin/sh
# Makes a Debian machine ready for Skein: packages, Node modules, gobgpd, BPF objects. Run it any
# number of times, at any moment: it does what is missing and is silent when nothing is.
# Must never start a system service, ask a question, or change packages that it did not need.
set -eu

kernel_minimum=6.1
node_minimum=20       # to run npm; Skein itself runs on the Node that npm installs
node_wanted=24
lock=/run/skein-setup.lock # one for the machine: packages and policy-rc.d are the machine's
lock_timeout_s=1800
apt_lock_timeout_s=300
log=build/setup.log
policy=/usr/sbin/policy-rc.d
policy_mark='# Written by the setup of Skein; safe to delete.'

cd "$(dirname "$0")/.."
# npm is run by the machine's own Node, never by the one in node_modules, which `npm ci` replaces.
PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v '/node_modules/\.bin$' | paste -sd: -)
export PATH

say() {
  echo "setup: $1"
}

fail() {
  echo "setup: $1" >&2
  exit 1
}

# The end of the log is nearly always the reason; the whole of it stays in the file.
fail_with_log() {
  tail -n 15 "$log" >&2
  fail "$1 (all of it: $log)"
}

# at_least 6.18.2-x 6.1: compares major and minor.
at_least() {
  have_major=${1%%.*}
  have_minor=$(printf '%s' "$1.0" | cut -d. -f2 | sed 's/[^0-9].*//')
  want_minor=$(printf '%s' "$2.0" | cut -d. -f2)
  [ "$have_major" -gt "${2%%.*}" ] ||
    { [ "$have_major" -eq "${2%%.*}" ] && [ "${have_minor:-0}" -ge "$want_minor" ]; }
}

# Root in a container often lacks them: CAP_NET_ADMIN is 12, CAP_SYS_ADMIN is 21.
has_capabilities() {
  capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
  [ $((0x$capabilities >> 12 & 0x$capabilities >> 21 & 1)) -eq 1 ]
}

check_machine() {
  [ "$(uname -s)" = Linux ] || fail "this is $(uname -s): run Skein on Linux (Debian 12 or newer)"
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "the processor is $(uname -m): use an x86_64 or arm64 machine" ;;
  esac
  [ "$(id -u)" -eq 0 ] || fail "needs root for XDP and packages: run it again as root, or with sudo"
  at_least "$(uname -r)" "$kernel_minimum" ||
    fail "kernel $(uname -r) is too old: boot Linux $kernel_minimum or newer (Debian 12 has it)"
  [ -r /sys/kernel/btf/vmlinux ] ||
    fail "no /sys/kernel/btf/vmlinux: boot a kernel with CONFIG_DEBUG_INFO_BTF=y (Debian's has it)"
  has_capabilities ||
    fail "root lacks CAP_NET_ADMIN or CAP_SYS_ADMIN: use a machine or a privileged container"
  case ":$PATH:" in
    *:/usr/sbin:* | *:/sbin:*) ;;
    *) fail "the PATH lacks /usr/sbin, as after a plain su: become root with 'su -' or sudo" ;;
  esac
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
    fail "no apt-get: use Debian 12 or newer (setup/packages.txt lists what would be installed)"
  command -v node >/dev/null && at_least "$(node -p process.versions.node)" "$node_minimum" ||
    fail "no Node $node_minimum or newer on the PATH: install it first (https://nodejs.org; Debian 12's is 18)"
  command -v npm >/dev/null ||
    fail "no npm on the PATH: install Node with npm (https://nodejs.org; Debian 12's npm is for Node 18)"
}

# Held until this script and whatever it started have ended.
take_lock() {
  exec 9>"$lock"
  flock -n 9 && return
  say 'waiting for another setup on this machine'
  flock -w "$lock_timeout_s" 9 ||
    fail "another setup has held $lock for ${lock_timeout_s} s: end it first"
}

missing_packages() {
  wanted=$(sed 's/#.*//' setup/packages.txt)
  # shellcheck disable=SC2086 # a list of words
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
    sed -n 's/^installed //p')
  for package in $wanted; do
    printf '%s\n' "$installed" | grep -qx "$package" || printf '%s ' "$package"
  done
}

apt() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y \
    -o "DPkg::Lock::Timeout=$apt_lock_timeout_s" -o DPkg::Options::=--force-confold \
    -o Acquire::Retries=3 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60 \
    "$@" >>"$log" 2>&1 </dev/null
}

# invoke-rc.d and deb-systemd-invoke ask this file. A policy of the machine's own stays in force.
forbid_services() {
  [ ! -e "$policy" ] || return 0
  printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
  chmod 755 "$policy"
}

# Also finds what a killed run left behind.
allow_services() {
  if grep -qsF "$policy_mark" "$policy"; then rm -f "$policy"; fi
}

# Debian enables a service with its package; the testbed starts its own BIRDs, in namespaces.
keep_bird_off() {
  update-rc.d bird disable >>"$log" 2>&1 || true
  if [ -d /run/systemd/system ]; then systemctl disable --now bird >>"$log" 2>&1 || true; fi
  say 'the service bird stays off: the testbed starts routers of its own'
}

install_packages() {
  packages=$1
  # shellcheck disable=SC2086 # a list of words
  set -- $packages
  say "installing Debian packages: $*"
  forbid_services
  # The first try fails where package lists are absent or old, or dpkg was once interrupted.
  if ! apt install --no-install-recommends "$@"; then
    dpkg --configure -a >>"$log" 2>&1 </dev/null || true
    apt update || true
    apt install --no-install-recommends "$@" || fail_with_log 'cannot install Debian packages'
  fi
  allow_services
  case " $packages " in *' bird2 '*) keep_bird_off ;; esac
}

wanted_node_runs() {
  version=$(node_modules/.bin/node --version 2>/dev/null) && at_least "${version#v}" "$node_wanted"
}

install_node_modules() {
  say 'installing Node modules'
  npm ci --include=dev --no-progress >>"$log" 2>&1 </dev/null || fail_with_log 'npm ci failed'
  wanted_node_runs && return
  # npm may be set not to run install scripts, and the one of `node` fetches the binary.
  (cd node_modules/node && node installArchSpecificPackage.js) >>"$log" 2>&1 </dev/null || true
  ln -sf ../node/bin/node node_modules/.bin/node
  wanted_node_runs || fail_with_log "npm did not install Node $node_wanted for this machine"
}

install_gobgpd() {
  if [ ! -x build/gobgp/usr/bin/gobgpd ]; then
    say 'fetching gobgpd'
    # gobgpd.sh asks apt for its mirror, and apt knows none before its first update.
    [ -n "$(apt-get indextargets 'Created-By: Packages' 2>/dev/null)" ] || apt update || true
  fi
  sh setup/gobgpd.sh || fail 'cannot fetch gobgpd: see the line above'
}

check_machine
take_lock
trap allow_services EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p build
: >"$log"

missing=$(missing_packages)
[ -z "$missing" ] || install_packages "$missing"
node setup/modules-match.js && wanted_node_runs || install_node_modules
install_gobgpd
node_modules/.bin/node src/bpf/build.ts || fail 'cannot build the BPF programs: see the lines above'
