#!/bin/bash
# A muxd that is told to stop: 200 sessions leave and it ends; who comes meanwhile reaches the next one.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker

start_muxd_and_wait < <(muxd_conf)
checks timeout 120 "$PYTHON" "$here/leave.py" crowd 200 "$MUXD_PID"
reap "$MUXD_PID" 20
check "muxd ends in order" muxd_ended_well $? "$exit_code"
check "the broker has no connection any more" wait_for 10 connections_are 0

start_muxd_and_wait < <(muxd_conf)
checks timeout 60 "$PYTHON" "$here/leave.py" waiting "$MUXD_PID"
reap "$MUXD_PID" 20
check "muxd ends in order" muxd_ended_well $? "$exit_code"

# The successor starts while somebody is still with the old one.
start_muxd_and_wait < <(muxd_conf)
old=$MUXD_PID
start "$PYTHON" "$here/leave.py" stays </dev/null >"$scratch/stays" 2>&1
client=$started
wait_for 20 grep -q '^ready' "$scratch/stays" || say "the client is not ready: $(cat "$scratch/stays")"
kill -TERM "$old"
check "the socket is gone at once" wait_for 2 test ! -e "$MUXD_SOCKET"
start_muxd_and_wait < <(muxd_conf)
check "who comes then reaches the new one" status_is pid "$MUXD_PID"
check_not "the old one has not ended" is_gone "$old"
kill -USR1 "$client"
reap "$client" 20
checks grep -v '^ready' "$scratch/stays"
reap "$old" 20
check "the old one ends in order" muxd_ended_well $? "$exit_code"
check "and leaves the socket of the new one alone" status_is pid "$MUXD_PID"
check_muxd_stops

# A socket that somebody else holds, as systemd does.
[ -z "${MUXD_UNDER-}" ] || {
  skip "a socket that somebody else holds" "in the sandbox it is systemd who does (see systemd.sh)"
  exit 0
}
muxd_conf | sed '/^socket =/d' >"$scratch/muxd.conf"
checks timeout 60 "$PYTHON" "$here/leave.py" held "$builddir/daemon/muxd" "$scratch/muxd.conf"
