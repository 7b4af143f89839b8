#!/bin/bash
# muxd is killed and started again, and replaced in order, under load: every
# message is accounted for (tests/e2e/account.c), and no client sees an error.
# As a command of its own, with so many of both:
#
#   BROKER=rabbitmq tests/integration/restart.sh 50 50
. "$(dirname "$0")/lib.sh"
kills=${1-5} drains=${2-5} rate=${RATE-600} gap=150
sessions=200

start_broker
muxd_conf >"$scratch/conf"
start_muxd_and_wait <"$scratch/conf"

again() { start_muxd_and_wait <"$scratch/conf" && account back; }

kill_muxd() {
  kill -KILL "$MUXD_PID"
  reap "$MUXD_PID" 20
  again
}

drain_muxd() {
  stop "$MUXD_PID" && equal "0" "$exit_code" && again
}

run_round() { # KIND
  account "fault $1" && "$1_muxd" && account "settle 60" && account "run $gap 60"
}

# --------------------------------------------------------------------- account

start_dialog account ready "$builddir/tests/e2e/account" -q "restart.$$" -s "${SEED-1}" -r "$rate" -w 100000
undone=0
for ((round = 0; round < kills + drains; round++)); do
  kind=drain
  [ "$round" -ge "$kills" ] || kind=kill
  run_round $kind >"$scratch/round.out" 2>&1 || {
    undone=$((undone + 1))
    sed "s/^/    $kind $round: /" "$scratch/round.out"
  }
done
check "$kills times muxd was killed, $drains times stopped in order, and messages went on each time" equal 0 "$undone"
end_dialog account 60
checks report_is_good account "$exit_code"

# ----------------------------------------------------------------- many sessions

# LINE: when muxd logged it last, in ms. (Its end is seen late from outside the sandbox.)
logged() {
  local at
  at=$(sed -n "s/ notice: $1\$//p" "$scratch/muxd.log" | tail -n 1)
  [ -n "$at" ] && date -d "$at" +%s%3N
}

start_dialog attached ready "$builddir/tests/integration/attached" "$sessions"
check_muxd_stops
took=$(($(logged 'muxd has ended') - $(logged 'Terminated: muxd leaves')))
say "muxd ended $took ms after SIGTERM, with $sessions sessions"
check "a drain with $sessions sessions ends within 2 s" test "$took" -lt 2000
check "they know that muxd is gone, or was left" tell attached gone
start_muxd_and_wait <"$scratch/conf"
check "all of them come back" tell attached back
check "each has its consumer, and gets what it publishes" tell attached publish
printf 'end\n' >&"${dialog_in[attached]}"
reap "${dialog_pid[attached]}" 60
check "and they end in order" equal 0 "$exit_code"
check_muxd_stops
