#!/bin/bash
# Transactions, basic.recover, and a qos for all consumers of a channel.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_relay pass "$BROKER_PORT"
start_muxd_and_wait < <(muxd_conf "${BROKER_URI/:$BROKER_PORT/:$relay_port}")

checks "$PYTHON" "$here/tx.py" alone
muxctl declare queue transact >/dev/null
checks "$builddir/tests/integration/transact" transact
muxctl delete queue transact >/dev/null
check "all that over one connection" status_is upstreams.0.epoch 1

# ------------------------------------------------------------------ the connection goes

mkfifo "$scratch/go"
exec {go}<>"$scratch/go"

# PART: what tx.py does meanwhile
start_client() {
  start "$PYTHON" "$here/tx.py" "$1" <"$scratch/go" >"$scratch/client" 2>&1
  client=$started
  wait_for 20 grep -q '^ready' "$scratch/client" || say "the client is not ready: $(cat "$scratch/client")"
}

check_client() {
  reap "$client" 60
  checks grep -Ev '^(ready|sent)' "$scratch/client"
  check "$1: the client ends in order" equal 0 "$exit_code"
}

start_client cut
broker_close_connections >/dev/null
echo lost >&"$go"
check_client "a transaction is open"

start_client unanswered
kill -STOP "$relay_pid"
wait_for 20 grep -q '^State:.T' "/proc/$relay_pid/status"
echo now >&"$go"
wait_for 20 grep -q '^sent' "$scratch/client"
kill -KILL "$relay_pid"
wait "$relay_pid" 2>/dev/null
start_relay pass "$BROKER_PORT" "$relay_port"
check_client "a commit is under way"
check_muxd_stops
