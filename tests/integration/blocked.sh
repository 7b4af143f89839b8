#!/bin/bash
# The broker raises an alarm and takes no publishes, under load, for some time.
#
#   BROKER=rabbitmq tests/integration/blocked.sh [SECONDS]    default 5; the long form is 60
. "$(dirname "$0")/lib.sh"
seconds=${1:-5}
need_ipc
start_broker
# The alarm takes longer than two heartbeats: a broker that is blocked must not be taken for one that is dead.
start_muxd_and_wait < <(muxd_conf "$BROKER_URI" 'heartbeat = "2s"' 'unconfirmed-messages = 1000')

says() { grep -q "^$1" "$scratch/load"; }
tell_load() { echo "$1" >&"$load_in"; }
muxctl_shows_blocked() {
  muxctl status >"$scratch/status"
  contains "$scratch/status" blocked && contains "$scratch/status" "low on memory"
}
window_is_small() { # what muxd has under way at the broker, told by muxctl
  local under_way
  under_way=$(status_of upstreams.0.unconfirmed)
  [ "$under_way" -le 1000 ] || { echo "$under_way are unconfirmed" && return 1; }
}

epoch=$(status_of upstreams.0.epoch)
mkfifo "$scratch/load.in"
exec {load_in}<>"$scratch/load.in"
start timeout 280 "$PYTHON" "$here/blocked.py" 4 2 2000 <"$scratch/load.in" >"$scratch/load" 2>&1
load=$started
wait_for 60 says running
broker_alarm on >/dev/null
tell_load alarm
wait_for 60 says blocked
check "muxctl status shows that the broker is blocked, and why" muxctl_shows_blocked
check "what is under way stays bounded" window_is_small
sleep "$seconds"
check "muxd has kept its connection meanwhile" status_is upstreams.0.epoch "$epoch"
check "and is still blocked" upstream_is blocked
broker_alarm off >/dev/null
tell_load over
check "the upstream is up again" wait_for 20 upstream_is up
sleep 1
tell_load end
reap "$load" 120
checks grep -E '^(ok|FAILED|skipped| )|Error' "$scratch/load"
check "publishers and consumers end in order" equal 0 "$exit_code"
check "the connection is the first one" status_is upstreams.0.epoch "$epoch"
check_muxd_stops
