#!/bin/bash
# Brokers that allow less than muxd would like: few channels, small frames, a limit for the user.
. "$(dirname "$0")/lib.sh"
need_ipc

# ------------------------------------------------------------------ in the handshake

start_broker_with_limits 10 4096
start_muxd_and_wait < <(muxd_conf)
check "channel_max is honoured" status_is upstreams.0.lanes.max 10
muxctl declare queue "$name" >/dev/null
head -c 100000 /dev/zero | tr '\0' x >"$scratch/body"
check "a body of 100,000 bytes goes through frames of 4096" muxctl publish -r "$name" <"$scratch/body"
check "and comes back whole" cmp "$scratch/body" <(muxctl get "$name")
check_not "properties that do not fit into a frame are refused" muxctl publish -r "$name" -H "a=$(head -c 5000 "$scratch/body")" x
muxctl delete queue "$name" >/dev/null
checks "$PYTHON" "$here/limits.py" pinned
check "the connection is the first one" status_is upstreams.0.epoch 1
check_muxd_stops
[ -z "${broker_pid-}" ] || stop "$broker_pid"
[ -z "${own_limits-}" ] || rabbitmq_offer 2047 131072

# ------------------------------------------------------------------ of the user

start_broker_with_user_limit 5
start_muxd_and_wait < <(muxd_conf "$LIMITED_URI" 'warm-lanes = 2')
checks "$PYTHON" "$here/limits.py" crowd
check "a channel more than the user may open costs one connection" status_is upstreams.0.epoch 2
check "and is learned" status_is upstreams.0.lanes.max 5
checks "$PYTHON" "$here/limits.py" crowd
checks "$PYTHON" "$here/limits.py" consumers
check "no more than the one" status_is upstreams.0.epoch 2
broker_close_connections >/dev/null
newer() { upstream_is up && status_is upstreams.0.epoch 3; }
check "the broker closes the connection, and the next one comes up" wait_for 20 newer
checks "$PYTHON" "$here/limits.py" crowd
checks "$PYTHON" "$here/limits.py" consumers
check "the limit is known to it" status_is upstreams.0.epoch 3
check_muxd_stops
