#!/bin/bash
# Brokers that refuse muxd, are not there, or are none: muxd stays up, says so, and goes on trying.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
good_uri=$BROKER_URI

log=$scratch/muxd.log

# NAME URI STATE TEXT... : what all of these have in common; $patience is muxd's, if not 2 s
bad_upstream() {
  local what=$1 uri=$2 state=$3
  shift 3
  : >"$log"
  start_muxd < <(muxd_conf "$uri" "connect-timeout = \"${patience:-2s}\"")
  check "$what: the state becomes '$state'" wait_for 20 upstream_is "$state"
  for text in "$@"; do
    check "$what: the status says '$text'" wait_for 5 status_says "$text"
    check "$what: the log says it too" log_says "$text"
  done
  checks "$PYTHON" "$here/upstream.py" "$state"
  check "$what: it is tried again" wait_for 20 tried_again
  check "$what: muxd is still there" muxctl ping
  check_muxd_stops
}

status_says() { status_of upstreams.0.last_error | grep -qiF -- "$1"; }
log_says() { grep -v ' debug' "$log" | grep -qiF -- "$1" || { tail "$log"; return 1; }; }

# The relay counts; see relay.py.
tried_again() { [ "$(grep -c '^accepted' "$scratch/relay.out")" -ge 2 ]; }

path=${good_uri#"amqp://127.0.0.1:$BROKER_PORT"}

start_relay pass "$BROKER_PORT"
bad_upstream "wrong password" "amqp://guest:wrong@127.0.0.1:$relay_port$path" failed "ACCESS_REFUSED"
check_not "wrong password: the log does not hold it" grep -F 'guest:wrong' "$log"
stop "$relay_pid"

start_relay pass "$BROKER_PORT"
bad_upstream "wrong vhost" "amqp://127.0.0.1:$relay_port/no-such-vhost" failed "no-such-vhost"
stop "$relay_pid"

start_relay pass "$BROKER_PORT"
bad_upstream "empty vhost" "amqp://127.0.0.1:$relay_port/" failed 'the vhost is ""'
stop "$relay_pid"

start_relay junk
bad_upstream "a server that sends junk" "amqp://127.0.0.1:$relay_port" backoff "AMQP"
stop "$relay_pid"

start_relay http
bad_upstream "a server that speaks HTTP" "amqp://127.0.0.1:$relay_port" backoff "AMQP"
stop "$relay_pid"

start_relay close
bad_upstream "a server that closes at once" "amqp://127.0.0.1:$relay_port" backoff "closed"
stop "$relay_pid"

start_relay cut "$BROKER_PORT"
bad_upstream "a broker that closes in the handshake" "amqp://127.0.0.1:$relay_port$path" backoff "closed"
stop "$relay_pid"

# short, so that it is seen between two attempts as often as within one
start_relay silent
patience=300ms bad_upstream "a server that says nothing" "amqp://127.0.0.1:$relay_port" backoff "handshake"
stop "$relay_pid"

# ---------------------------------------- a broker that is not there, and then is

start_relay pass "$BROKER_PORT"
stop "$relay_pid"
: >"$log"
start_muxd < <(muxd_conf "amqp://127.0.0.1:$relay_port$path")
check "no broker: the state becomes 'backoff'" wait_for 20 upstream_is backoff
check "no broker: the status says why" wait_for 5 status_says "refused"
check "no broker: the log says so too" log_says "refused"
checks "$PYTHON" "$here/upstream.py" backoff
start "$PYTHON" "$here/upstream.py" wait >"$scratch/waiting" 2>&1
waiting=$started
check "no broker: a client's requests wait" wait_for 20 grep -q '^waiting' "$scratch/waiting"
start_relay pass "$BROKER_PORT" "$relay_port"
check "the broker appears: the state becomes 'up'" wait_for 20 upstream_is up
reap "$waiting" 20
checks cat "$scratch/waiting"
check "the broker appears: what waited is done" equal 0 "$exit_code"
check_muxd_stops
