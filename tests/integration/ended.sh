#!/bin/bash
# What ends a consumer or a channel reaches that one alone: the broker's cancel and consumer_timeout,
# messages too large or too many for memory.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
memory=$((4 << 20))

# It looks for consumers that are late once in so many milliseconds.
short_timeouts() {
  rabbitmq_ctl eval 'application:set_env(rabbit, consumer_timeout, 2000), application:set_env(rabbit, channel_tick_interval, 1000).'
}
long_timeouts() {
  rabbitmq_ctl eval 'application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, 60000).'
}

limited_conf() { # MEMORY TOTAL
  muxd_conf
  say 'limits {'
  say "  session-memory = \"$(($1 >> 10))K\""
  say "  total-memory = \"$(($2 >> 10))K\""
  say "  message-max = \"$(($1 / 2 >> 10))K\""
  say '}'
}

# Two of them, so that one session may publish what the other's may not have.
start_muxd_and_wait < <(limited_conf $((2 * memory)) $((64 << 20)))
large_pid=$MUXD_PID large_socket=$MUXD_SOCKET
export MUXD_SOCKET=$scratch/small.sock SMALL_SOCKET=$scratch/small.sock
start_muxd_and_wait < <(limited_conf "$memory" $((12 << 20)))
epoch=$(status_of upstreams.0.epoch)

checks env MUXD_SOCKET="$large_socket" timeout 120 "$PYTHON" "$here/ended.py" ends "$memory"
checks timeout 120 "$PYTHON" "$here/ended.py" crowd 8
check "the connection is the first one" status_is upstreams.0.epoch "$epoch"
check "so is that of the other muxd" env MUXD_SOCKET="$large_socket" "$builddir/client/muxctl" ping
check_muxd_stops
MUXD_PID=$large_pid MUXD_SOCKET=$large_socket
check "the connection of the other muxd is the first one" status_is upstreams.0.epoch 1
check_muxd_stops

if [ "$BROKER" = rabbitmq ]; then
  check "the broker's timeout is short" short_timeouts
  start_muxd_and_wait < <(muxd_conf)
  checks timeout 120 "$PYTHON" "$here/ended.py" timeout 2
  check "the connection is the first one" status_is upstreams.0.epoch 1
  check_muxd_stops
  check "the broker's timeout is long again" long_timeouts
else
  skip "consumer_timeout" "the test broker has none"
fi
