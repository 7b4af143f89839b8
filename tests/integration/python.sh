#!/bin/bash
# The client in Python, which was written from the documents alone: what it does, and how it outlives muxd.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_muxd_and_wait < <(muxd_conf)
demo=$srcdir/client/examples/python/demo.py
reader() { PYTHONPATH="$scratch/python:$(dirname "$demo")" timeout 120 "$PYTHON" "$demo" "$@"; }
says() { # TEXT COMMAND...: its output
  local text=$1
  shift
  "$@" >"$scratch/said" 2>&1 && equal "$text" "$(cat "$scratch/said")"
}

check "it publishes and consumes" says "3000 CONFIRMED
3000 consumed; then there is None
a mandatory one to nowhere: 1 RETURNED, NO_ROUTE
an error: 404" reader count 3000
check "it calls by direct reply-to" says "True: HELLO" reader call hello
check "the connection is the first one" status_is upstreams.0.epoch 1

# SIGNAL...: muxd gets each, and there is another one
steady() {
  local signal
  start env PYTHONPATH="$scratch/python:$(dirname "$demo")" timeout 120 "$PYTHON" "$demo" steady 100 \
    </dev/null >"$scratch/steady" 2>"$scratch/steady.log"
  client=$started
  wait_for 20 grep -q '^ready' "$scratch/steady" || say "it is not ready"
  for signal; do
    wait_for 20 has_published
    stop "$MUXD_PID" "$signal"
    start_muxd_and_wait < <(muxd_conf)
  done
  wait_for 20 has_published
  kill -TERM "$client"
  reap "$client" 60
  check "it ends in order ($*)" equal 0 "$exit_code"
  check "nothing is lost, and nothing comes twice without a mark ($*)" \
    contains "$scratch/steady" "lost: 0, twice without a mark: 0, "
  check "everything is confirmed, in $(($# + 1)) sessions" \
    grep -E "published: [0-9]+ CONFIRMED; in $(($# + 1)) sessions" "$scratch/steady"
  check "a queue that muxd named has its name" contains "$scratch/steady" "the exclusive queue has its name: True"
  sed -n 's/^[0-9l]/    &/p' "$scratch/steady"
}
has_published() {
  muxctl --json sessions | "$PYTHON" -c '
import json, sys
sys.exit(not any(s["program"] == "demo steady" and s["published"] > 100 for s in json.load(sys.stdin)["sessions"]))'
}
steady KILL KILL
steady TERM TERM
check_muxd_stops
