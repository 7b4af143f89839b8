#!/bin/bash
# A reader that never reads: what it costs its neighbour, muxd, and the messages.
#
#   tests/integration/reader.sh                     small, as in the suite
#   BROKER=rabbitmq tests/integration/reader.sh long [COUNT SIZE CALLS]
#                                                   by default 1024 messages of 1 MiB, 5000 calls at a time,
#                                                   and the neighbour's times are judged
. "$(dirname "$0")/lib.sh"
long=
if [ "${1-}" = long ]; then
  long=yes
  shift
fi
if [ -n "$long" ]; then
  count=${1:-1024} size=${2:-1048576} calls=${3:-5000} rounds=5 kinds="classic quorum limited"
  session_memory=$((64 << 20)) total_memory=$((512 << 20))
else
  count=${1:-160} size=${2:-131072} calls=${3:-200} rounds=2 kinds="classic quorum limited"
  session_memory=$((4 << 20)) total_memory=$((32 << 20))
fi
need_ipc
# What is freed is given back at once, so that the sanitizers' own memory is not taken for muxd's.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=1:malloc_context_size=1"
start_broker
start_muxd_and_wait < <(
  muxd_conf
  say 'limits {'
  say "  session-memory = \"$((session_memory >> 10))K\""
  say "  total-memory = \"$((total_memory >> 10))K\""
  say "  message-max = \"$((session_memory / 2 >> 10))K\""
  say '}'
)

muxd_value() { sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$MUXD_PID/status"; } # in kB, of VmHWM and the like
muxd_ticks() { awk '{ print $14 + $15 }' "/proc/$MUXD_PID/stat"; }
neighbour() { timeout 300 "$builddir/tests/integration/neighbour" "$calls"; }
is_at_most() { # NUMBER MOST
  [ -n "$1" ] || { echo "there is no number" && return 1; }
  awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }' || { echo "$1 is more than $2" && return 1; }
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# The reader: a session that consumes and never reads.
fall_asleep() { # QUEUE
  rm -f "$scratch/asleep.in"
  mkfifo "$scratch/asleep.in"
  exec {asleep_in}<>"$scratch/asleep.in"
  start "$PYTHON" "$here/reader.py" sleep "$1" <"$scratch/asleep.in" >"$scratch/asleep" 2>&1
  sleeper=$started
  wait_for 20 grep -q . "$scratch/asleep"
}

wake_up() {
  echo >&"$asleep_in"
  reap "$sleeper" 20
  exec {asleep_in}>&-
  wait_for 20 status_is sessions 1
}

# The memory is as high as it will be when it has stood still for a while.
settle_memory() {
  local last=-1 now same=0
  for _ in $(seq 100); do
    now=$(status_of memory.used)
    [ "$now" = "$last" ] && same=$((same + 1)) || same=0
    [ "$same" -lt 3 ] || return 0
    last=$now
    sleep 0.05
  done
}

one_round() { # KIND ROUND: a neighbour alone, and beside the reader
  local alone beside before
  alone=$(neighbour) || return 1
  fall_asleep "$1"
  beside=$(neighbour) || return 1
  say "   $1, round $2: alone $alone, beside $beside"
  echo "$alone $beside" >>"$scratch/$1.times"
  if [ "$2" = 1 ]; then
    check "$1: the reader consumes" equal asleep "$(cat "$scratch/asleep")"
    settle_memory
    before=$(muxd_ticks)
    sleep 2
    check "$1: muxd does nothing while the reader sleeps" is_at_most $(($(muxd_ticks) - before)) 4
    check "$1: its session is within session-memory" is_at_most \
      "$(muxctl --json sessions | "$PYTHON" -c 'import json, sys
print(max(session["memory_used"] for session in json.load(sys.stdin)["sessions"]))')" "$session_memory"
  fi
  wake_up
}

base=$(muxd_value VmRSS)
memory=$(status_of memory.used)
epoch=$(status_of upstreams.0.epoch)
for kind in $kinds; do
  queue=reader.$kind
  check "$kind: $count messages of $size bytes are confirmed" timeout 600 "$PYTHON" "$here/reader.py" fill "$queue" "$kind" "$count" "$size"
done
for kind in $kinds; do
  for round in $(seq "$rounds"); do
    one_round "reader.$kind" "$round" || fail "reader.$kind: the neighbour is answered"
  done
  p50=$(awk '{ printf "%.2f\n", $8 / $2 }' "$scratch/reader.$kind.times" | median)
  p99=$(awk '{ printf "%.2f\n", $10 / $4 }' "$scratch/reader.$kind.times" | median)
  say "   $kind: the neighbour beside the reader: p50 $p50, p99 $p99 times what it is alone"
  if [ -n "$long" ]; then
    check "$kind: p50 is at most 1.5 times" is_at_most "$p50" 1.5
    check "$kind: p99 is at most 2 times" is_at_most "$p99" 2
  fi
done
grown=$((($(muxd_value VmHWM) - base) << 10))
say "   muxd has grown by at most $((grown >> 20)) MiB"
check "muxd's memory stayed within session-memory, and an eighth for what lies around it" is_at_most "$grown" $((session_memory * 9 / 8 + (8 << 20)))
for kind in $kinds; do
  checks timeout 600 "$PYTHON" "$here/reader.py" drain "reader.$kind" "$count" "$size"
done
check "the epoch is the same" status_is upstreams.0.epoch "$epoch"
check "the memory is back" wait_for 20 status_is memory.used "$memory"
check_muxd_stops
