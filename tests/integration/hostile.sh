#!/bin/bash
# Clients that harm, and a kernel that fails: others are served all the while.
#
#   tests/integration/hostile.sh [SECONDS]      of each flood; 2 by default
. "$(dirname "$0")/lib.sh"
seconds=${1:-2}
need_ipc
ulimit -n "$(ulimit -H -n)"
start_broker
HOSTILE_HELLO=$("$PYTHON" "$here/hostile.py" hello)
export HOSTILE_HELLO
hostile_user=()
if [ "$(id -u)" = 0 ]; then
  hostile_user=(env HOSTILE_UID=50001)
  chmod 0711 "$scratch"
fi

config() { # [LIMIT-LINE...]
  muxd_conf
  say 'socket-mode = "0666"'
  say 'limits {'
  printf '  %s\n' "$@"
  say '}'
}
hostile() { "${hostile_user[@]}" timeout 120 "$PYTHON" "$here/hostile.py" "$@"; }
flood() { "${hostile_user[@]}" timeout 120 "$builddir/tests/integration/hostile" "$@"; }
log_lines() { wc -l <"$scratch/muxd.log"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$MUXD_PID/stat"; }
descriptors() { find "/proc/$MUXD_PID/fd" -maxdepth 1 -type l | wc -l; }
is_at_most() { [ "$1" -le "$2" ] || { echo "$1 is more than $2" && return 1; }; }
is_left() { # SESSIONS
  status_is sessions "$1"
}

# Others than the hostile user come in at once, even while it floods.
newcomer() {
  [ "${#hostile_user[@]}" -gt 0 ] || { skip "somebody else gets in: $1" "root is needed to be two users" && return; }
  check "somebody else gets in: $1" muxctl --timeout 20s publish -e amq.fanout -r x hello
}

# The largest gap between two rounds of the canary: a bound that a loaded machine keeps.
steady() { # PHASE
  phase_has_ended() { [ -n "$(canary_value canary "$1" gap_ms)" ]; }
  canary_phase canary .
  wait_for 20 phase_has_ended "$1" || { fail "the canary sings on: $1" && return; }
  say "$1: largest gap $(canary_value canary "$1" gap_ms) ms, $(canary_value canary "$1" rate)"
  check "the canary sings on: $1" awk -v g="$(canary_value canary "$1" gap_ms)" 'BEGIN { exit !(g <= 5000) }'
}

# KIND [ARGUMENT]: one that ends by itself
passing() {
  canary_phase canary "$1"
  checks hostile "$@"
  newcomer "$1"
  steady "$1"
}

# KIND [ARGUMENT]: one that stays until it is told
staying() {
  canary_phase canary "$1"
  start_dialog "$1" 'ready*' "${hostile_user[@]}" "$PYTHON" "$here/hostile.py" "$@"
  newcomer "$1"
  canary_phase canary "$1-stays"
  sleep 1 # that much of the canary's song beside it
  steady "$1-stays"
  check "$1: it is still there at the end" tell "$1" go
  stop "${dialog_pid[$1]}"
}

# ------------------------------------------------------------------ floods

start_muxd_and_wait < <(config 'sessions-per-uid = 300' 'total-memory = "48M"' 'session-memory = "32M"' \
  'message-max = "16M"')
start_canary canary
sessions=$(status_of sessions)
handles=$(descriptors)
before=$(log_lines)
for kind in connect half hello greeted; do
  canary_phase canary "$kind"
  flood "$kind" "$seconds" 4 >"$scratch/flood" 2>&1 &
  flooder=$!
  newcomer "$kind"
  wait "$flooder"
  say "$(cat "$scratch/flood")"
  check_not "nobody's connection fails: $kind" grep -qv ' 0 failed$' "$scratch/flood"
  steady "$kind"
done
canary_phase canary fork
flood hold "$seconds" 500 >"$scratch/flood" 2>&1 &
flooder=$!
newcomer fork
wait "$flooder"
say "500 processes, $(cat "$scratch/flood")"
steady fork
check_not "sessions-per-uid bites" grep -q ' 0 refused' "$scratch/flood"
check "the log says which limit, and of whom" grep -q 'sessions-per-uid is 300, and uid' "$scratch/muxd.log"
grep -v ' debug: ' "$scratch/muxd.log" >"$scratch/notable"
check "a flood of refusals does not flood the log" is_at_most "$(wc -l <"$scratch/notable")" 150
check "all that came have left" wait_for 20 is_left "$sessions"

# ------------------------------------------------------------------ one by one

passing silent 100
staying half-frames 100
passing bytewise 50
passing huge 40
# the log says only so much about one user: another one, or until it may say more
if [ "${#hostile_user[@]}" -gt 0 ]; then hostile_user=(env HOSTILE_UID=50002); else sleep 10; fi
passing deaf 20
check "the log says why" contains "$scratch/muxd.log" "more than 256 unanswered requests"
staying channels 5
passing large $((16 << 20))
staying hoard
staying greedy $((1 << 20))
check "all that came have left" wait_for 20 is_left "$sessions"
few_handles() { is_at_most "$(descriptors)" $((handles + 2)); }
check "and their descriptors are closed" wait_for 20 few_handles
check "nobody's mistake cost a connection" status_is upstreams.0.epoch 1
check_canary canary
check_muxd_stops

[ -z "${MUXD_UNDER-}" ] || {
  skip "no descriptors are left, and accept4() fails" "a muxd in the sandbox is started by systemd, not by us"
  exit 0
}

# ------------------------------------------------------------------ no descriptors left

ulimit -S -n 4096
config 'sessions-per-uid = 10000' >"$scratch/muxd.conf"
start bash -c 'ulimit -n 120 && exec "$0" "$@"' "$builddir/daemon/muxd" -c "$scratch/muxd.conf" </dev/null 2>>"$scratch/muxd.log"
MUXD_PID=$started
up() { upstream_is up; }
wait_for 20 up
start_canary first
start_dialog fill 'ready*' "${hostile_user[@]}" "$PYTHON" "$here/hostile.py" fill
say "$greeting"
check "who comes when no descriptors are left waits" contains <(say "$greeting") "no answer"
check "some are kept in reserve" is_at_most "$(descriptors)" 92
check "one line of the log tells it" equal 1 "$(grep -c 'all descriptors are in use' "$scratch/muxd.log")"
began=$(ticks)
canary_phase first emfile
sleep 2 # for which muxd has hardly anything to do
used=$(($(ticks) - began))
check "muxd does not spin meanwhile" is_at_most "$used" 150
broker_close_connections >/dev/null
check "it comes back to the broker, for which there are descriptors" wait_for 20 grep -q 'epoch 2$' "$scratch/muxd.log"
stop "${dialog_pid[fill]}" KILL
check "and serves whoever waited" muxctl --timeout 20s ping
check_canary first
check_muxd_stops

# ------------------------------------------------------------------ a kernel that fails

command -v "${CC:-cc}" >/dev/null || {
  skip "accept4() fails" "there is no compiler"
  exit 0
}
"${CC:-cc}" -shared -fPIC -o "$scratch/faulty.so" "$here/faulty.c" -ldl || exit 1
config >"$scratch/muxd.conf"
start env LD_PRELOAD="$scratch/faulty.so" FAULTY_FILE="$scratch/faulty" \
  ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0" \
  "$builddir/daemon/muxd" -c "$scratch/muxd.conf" </dev/null 2>>"$scratch/muxd.log"
MUXD_PID=$started
wait_for 20 up
start_canary second
for error in 'ENOMEM 12' 'ENFILE 23' 'ENOBUFS 105' 'ECONNABORTED 103' 'EPROTO 71'; do
  canary_phase second "${error% *}"
  say "${error#* }" >"$scratch/faulty"
  muxctl --timeout 20s ping >"$scratch/ping" 2>&1 &
  pinger=$!
  began=$(ticks)
  sleep 1 # what it costs to be refused for so long
  used=$(($(ticks) - began))
  check "${error% *} of accept(): muxd does not spin" is_at_most "$used" 80
  rm "$scratch/faulty"
  wait "$pinger"
  check "and who waited is served" equal 0 $?
done
check_canary second
check_muxd_stops
