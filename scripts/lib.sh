# Shared by the scripts of this folder.

say() { printf '%s\n' "$*"; }
warn() { printf 'ringcast: %s\n' "$*" >&2; }
die() { warn "$*"; exit 1; }

# The folder that cargo builds into.
target_dir() { cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'; }

# need PROGRAM PACKAGE…: installs Debian packages if the program is missing.
need() {
  local program=$1
  shift
  command -v "$program" >/dev/null && return
  install_packages "$@" || die "$program is missing and could not be installed; install it by hand: apt-get install $*"
}

# Tries to install Debian packages, as root or by sudo.
install_packages() {
  command -v apt-get >/dev/null || return 1
  local as_root=()
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
    as_root=(sudo)
  fi
  warn "installing $*"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1 && return
  "${as_root[@]}" apt-get update >/dev/null 2>&1
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null
}
