#!/bin/bash
# The connection to the broker is lost, and the broker restarts: sessions stay.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_muxd_and_wait < <(muxd_conf)

# FUNCTION WHAT: the function makes the connection go
lose() {
  local before go
  before=$(status_of upstreams.0.epoch)
  mkfifo "$scratch/go"
  exec {go}<>"$scratch/go"
  start "$PYTHON" "$here/reconnect.py" <"$scratch/go" >"$scratch/client" 2>&1
  client=$started
  wait_for 20 grep -q '^ready' "$scratch/client" || say "the client is not ready: $(cat "$scratch/client")"
  "$1" >/dev/null
  echo lost >&"$go"
  check "$2: a new connection is made" wait_for 60 newer_than "$before"
  reap "$client" 60
  checks grep -v '^ready' "$scratch/client"
  check "$2: a client that was connected all the while ends in order" equal 0 "$exit_code"
  check "$2: the broker counts one connection" wait_for 10 connections_are 1
  exec {go}>&-
  rm "$scratch/go"
}

newer_than() { upstream_is up && [ "$(status_of upstreams.0.epoch)" -gt "$1" ]; }

lose broker_close_connections "the broker closes the connection"
lose broker_restart "the broker restarts"
check_muxd_stops
