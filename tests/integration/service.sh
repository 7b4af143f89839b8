#!/bin/bash
# muxd as a service: readiness, draining, stopping, socket activation. A fake of systemd's socket is enough.
. "$(dirname "$0")/lib.sh"
[ -z "${MUXD_UNDER-}" ] || skip_all "a muxd in the sandbox is told by systemd itself, not by a fake of it (see systemd.sh)"
need_ipc
start_broker

if ! grep -q '^#define HAVE_SYSTEMD 1' "$builddir/config.h"; then
  skip_all "this muxd is built without libsystemd"
fi

# ------------------------------------------------------------------ notification

start "$PYTHON" "$here/notify.py" "$scratch/notify" >>"$scratch/told" 2>&1
wait_for 20 test -S "$scratch/notify" || exit 1
told() { grep -q "$1" "$scratch/told" || { cat "$scratch/told" && return 1; }; }

export NOTIFY_SOCKET=$scratch/notify
start_muxd < <(muxd_conf amqp://127.0.0.1:1)
check "READY=1 is told when the socket works, though there is no broker" wait_for 10 told '^READY=1'
check "STATUS= tells that the upstream is not up" wait_for 10 told '^STATUS=.*backoff'
check_muxd_stops
check "STOPPING=1 is told at the end" wait_for 10 told '^STOPPING=1'

start_muxd_and_wait < <(muxd_conf)
check "STATUS= tells that the upstream is up" wait_for 10 told '^STATUS=.*up'
unset NOTIFY_SOCKET

# ------------------------------------------------------------------------- drain

start "$PYTHON" "$here/drain.py" </dev/null >"$scratch/client" 2>&1
client=$started
wait_for 20 grep -q '^ready' "$scratch/client" || say "the client is not ready: $(cat "$scratch/client")"
began=$SECONDS
check_muxd_stops
check "muxd did not wait for its drain-timeout, 30 s, when the session had left" test $((SECONDS - began)) -lt 15
reap "$client" 20
checks grep -v '^ready' "$scratch/client"
check "the client ended in order" equal 0 "$exit_code"
check "the broker has no connection any more" wait_for 10 connections_are 0

start_muxd_and_wait < <(muxd_conf | sed '1i drain-timeout = "1s"')
start "$PYTHON" "$here/drain.py" stay </dev/null >"$scratch/client" 2>&1
client=$started
wait_for 20 grep -q '^ready' "$scratch/client" || say "the client is not ready: $(cat "$scratch/client")"
check_muxd_stops
reap "$client" 20
checks grep -v '^ready' "$scratch/client"

start_muxd_and_wait < <(muxd_conf | sed '1i drain-timeout = "1h"')
start "$PYTHON" "$here/drain.py" stay </dev/null >"$scratch/client" 2>&1
client=$started
wait_for 20 grep -q '^ready' "$scratch/client" || say "the client is not ready: $(cat "$scratch/client")"
kill -TERM "$MUXD_PID"
check "muxd waits for who stays" wait_for 20 grep -q 'asked to leave' "$scratch/client"
say "a second signal:"
check_muxd_stops
reap "$client" 20
checks grep -v '^ready' "$scratch/client"

# ------------------------------------------- a reload while muxd stops, or before

: >"$scratch/told"
export NOTIFY_SOCKET=$scratch/notify
start_muxd_and_wait < <(muxd_conf | sed '1i drain-timeout = "1h"')
unset NOTIFY_SOCKET
threads() { grep '^Threads:' "/proc/$MUXD_PID/status"; }
threads_are() { equal "$1" "$(threads)"; }
logged_twice() { [ "$(grep -c "$1" "$scratch/muxd.log")" -ge 2 ]; }
stops_twice() { [ "$(grep -c '^STOPPING=1' "$scratch/told")" = 2 ]; }
asked_before=$(threads) waits=()
start "$PYTHON" "$here/drain.py" reload </dev/null >"$scratch/client" 2>&1
client=$started
wait_for 20 grep -q '^ready' "$scratch/client" || say "the client is not ready: $(cat "$scratch/client")"
mv "$scratch/muxd.conf" "$scratch/muxd.conf.full"
mkfifo "$scratch/muxd.conf"
exec {writer}<>"$scratch/muxd.conf" # who reads it waits for what we write
for asker in first second; do
  start muxctl --timeout 60s reload </dev/null >"$scratch/$asker" 2>&1
  waits+=("$started")
done
check "two ask for a reload" wait_for 20 logged_twice 'reload was asked for by pid'
check "which has begun" wait_for 20 told '^RELOADING=1'
kill -TERM "$MUXD_PID"
for asker in first second; do
  reap "${waits[0]}" 30
  waits=("${waits[@]:1}")
  check "when muxd is told to stop the $asker one is told that it failed" equal 1 "$exit_code"
  check "and why" grep 'muxd stops' "$scratch/$asker"
done
check "STOPPING=1 is told" wait_for 10 told '^STOPPING=1'
cat "$scratch/muxd.conf.full" >&"$writer"
exec {writer}>&-
check "what was read is dropped" wait_for 20 threads_are "$asked_before"
kill -HUP "$MUXD_PID"
check "SIGHUP is ignored then, and said to be" wait_for 10 grep 'is ignored: .*muxd stops' "$scratch/muxd.log"
wait_for 20 grep -q 'refused' "$scratch/client"
check_muxd_stops
reap "$client" 20
checks grep -v '^ready' "$scratch/client"
check "muxd closed in order" wait_for 10 stops_twice
check_not "no READY=1 or RELOADING=1 is told behind STOPPING=1" \
  grep -E '^(READY|RELOADING)=1' <(sed '1,/^STOPPING=1/d' "$scratch/told")
rm "$scratch/muxd.conf"

# ---------------------------------------------------------- reload and watchdog

: >"$scratch/told"
count() { grep -c "$1" "$scratch/told"; } # told() keeps what was written
more_than() { [ "$(count "$2")" -gt "$1" ]; }
export NOTIFY_SOCKET=$scratch/notify WATCHDOG_USEC=400000
start_muxd_and_wait < <(muxd_conf)
check "WATCHDOG=1 is told again and again" wait_for 20 more_than 3 '^WATCHDOG=1'
kill -HUP "$MUXD_PID"
check "a reload begins with RELOADING=1 and MONOTONIC_USEC=" wait_for 10 told '^RELOADING=1'
check "with the time" told '^MONOTONIC_USEC=[0-9]'
check "and ends with READY=1" wait_for 10 more_than 1 '^READY=1'
sed -i '1i drain-timeout = "what"' "$scratch/muxd.conf"
kill -HUP "$MUXD_PID"
check "a reload that fails ends with READY=1 as well" wait_for 10 more_than 2 '^READY=1'
check "STATUS= says why it failed, with file and line" wait_for 10 told '^STATUS=.*reload failed.*muxd.conf:1: drain-timeout'
sed -i 1d "$scratch/muxd.conf"
muxctl reload
good_status() { grep '^STATUS=' "$scratch/told" | tail -n 1 | grep -v 'reload failed'; }
check "and forgets it when one has worked" wait_for 10 good_status
kill -STOP "$MUXD_PID"
wait_for 20 grep -q '^State:.T' "/proc/$MUXD_PID/status"
"$PYTHON" -c 'import os, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"behind", os.environ["NOTIFY_SOCKET"])'
wait_for 20 told '^behind$' # so what was told before has been read
stopped=$(count '^WATCHDOG=1')
"$PYTHON" -c 'import time; time.sleep(2)' # ten times its interval
check "a muxd that hangs tells no WATCHDOG=1" equal "$stopped" "$(count '^WATCHDOG=1')"
kill -CONT "$MUXD_PID"
check "one that goes on does" wait_for 20 more_than "$stopped" '^WATCHDOG=1'
check_not "nothing was taken for a stall" grep 'does not advance' "$scratch/muxd.log"
kill -USR1 "$MUXD_PID"
check "SIGUSR1 dumps it all" wait_for 10 grep -q 'dump: upstream "default".*waiting' "$scratch/muxd.log"
check "with the limits" wait_for 10 grep -q 'dump: limits: total-memory 536870912.*prefetch 256' "$scratch/muxd.log"
check "and how long it has run" wait_for 10 grep -q 'dump: muxd .* running, up for [0-9]* s' "$scratch/muxd.log"
check "muxctl drain is done" muxctl drain
late=0
reap "$MUXD_PID" 20 || late=1
check "muxd ends by muxctl drain, in order" muxd_ended_well "$late" "$exit_code"
check "EXTEND_TIMEOUT_USEC= is told for a drain" wait_for 10 told '^EXTEND_TIMEOUT_USEC=[0-9]'
unset NOTIFY_SOCKET WATCHDOG_USEC

# ------------------------------------------------------------- socket activation

activate=$(command -v systemd-socket-activate || ls /lib/systemd/systemd-socket-activate 2>/dev/null)
if [ -z "$activate" ]; then
  skip "a socket that systemd hands over is used" "systemd-socket-activate is not installed"
  exit 0
fi
muxd_conf | sed '/^socket =/d' >"$scratch/muxd.conf"
start "$activate" -l "$MUXD_SOCKET" --fdname=ipc "$builddir/daemon/muxd" -c "$scratch/muxd.conf" </dev/null 2>"$scratch/activated.log"
MUXD_PID=$started # it becomes muxd
wait_for 20 test -S "$MUXD_SOCKET"
check "the first client of a socket that systemd holds is served" muxctl --timeout 20s ping
check "and it works" muxctl --timeout 20s declare queue "" --exclusive
check_muxd_stops
check "the socket is systemd's: muxd leaves it there" test -S "$MUXD_SOCKET"
