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

# The service's configuration; what stdin has stands before it.
configure() {
  muxd_conf | sed '/^socket =/d' >"$scratch/conf"
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
upstream_is up || exit 1
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

# So many visits fall on each restart, at the rate that they are to come with.
visits() { tell visitors - | sed -n 's/^ok visits=\([0-9]*\).*/\1/p'; }
visits_are() { [ "$(visits)" -ge "$1" ]; }
restart_once() {
  local before
  before=$(visits)
  account "fault drain" && systemctl restart muxd.service && account back && account "settle 60" &&
    account "run 150 60" && wait_for 60 visits_are $((before + 500))
}
start_dialog visitors ready "$builddir/tests/systemd/visitors" 500
start_dialog account ready "$builddir/tests/e2e/account" -q "systemd.$$" -s 1 -r 600 -w 100000
undone=0
for ((round = 0; round < restarts; round++)); do
  restart_once >"$scratch/round.out" 2>&1 || { undone=$((undone + 1)) && cat "$scratch/round.out"; }
done
check "$restarts restarts by systemctl, and messages went on after each" equal 0 "$undone"
say "visitors: $(tell visitors -)"

# ------------------------------------------------------------- a muxd that hangs

restarts_are() { [ "$(property NRestarts)" -ge "$1" ]; }
hang() {
  local before
  before=$(property NRestarts)
  systemctl kill --kill-whom=main --signal=STOP muxd.service && wait_for 60 restarts_are $((before + 1)) &&
    wait_for 20 upstream_is up
}
began=$SECONDS
check "a muxd that hangs is ended by the watchdog, and started again" hang
say "that took $((SECONDS - began)) s, with WatchdogSec=$(property WatchdogUSec)"
check "the watchdog it was" journal_has "Watchdog timeout (limit 5s)!"
end_dialog visitors 0
check "no connect was refused, and libmuxclient gave no error" report_is_good visitors "$exit_code"
runs_other_than() { # PID
  local pid
  pid=$(main_pid)
  [ "$pid" -gt 1 ] && [ "$pid" != "$1" ]
}
crash() {
  local pid
  for _ in 1 2 3 4 5 6 7 8; do
    wait_for 20 runs_other_than 0 && pid=$(main_pid) && [ "$pid" -gt 1 ] && kill -KILL "$pid" &&
      wait_for 20 runs_other_than "$pid" || return 1
  done
  wait_for 20 upstream_is up
}
# A busy machine takes longer for so many than the library waits for a greeting.
start_dialog patient ready "$builddir/tests/systemd/visitors" 500 60
check "one that crashes 8 times in a row is started again each time" crash
check "messages go on" account "run 150 60"
end_dialog patient 0
check "no connect was refused in that time, nor did libmuxclient give an error" report_is_good patient "$exit_code"
end_dialog account 60
checks report_is_good account "$exit_code"
check "those who were attached come back" tell attached back
check "and work" tell attached publish

# ------------------------------------------------------------------------ upgrade

upgrade() {
  cp -p "$program" "$program.new" && printf 'another' >>"$program.new" && mv "$program.new" "$program" &&
    restart_and_wait && cmp "$program" "/proc/$(main_pid)/exe"
}
check "muxd is upgraded by replacing its program and a restart" upgrade
check "who was attached works on" tell attached publish

# ------------------------------------------------------------------------- reload

before=$(main_pid)
check "who is in the group muxd may do everything" as 60001 "$builddir/client/muxctl" declare queue "" --exclusive
configure <<'TEXT'
log-level = "info"
limits { total-memory = "300M" }
access "root" { user = "root" configure = ".*" write = ".*" read = ".*" control = true }
TEXT
sed -i '/^log-level = "debug"/d' /etc/muxd/muxd.conf
check "systemctl reload works, under the unit's own filter" systemctl reload muxd.service
check "it changes the log level" wait_for 20 journal_has "the log level is info"
check "it changes a limit" wait_for 20 status_is memory.limit $((300 * 1024 * 1024))
check_not "it changes who may do what" as 60001 "$builddir/client/muxctl" declare queue "" --exclusive
check "the service is ready again" wait_for 20 property_is SubState running
check "its sessions work on" tell attached publish
echo 'upstream "default" { uri = ' >>/etc/muxd/muxd.conf
check "systemctl reload is taken with a broken file" systemctl reload muxd.service
check "the log says where the mistake is" wait_for 20 journal_has "/etc/muxd/muxd.conf:"
check "the status line says that it failed, and why" wait_for 20 property_has StatusText "the last reload failed: /etc/muxd/muxd.conf:"
check "the service goes on" wait_for 20 property_is SubState running
check "with the limits that it had" status_is memory.limit $((300 * 1024 * 1024))
check "it is still the same process" equal "$before" "$(main_pid)"
check "its sessions work on" tell attached publish
configure </dev/null

# --------------------------------------------------------------------------- stop

# What the broker says of connections that end without a word. (The test broker says nothing.)
broken_connections() {
  [ "$BROKER" = testbroker ] || grep -c 'unexpectedly closed' "$RABBITMQ_FOLDER"/log/muxd-test@*.log
}
broken=$(broken_connections)
end_dialog attached 0
check "they end in order" equal 0 "$exit_code"
configure <<<'drain-timeout = "5s"'
drop_in muxd.service 50-stop <<TEXT
[Service]
TimeoutStopSec=2s
TEXT
restart_and_wait
start "$PYTHON" "$here/drain.py" stay </dev/null >"$scratch/client" 2>&1
client=$started
wait_for 20 grep -q '^ready' "$scratch/client" || say "the client is not ready: $(cat "$scratch/client")"
check "a drain may take longer than TimeoutStopSec=, as muxd asks for" systemctl stop muxd.service
reap "$client" 20
checks grep -v '^ready' "$scratch/client"
check "it ends in order" property_is Result success
check "with exit code 0" property_is ExecMainStatus 0
drop_out muxd.service 50-stop
configure </dev/null

systemctl start muxd.service
start_dialog account ready "$builddir/tests/e2e/account" -q "stop.$$" -s 2 -r 600 -w 100000
check "messages flow" account "run 150 60"
check "muxd is stopped under load" systemctl stop muxd.service
check "in order, too" property_is Result success
check "the service starts again at once, for there are clients" wait_for 20 property_is ActiveState active
check "and messages go on" account "run 150 60"
end_dialog account 60
checks report_is_good account "$exit_code"
restart_and_wait
check "the AMQP connections were closed in order each time" equal "$broken" "$(broken_connections)"

# ------------------------------------------------------------ a wrong configuration

echo 'no-such-key = 1' >/etc/muxd/muxd.conf
check_not "with a wrong configuration it does not start" systemctl restart muxd.service
check "it is not tried again by itself: it would stay wrong" property_is ActiveState failed
check "the exit code says why" property_is ExecMainStatus 78
check "and the log, with file and line" journal_has "/etc/muxd/muxd.conf:1:"
check_not "who connects all the same is not served" muxctl --timeout 2s ping
check "and muxd is not started for that for ever" wait_for 60 property_is ActiveState failed muxd.socket
systemctl reset-failed muxd.service muxd.socket
configure </dev/null
check "mended, it starts" systemctl start muxd.service
check "and works" wait_for 20 upstream_is up

# ------------------------------------------------------------------------ journal

fields() {
  journalctl -q -o json -u muxd.service --no-pager | "$PYTHON" -c '
import json, sys
lines = [line for line in map(json.loads, sys.stdin) if line.get("_COMM") == "muxd"]
bad = [line["MESSAGE"] for line in lines if "PRIORITY" not in line or line.get("SYSLOG_IDENTIFIER") != "muxd"]
ended = [line for line in lines if line["MESSAGE"].startswith("session ")]
bad += [line["MESSAGE"] for line in ended if not {"MUXD_SESSION", "MUXD_CLIENT_PID", "MUXD_CLIENT_UID"} <= set(line)]
upstream = [line for line in lines if line["MESSAGE"].startswith("upstream ")]
bad += [line["MESSAGE"] for line in upstream if line.get("MUXD_UPSTREAM") != "default"]
print(len(lines), "lines,", len(ended), "of sessions,", len(upstream), "of upstreams; bad:", bad[:3])
sys.exit(not lines or not ended or not upstream or bad != [])'
}
check "the journal has fields: priority, session, client, upstream" fields

check_not "all of that without a forbidden system call" journal_has status=31/SYS
check "all is stopped in order" systemctl stop muxd.service muxd.socket
check_not "the socket goes with its unit" test -e "$MUXD_SOCKET"
check "the broker has no connection any more" wait_for 10 connections_are 0
