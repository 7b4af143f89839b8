#!/bin/bash
# muxd.service and muxd.socket as they are installed, under a real systemd.
# As a command of its own, with so many restarts: tests/integration/systemd.sh 100
. "$(dirname "$0")/lib.sh"
need_systemd "$@"
# shellcheck source=tests/systemd/service.sh
. "$srcdir/tests/systemd/service.sh"
need_ipc
restarts=${1-10}

start_broker
install_service
export MUXD_SOCKET=/run/muxd/muxd.sock
start journalctl -q -f -o short-monotonic -u muxd.service -u muxd.socket >"$scratch/journal.log"

# [LINE-FOR-UPSTREAM...]: the service's configuration; what stdin has stands before it
configure() {
  muxd_conf "$BROKER_URI" "$@" | sed '/^socket =/d' >"$scratch/conf"
  cat - "$scratch/conf" >/etc/muxd/muxd.conf
}
configure </dev/null

restart_and_wait() { systemctl restart muxd.service && wait_for 20 upstream_is up; }
as() { # UID COMMAND...: as somebody in the group muxd
  local uid=$1
  shift
  setpriv --reuid "$uid" --regid 60001 --groups "$(getent group muxd | cut -d: -f3)" "$@"
}

# ------------------------------------------------------------- socket activation

check "muxd.socket can be started" systemctl start muxd.socket
check "the service is not started by that" property_is ActiveState inactive
check "the socket belongs to root and the group muxd, and others cannot connect" \
  equal "root:muxd 660" "$(stat -c '%U:%G %a' "$MUXD_SOCKET")"
check "its name for muxd is ipc" property_is FileDescriptorName ipc muxd.socket
check "the first client is served" muxctl --timeout 20s ping
check "by the service, which is ready" property_is ActiveState active
check "its main process is muxd" equal "$(main_pid)" "$(status_of pid)"
check "that systemd runs as the user muxd" equal muxd "$(stat -c %U "/proc/$(main_pid)")"
check "the upstream comes up" wait_for 20 upstream_is up
socket=$(stat -c %i "$MUXD_SOCKET")
check "it can be stopped" systemctl stop muxd.service
check "in order" property_is Result success
check "the socket stays" equal "$socket" "$(stat -c %i "$MUXD_SOCKET")"
check "the next client starts it again" muxctl --timeout 20s ping
check "by the same socket" equal "$socket" "$(stat -c %i "$MUXD_SOCKET")"

# ------------------------------------------------------------------------ status

check "the status line tells the upstream's state" wait_for 20 property_has StatusText "default: up"
start_dialog attached ready "$builddir/tests/integration/attached" 3
check "and how many sessions and channels there are" wait_for 20 property_has StatusText "3 sessions, 3 channels"

# ----------------------------------------------------------------------- restart

start_dialog visitors ready "$builddir/tests/systemd/visitors" 500
start_dialog account ready "$builddir/tests/e2e/account" -q "systemd.$$" -s 1 -r 600 -w 100000
visits() { tell visitors - | sed -n 's/^visits=\([0-9]*\).*/\1/p'; }
visits_are() { [ "$(visits)" -ge "$1" ]; }
account() { tell account "$1"; }
restart_once() { # so many visits fall on each, at the rate they are to come with
  local before
  before=$(visits)
  account "fault drain" && systemctl restart muxd.service && account back && account "settle 60" &&
    account "run 150 60" && wait_for 60 visits_are $((before + 500))
}
undone=0
for ((round = 0; round < restarts; round++)); do
  restart_once >"$scratch/round.out" 2>&1 || { undone=$((undone + 1)) && cat "$scratch/round.out"; }
done
check "$restarts restarts by systemctl, and messages went on after each" equal 0 "$undone"
say "visitors: $(tell visitors - || :)"
exec {visitors_end}>&- 
