# shellcheck shell=bash
# Trees for tests/package/run: systems of Debian in folders, as debootstrap makes
# them. Whatever is mounted for them is so in a mount namespace that ends with
# the command. To be sourced.

passed=0
failed=0

ok() { passed=$((passed + 1)); }
fail() { # SENTENCE [LOG]
  failed=$((failed + 1))
  echo "FAILED: $1"
  [ -z "${2-}" ] || tail -n 40 "$2" | sed 's/^/    /'
}

# SENTENCE COMMAND...: counts, and shows the end of the output if it fails
check() {
  local sentence=$1
  shift
  if "$@" >"$work/out" 2>&1 </dev/null; then ok; else fail "$sentence" "$work/out"; fi
}
# ... that it fails
check_not() {
  local sentence=$1
  shift
  if "$@" >"$work/out" 2>&1 </dev/null; then fail "$sentence" "$work/out"; else ok; fi
}

step() { printf '== %s (%d s)\n' "$1" "$SECONDS"; }

# LOG COMMAND...: what the rest builds upon
must() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 </dev/null && return 0
  tail -n 40 "$log"
  echo "package: $* failed; no use going on"
  exit 1
}

clean_environment=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
  LC_ALL=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive)

# [-n] TREE COMMAND...: runs it in the tree; -n: without a network but lo
in_tree() {
  local net=
  [ "$1" != -n ] || { net=--net && shift; }
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child=KILL $net sh -euc '
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    [ -z "$2" ] || ip link set lo up
    tree=$1
    shift 2
    exec chroot "$tree" "$@"' sh "$1" "$net" "${clean_environment[@]}" "${@:2}"
}

# Where this machine has its packages from.
tree_mirror() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(CODENAME) $(SITE)' 'Identifier: Packages' 'Component: main' |
    awk -v suite="$1" '$1 == suite { print $2; exit }'
}

# TREE SUITE: $BASE, or a least system, whose apt asks where this machine's does
tree_make() {
  local proxy=
  [ -z "${BASE-}" ] || { tree_copy "$BASE" "$1" && return; }
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  # shellcheck disable=SC2016
  unshare --mount --fork env ${proxy:+http_proxy="$proxy"} debootstrap --variant=minbase "$2" "$1" "$(tree_mirror "$2")" || return 1
  rm -rf "$1/etc/apt/sources.list" "$1/etc/apt/sources.list.d"
  cp -rL /etc/apt/sources.list.d "$1/etc/apt"
  [ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$1/etc/apt"
  cp -rL /etc/apt/keyrings /etc/apt/auth.conf.d "$1/etc/apt" 2>/dev/null
  { apt-config dump Acquire && echo 'Acquire::Retries "3"; APT::Install-Recommends "false"; APT::Keep-Downloaded-Packages "true";'; } >"$1/etc/apt/apt.conf.d/90test"
  printf 'path-exclude=/usr/share/locale/*\nforce-unsafe-io\n' >"$1/etc/dpkg/dpkg.cfg.d/test"
  cp -L /etc/resolv.conf /etc/hosts "$1/etc"
  in_tree "$1" apt-get -q update
}

tree_copy() { cp -a "$1" "$2"; }

# FILE LANGUAGE MARK: the block of that language behind the line that has the mark
block() {
  awk -v language="$2" -v mark="$3" '
    index($0, mark) { marked = 1 }
    inside && $0 == "```" { exit }
    inside
    marked && $0 == "```" language { inside = 1 }' "$1"
}
