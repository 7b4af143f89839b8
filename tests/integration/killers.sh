#!/bin/bash
# Every request that is known to make a broker close the whole connection, sent
# by one session beside others: nobody else may notice.
#
#   BROKER=rabbitmq tests/integration/killers.sh [NAME...]     cases whose name holds one of these
#
# The cases are a table: killers_cases.py. What was found is in KILLERS.md.
. "$(dirname "$0")/lib.sh"
need_ipc
export USER_CHANNELS=60 BARE_USER=guest
start_broker_with_user_limit "$USER_CHANNELS"
[ "$BROKER" = rabbitmq ] || BARE_USER=limited # it knows one user
start_muxd_and_wait < <(muxd_conf "$LIMITED_URI")
leased=$(status_of upstreams.0.lanes.leased)
memory=$(status_of memory.used)
start_canary canary
checks timeout 250 "$PYTHON" "$here/killers.py" "$BROKER_PORT" "$VHOST" "$scratch/canary.in" "$scratch/canary.out" "$@"
# The broker's own: what no request asks for.
epoch=$(status_of upstreams.0.epoch)
epoch_is_past() { [ "$(status_of upstreams.0.epoch)" -gt "$1" ]; }
canary_phase canary operator
broker_close_connections >/dev/null
check "[broker's own] an operator closes the connection; there is another one" wait_for 20 epoch_is_past "$epoch"
canary_phase canary last
sings() { [ "$(canary_value canary operator rounds)" -gt 0 ]; }
check "the canary goes on" wait_for 20 sings
check_canary canary
check "all sessions are gone" wait_for 20 status_is sessions 1
check "the lanes are back" wait_for 20 status_is upstreams.0.lanes.leased "$leased"
check "the memory is back" wait_for 20 status_is memory.used "$memory"
check "nothing is unconfirmed" status_is upstreams.0.unconfirmed 0
check_muxd_stops
