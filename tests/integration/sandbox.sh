#!/bin/bash
# What muxd.service lets muxd do, and what not, under a real systemd.
. "$(dirname "$0")/lib.sh"
need_systemd "$@"
# shellcheck source=tests/systemd/service.sh
. "$srcdir/tests/systemd/service.sh"
need_ipc

start_broker
install_service
export MUXD_SOCKET=/run/muxd/muxd.sock
start journalctl -q -f -o short-monotonic -u muxd.service -u muxd.socket >"$scratch/journal.log"
muxd_conf "$BROKER_URI" 'connect-timeout = "2s"' | sed '/^socket =/d' >/etc/muxd/muxd.conf
chown muxd /etc/muxd # as systemd makes it where it was not there

# ------------------------------------------------------- what a burglar could do

# In muxd's place, under the filter as it is installed: refused, not killed.
probe() {
  systemctl start muxd.socket || return 1
  install -m 0755 "$builddir/tests/systemd/probe" "$program.probe"
  touch /tmp/of-others
  : >/run/probe.out
  drop_in muxd.service 50-probe <<TEXT
[Service]
Type=oneshot
SystemCallErrorNumber=EPERM
ExecStart=
ExecStart=$program.probe /tmp/of-others
ExecPaths=$program.probe
StandardOutput=truncate:/run/probe.out
Restart=no
WatchdogSec=0
TEXT
  systemctl start muxd.service
  probe_code=$?
  drop_out muxd.service 50-probe
  systemctl reset-failed muxd.service 2>/dev/null
  cat /run/probe.out
  return "$probe_code"
}
checks probe

# ----------------------------------------------------------------------- limits

systemctl start muxd.service
check "muxd works in it" wait_for 20 upstream_is up
upstream_is up || exit 1
pid=$(main_pid)
limit_of() { sed -n "s/^$1  *\([^ ]*\)  *\([^ ]*\).*/\1 \2/p" "/proc/$pid/limits"; }
most=$(sed -n 's/^Max open files *[^ ]* *\([^ ]*\).*/\1/p' /proc/1/limits)
if [ "$most" -ge 32768 ]; then
  check "LimitNOFILE= is applied" equal "32768 32768" "$(limit_of "Max open files")"
else
  skip "LimitNOFILE= is applied" "here systemd itself may have $most descriptors"
fi
check "LimitCORE= is applied" equal "0 0" "$(limit_of "Max core file size")"
in_status() { grep -qP "^$1:\t$2\$" "/proc/$pid/status" || { grep "^$1:" "/proc/$pid/status" && return 1; }; }
check "no capability is left" in_status CapBnd 0+
check "nor can be had" in_status NoNewPrivs 1
check "its system calls are filtered" in_status Seccomp 2

# FILE-OF-V2 CONTROLLER FILE-OF-V1: the limit in the service's control group
cgroup_limit() {
  local path=/sys/fs/cgroup$(property ControlGroup)
  [ -e "$path/$1" ] || path=/sys/fs/cgroup/$2$(property ControlGroup)
  cat "$path/$1" 2>/dev/null || cat "$path/$3" 2>/dev/null
}
limited() { # NAME VALUE FILE...
  local limit
  limit=$(cgroup_limit "${@:3}")
  if [ -n "$limit" ]; then
    check "$1= is applied" equal "$2" "$limit"
  else
    skip "$1= is applied" "this machine has no such controller of control groups to give away"
  fi
}
limited TasksMax 16 pids.max pids pids.max
limited MemoryMax $((1024 * 1024 * 1024)) memory.max memory memory.limit_in_bytes

# ------------------------------------------------------------------- who they are

as() { # UID GROUP COMMAND...
  local uid=$1 group=$2
  shift 2
  setpriv --reuid "$uid" --regid 60001 --groups "$group" "$@"
}
muxd_group=$(getent group muxd | cut -d: -f3)
seen_as() { # UID
  as "$1" "$muxd_group" "$builddir/client/muxctl" --json sessions | "$PYTHON" -c '
import json, sys
uids = [s["uid"] for s in json.load(sys.stdin)["sessions"]]
print(uids)
sys.exit(uids != [int(sys.argv[1])])' "$1"
}
check "a client in the group muxd is seen with its own uid" seen_as 60001
check_not "who is not in the group cannot connect" as 60001 60001 "$builddir/client/muxctl" ping
check "root can" muxctl ping

# One of a service that runs elsewhere, with DynamicUser=: systemd alone knows it, and asking it takes system calls.
systemd-run -q --unit=elsewhere -p DynamicUser=yes -p User=muxd-elsewhere sleep 600
cp /etc/muxd/muxd.conf "$scratch/before.conf"
say 'access "elsewhere" { user = "muxd-elsewhere" read = ".*" }' >>/etc/muxd/muxd.conf
check "a user whom no file has can be named in an access rule" muxctl reload
check "muxd has not died of it" equal "$pid" "$(main_pid)"
cp "$scratch/before.conf" /etc/muxd/muxd.conf
check "and the rule can go again" muxctl reload
systemctl stop elsewhere.service

# ------------------------------------------------------------------------ secrets

# SECRET: the broker's password as a credential, readable by root alone
with_password() {
  muxd_conf "${BROKER_URI/amqp:\/\//amqp://guest@}" "password-file = \"\${CREDENTIALS_DIRECTORY}/broker-password\"" |
    sed '/^socket =/d' >/etc/muxd/muxd.conf
  install -m 0600 /dev/null /etc/muxd/broker-password
  printf '%s\n' "$1" >/etc/muxd/broker-password
  systemctl restart muxd.service
}
drop_in muxd.service 50-password <<'TEXT'
[Service]
LoadCredential=broker-password:/etc/muxd/broker-password
TEXT
with_password guest
check "a password that systemd hands over is used" wait_for 20 upstream_is up
check "it is not in the unit's environment" \
  equal "" "$(tr '\0' '\n' <"/proc/$(main_pid)/environ" | grep -x '.*=guest')"
with_password wrong
check "so is a wrong one" wait_for 20 upstream_is failed
check "which the status line tells" wait_for 20 property_has StatusText "default: failed"
drop_out muxd.service 50-password
muxd_conf "$BROKER_URI" 'connect-timeout = "2s"' | sed '/^socket =/d' >/etc/muxd/muxd.conf

# --------------------------------------------------------------- a site's network

filter() { # LINE...
  { say '[Service]' && printf '%s\n' "$@"; } | drop_in muxd.service 50-network
  systemctl restart muxd.service
}
filter IPAddressDeny=any
check "with all addresses denied there is no broker" wait_for 20 property_has StatusText "default: backoff"
check "clients are served all the same" muxctl ping
filter IPAddressDeny=any IPAddressAllow=localhost
check "with the broker's allowed there is" wait_for 20 upstream_is up
drop_out muxd.service 50-network

check "muxd ends in order" systemctl stop muxd.service muxd.socket
check_not "all of that without a forbidden system call" journal_has status=31/SYS
