# shellcheck shell=bash
# A real systemd for tests, in namespaces of its own, on a machine of whatever
# init. It needs root, and nothing else but systemd's programs. To be sourced.
#
# systemd_why_not             prints why it cannot be had here, if it cannot
# systemd_start FOLDER ROOT   boots one, waits until it is up; 1 with a reason on
#                             stderr. FOLDER is made, and holds all there is of it.
#                             ROOT /: the machine's own files, and only a handful of units;
#                             a tree (as debootstrap makes it): with its own units, to its default target.
#                             What is written goes to memory, and is gone at the end. Settings before:
#   SYSTEMD_NET=host          the machine's network, not one of its own with nothing but lo
#   SYSTEMD_IN_PLACE=yes      what is written stays in the tree
#   SYSTEMD_BINDS             files and folders of the machine's, one a line, that are to be seen in it,
#                             under the same path
# systemd_run COMMAND...      runs it in there, as root; stdin, stdout, environment and exit code are passed
# systemd_stop                ends all that runs in it, at once
#
# Call systemd_start in the main shell: if that is killed, so is systemd.
# Sets SYSTEMD_PID, systemd's pid for the machine, and SYSTEMD_FOLDER.

systemd_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

systemd_why_not() {
  local program
  [ "$(id -u)" -eq 0 ] || { echo "it needs root" && return 0; }
  for program in unshare nsenter setpriv pivot_root mount ip; do
    command -v "$program" >/dev/null || { echo "$program is missing (util-linux, iproute2)" && return 0; }
  done
  [ -x /lib/systemd/systemd ] || { echo "systemd is not installed" && return 0; }
  unshare --pid --mount --uts --ipc --cgroup --net --fork true 2>/dev/null ||
    { echo "no namespaces can be made here" && return 0; }
  [ -n "$(systemd_cgroup2)" ] || { echo "there is no cgroup2 here" && return 0; }
  # shellcheck disable=SC2016
  unshare --mount --fork sh -c 'd=/sys/fs/cgroup; mount --make-rprivate / && mount -t tmpfs none $d &&
    mkdir $d/u $d/w $d/m $d/m2 && mount -t overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w none $d/m' 2>/dev/null ||
    { echo "no file systems can be mounted here" && return 0; }
}

# The machine's cgroup2, and where we are in it.
systemd_cgroup2() {
  local mount path
  mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
  path=$(sed -n 's/^0:://p' /proc/self/cgroup)
  [ -z "$mount" ] || [ ! -w "$mount${path%/}" ] || echo "$mount${path%/}"
}

# CONTROLLER: the same in an old hierarchy, if the machine has it.
systemd_cgroup_v1() {
  local mount path
  mount=$(awk -v c="$1" '$3 == "cgroup" && index("," $4 ",", "," c ",") { print $2; exit }' /proc/self/mounts)
  path=$(awk -F: -v c="$1" 'index("," $2 ",", "," c ",") { print $3 }' /proc/self/cgroup)
  [ -z "$mount" ] || [ ! -w "$mount${path%/}" ] || echo "$mount${path%/}"
}

# Folders of our own in each hierarchy, and this process in them.
systemd_make_cgroups() {
  local at controller
  : >"$SYSTEMD_FOLDER/cgroups" && : >"$SYSTEMD_FOLDER/cgroups-v1"
  at=$(systemd_cgroup2)
  echo '+pids +memory' >"$at/cgroup.subtree_control" || :
  systemd_sweep_cgroups "$at"
  echo "$at/muxd-test.$$" >>"$SYSTEMD_FOLDER/cgroups"
  for controller in name=systemd pids memory devices; do
    at=$(systemd_cgroup_v1 "$controller")
    [ -n "$at" ] || continue
    systemd_sweep_cgroups "$at"
    echo "$at/muxd-test.$$" >>"$SYSTEMD_FOLDER/cgroups"
    echo "$controller" >>"$SYSTEMD_FOLDER/cgroups-v1"
  done
  while read -r at; do
    mkdir -p "$at" && echo "$BASHPID" >"$at/cgroup.procs" || return 1
  done <"$SYSTEMD_FOLDER/cgroups"
} 2>/dev/null

