#!/bin/bash
# Clients that send frames at random, beside a canary.
#
#   [SEED=N] BROKER=rabbitmq tests/integration/random.sh [SECONDS [CLIENTS]]     default 12, 3; the long run: 600
. "$(dirname "$0")/lib.sh"
seconds=${1:-12} clients=${2:-3} seed=${SEED:-1}
need_ipc
start_broker
start_muxd_and_wait < <(muxd_conf)
leased=$(status_of upstreams.0.lanes.leased)
memory=$(status_of memory.used)
[ -n "${WILD-}" ] || [ "$BROKER" = testbroker ] || "$PYTHON" "$here/random_client.py" prepare || exit 1
start_canary canary
canary_phase canary random
start "$PYTHON" "$here/bare.py" "$BROKER_PORT" "$VHOST" </dev/null >"$scratch/bare" 2>"$scratch/bare.log"
bare=$started
mad=()
for number in $(seq "$clients"); do
  start "$PYTHON" "$here/random_client.py" "$((seed * 1000 + number))" "$seconds" </dev/null \
    >"$scratch/client-$number.out" 2>"$scratch/client-$number.log"
  mad+=("$started")
done
for pid in "${mad[@]}"; do
  reap "$pid" $((seconds + 60))
  check "a client gone mad comes to its end (seed $seed)" equal 0 "$exit_code"
done
canary_phase canary behind
check "so does who asks the broker without muxd" stop "$bare"
epoch=$(status_of upstreams.0.epoch)
check_canary canary

counted() { awk -v field="$1" '{ for (i = 1; i < NF; i++) if ($i == field) n += $(i + 1) } END { print n + 0 }' "$scratch"/client-*.out; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }' || { echo "$1 is more than $2" && return 1; }; }
sent=$(counted sent) answered=$(counted answered)
say "$sent frames in $seconds s, $answered answered by the broker, $(counted sessions) sessions," \
  "$(counted channels-failed) channels failed, $((epoch - 1)) connections lost, $(counted quarantined) quarantined"
# None of them goes on faster than the machine and the broker do.
rounds=$(canary_value canary random rounds)
check "four frames or more were sent for each round of the canary" at_most $((4 * rounds)) "$sent"
# In a short run the share of what is refused at once is a matter of chance.
share=$((seconds < 60 ? 20 : 30)) asked=$(cat "$scratch/bare")
if [ "$seconds" -lt 60 ] && [ "$asked" -gt 500 ]; then # so is that of what a busy broker has not answered yet
  check "the broker had one or more of them for each round" at_most "$rounds" "$answered"
else
  check "the broker had at least $share % of them" at_most $((share * sent)) $((100 * answered))
fi
most=$((2000 + asked))
check "the canary's largest gap is at most $most ms, 2 s more than without muxd" at_most "$(canary_value canary random gap_ms)" "$most"
check "all sessions are gone" wait_for 20 status_is sessions 1
check "the lanes are back" wait_for 20 status_is upstreams.0.lanes.leased "$leased"
check "the memory is back" wait_for 20 status_is memory.used "$memory"
check "nothing is unconfirmed" status_is upstreams.0.unconfirmed 0
check_muxd_stops
