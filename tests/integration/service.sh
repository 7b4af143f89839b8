#!/bin/bash
# muxd as a service: readiness, draining, stopping, socket activation. A fake of systemd's socket is enough.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker

if ! grep -q '^#define HAVE_SYSTEMD 1' "$builddir/config.h"; then
  skip_all "this muxd is built without libsystemd"
fi

# ------------------------------------------------------------------ notification

start "$PYTHON" "$here/notify.py" "$scratch/notify" >"$scratch/told" 2>&1
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