# The least that is a system: targets, the journal, and what the caller adds.
systemd_write_units() {
  local units=$SYSTEMD_FOLDER/units unit
  mkdir -p "$units"
  for unit in sysinit basic shutdown sockets timers paths slices local-fs umount final network-online network nss-lookup; do
    cp "/lib/systemd/system/$unit.target" "$units" || return 1
  done
  for unit in journald.service journald.socket journald-dev-log.socket; do
    cp "/lib/systemd/system/systemd-$unit" "$units" || return 1
  done
  mkdir -p "$units/sockets.target.wants" "$units/sysinit.target.wants"
  ln -sf ../systemd-journald.socket ../systemd-journald-dev-log.socket "$units/sockets.target.wants"
  ln -sf ../systemd-journald.service "$units/sysinit.target.wants"
  printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' >"$units/it.target"
}

systemd_start() {
  local root=$2 mode=overlay net=--net
  export SYSTEMD_FOLDER=$1 SYSTEMD_PID=
  mkdir -p "$SYSTEMD_FOLDER/root" "$SYSTEMD_FOLDER/upper" || return 1
  case $root in *[,:\\]*) echo "'$root' cannot be mounted: no comma, colon or backslash, please" >&2 && return 1 ;; esac
  [ "$root" != / ] || systemd_write_units || return 1
  [ -z "${SYSTEMD_IN_PLACE-}" ] || mode=in-place
  [ "${SYSTEMD_NET-}" != host ] || net=
  sed '/^$/d' <<<"${SYSTEMD_BINDS-}" >"$SYSTEMD_FOLDER/binds"
  rm -f "$SYSTEMD_FOLDER/pid"
  (
    systemd_make_cgroups
    exec setpriv --pdeathsig KILL unshare --fork --kill-child=KILL --pid --mount --uts --ipc --cgroup $net \
      bash "$systemd_here/enter" "$SYSTEMD_FOLDER" "$root" "$mode"
  ) </dev/null >>"$SYSTEMD_FOLDER/systemd.log" 2>&1 &
  systemd_unshare_pid=$!
  for _ in $(seq 600); do
    if [ -s "$SYSTEMD_FOLDER/pid" ]; then
      SYSTEMD_PID=$(cat "$SYSTEMD_FOLDER/pid")
      case $(systemd_run systemctl is-system-running 2>/dev/null) in running | degraded) return 0 ;; esac
    fi
    kill -0 "$systemd_unshare_pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "systemd has not started: $(tail -n 5 "$SYSTEMD_FOLDER/systemd.log")" >&2
  [ -z "$SYSTEMD_PID" ] || systemd_run systemctl list-jobs >&2
  systemd_stop
  return 1
}

systemd_run() { nsenter --target "$SYSTEMD_PID" --all -- "$@"; }

systemd_stop() {
  local at
  [ -n "${systemd_unshare_pid-}" ] || return 0
  kill -KILL "$systemd_unshare_pid" 2>/dev/null
  wait "$systemd_unshare_pid" 2>/dev/null
  systemd_unshare_pid='' SYSTEMD_PID=''
  while read -r at; do
    for _ in $(seq 100); do # until its last process is gone
      systemd_remove_cgroup "$at" && break
      sleep 0.1
    done
  done <"$SYSTEMD_FOLDER/cgroups"
}

systemd_remove_cgroup() { [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; }

# FOLDER: what was left of tests that were killed.
systemd_sweep_cgroups() {
  local at
  for at in "$1"/muxd-test.*; do
    kill -0 "${at##*.}" 2>/dev/null || systemd_remove_cgroup "$at"
  done
}
