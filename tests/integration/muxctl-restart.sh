#!/bin/bash
# muxctl publish -l and consume go on when muxd is killed, drained and started
# again: no line is lost, and what comes twice is marked. The other commands end
# at once without muxd. Signals, deadlines, and the sums of what went wrong.
. "$(dirname "$0")/lib.sh"
start_broker
muxd_conf >"$scratch/conf"
start_muxd_and_wait <"$scratch/conf"
binary=$builddir/client/muxctl

kill_muxd() {
  kill -KILL "$MUXD_PID"
  reap "$MUXD_PID" 20
}

drain_muxd() {
  muxctl drain && reap "$MUXD_PID" 20
}

# KIND...: as many restarts, each when messages have gone on since the one before
restarts() {
  local kind
  undone=
  for kind; do
    goes_on || undone="$undone before $kind"
    "${kind}_muxd"
    start_muxd_and_wait <"$scratch/conf"
  done
  goes_on || undone="$undone at the end"
}

grows() { [ "$(sizes)" -gt "$size_before" ]; }
goes_on() {
  size_before=$(sizes)
  wait_for 20 grows
}

# Not by muxctl(), so that signals hit it; bash starts what is in the background with SIGINT ignored.
muxctl_bg() { # ARG... <INPUT >OUTPUT
  start env --default-signal=INT "$binary" "$@" 2>"$scratch/muxctl.log"
  muxctl_pid=$started
}

# The same from the named pipe, which is opened there: it would hold us up.
muxctl_from_pipe() { # ARG... >OUTPUT
  start sh -c 'pipe=$0 && exec env --default-signal=INT "$@" <"$pipe"' "$scratch/pipe" "$binary" "$@" \
    </dev/null 2>"$scratch/muxctl.log"
  muxctl_pid=$started
}

# What a queue has: FILE gets a message each, "BODY" or "BODY again" if it is marked
take() { # QUEUE
  muxctl --json get "$1" -n 1000000 | "$PYTHON" -c '
import json, sys
for line in sys.stdin:
    j = json.loads(line)
    print(j["body"] + (" again" if "x-muxd-resent" in j["properties"].get("headers", {}) else ""))'
}

# ------------------------------------------------------------------ publishing

# Lines go into a pipe a few at a time, for as long as the file `go` is there.
write_lines() {
  local n=0
  while [ -e "$scratch/go" ]; do
    seq $((n + 1)) $((n + 20))
    n=$((n + 20))
    echo $n >"$scratch/written"
    sleep 0.002
  done
}
sizes() { muxctl --json declare queue lines --passive | sed -n 's/.*"messages": \([0-9]*\),/\1/p'; }

every_line() { # COUNT: each once unmarked, or marked ones beside it
  "$PYTHON" -c '
import sys
once, again = set(), set()
for line in open(sys.argv[1]):
    body, _, mark = line.strip().partition(" ")
    if mark: again.add(body); continue
    if body in once: sys.exit("line %s is there twice, unmarked" % body)
    once.add(body)
lost = [str(n) for n in range(1, int(sys.argv[2]) + 1) if str(n) not in once | again]
if lost: sys.exit("%d lines are lost: %s ..." % (len(lost), lost[:10]))
print("%d lines, %d of them marked" % (len(once | again), len(again)))' "$scratch/taken" "$1"
}

says() { # LINE...: on stderr, and nothing else
  printf '%s\n' "$@" | cmp "$scratch/muxctl.log" - || { cat "$scratch/muxctl.log" && return 1; }
}

muxctl declare queue lines --durable >/dev/null
mkfifo "$scratch/pipe"
touch "$scratch/go"
muxctl_from_pipe --json publish -l -m -p -r lines >"$scratch/out"
write_lines >"$scratch/pipe" &
writer=$!
restarts kill drain kill drain kill
check "lines go on through kills and drains of muxd" equal "" "$undone"
rm "$scratch/go"
wait "$writer"
count=$(cat "$scratch/written")
reap "$muxctl_pid" 60
check "publish -l is content" equal 0 "$exit_code"
check "all lines are confirmed" grep -q "\"published\": *$count, *\"confirmed\": *$count,.*\"unknown\": *0" "$scratch/out"
take lines >"$scratch/taken"
check "none is lost, and none is there twice unmarked" every_line "$count"
every_line "$count"
# after a drain the next muxd may be there at once, and then nothing is said
check "it says each time that it waits, and when it goes on" test "$(grep -c 'muxd is gone; waiting' "$scratch/muxctl.log")" -ge 3 \
  -a "$(grep -c 'muxd is gone; waiting' "$scratch/muxctl.log")" -eq "$(grep -c 'muxd is back' "$scratch/muxctl.log")"
check_not "and nothing else" grep -v -e 'publish: muxd is gone; waiting until it is back$' -e 'publish: muxd is back' "$scratch/muxctl.log"

# A pipe that is slow, or whose writer waits.
hold() { # ARG...: muxctl publish -l with its stdin held open by us
  muxctl_from_pipe "$@" >"$scratch/out"
  exec {pipe}>"$scratch/pipe"
}
let_go() { exec {pipe}>&-; }
lines_has() { equal "$1" "$(sizes)"; }

hold --quiet publish -l -r lines
echo before >&"$pipe"
wait_for 20 lines_has 1
kill_muxd
echo meanwhile >&"$pipe"
let_go
start_muxd_and_wait <"$scratch/conf"
reap "$muxctl_pid" 60
check "who writes while muxd is away, and ends, has all of it published" equal 0 "$exit_code"
check "each line" equal "before meanwhile" "$(take lines | xargs)"
check "--quiet says nothing of it" equal "" "$(cat "$scratch/muxctl.log")"

hold --timeout 3s publish -l -r lines
echo before >&"$pipe"
wait_for 20 lines_has 1
kill_muxd
reap "$muxctl_pid" 60
let_go
check "with --timeout it does not wait longer: exit code 4" equal 4 "$exit_code"
check "and it is said who is away" contains "$scratch/muxctl.log" "muxd has not come back; start it"
start_muxd_and_wait <"$scratch/conf"

for signal in TERM INT HUP; do
  muxctl purge lines >/dev/null
  hold publish -l -r lines
  printf 'one\ntwo\nhal' >&"$pipe"
  wait_for 20 lines_has 2
  stop "$muxctl_pid" "$signal" || fail "publish -l ends by SIG$signal"
  let_go
  check "SIG$signal ends publish -l, and its parent sees that" equal $((128 + $(kill -l $signal))) "$exit_code"
  check "it says how far it came" contains "$scratch/muxctl.log" "line 2 is the last that was published"
  check "half a line is none" lines_has 2
done
muxctl purge lines >/dev/null
hold publish -l -r lines
echo one >&"$pipe"
wait_for 20 lines_has 1
kill_muxd
check "it waits" wait_for 20 contains "$scratch/muxctl.log" "waiting"
stop "$muxctl_pid" || fail "publish -l ends by SIGTERM while muxd is away"
let_go
check "SIGTERM also ends it while muxd is away" equal 143 "$exit_code"

# ------------------------------------------------------------- the other ones

for command in ping "publish -r lines x" "publish -l -r lines" "get lines" "consume lines" status drain; do
  # shellcheck disable=SC2086 # words on purpose
  muxctl $command </dev/null >"$scratch/out" 2>"$scratch/err"
  check "without muxd: $command: 3, at once" equal 3 "$?"
  check "with what to do" contains "$scratch/err" "start muxd"
done
start_muxd_and_wait <"$scratch/conf"
{
  wait_for 20 test -e "$scratch/go-on"
  echo body
} | muxctl publish -r lines 2>"$scratch/err" &
single=$!
kill_muxd
start_muxd_and_wait <"$scratch/conf"
touch "$scratch/go-on"
wait "$single"
check "a body that is still read when muxd is restarted is published" equal "0 " "$? $(cat "$scratch/err")"

# ------------------------------------------------------------------- consuming

muxctl purge lines >/dev/null
consumed_all() { # each number up to COUNT is in the output
  "$PYTHON" -c '
import sys
got = open(sys.argv[1]).read().split()
lost = set(map(str, range(1, int(sys.argv[2]) + 1))) - set(got)
if lost: sys.exit("%d are lost: %s ..." % (len(lost), sorted(lost)[:10]))
print("%d messages, %d came again" % (len(set(got)), len(got) - len(set(got))))' "$scratch/consumed" "$1"
}
sizes() { wc -c <"$scratch/consumed"; }
consume_through() { # ARG...: while lines are published by another muxctl, through kills and drains
  : >"$scratch/consumed"
  muxctl_bg consume lines "$@" </dev/null >"$scratch/consumed"
  touch "$scratch/go"
  write_lines | muxctl --quiet publish -l -p -r lines &
  writer=$!
  restarts kill drain kill drain
  check "messages go on through kills and drains of muxd" equal "" "$undone"
  rm "$scratch/go"
  wait "$writer" || fail "what is to be consumed is published"
  count=$(cat "$scratch/written")
  check "all that was published comes" wait_for 60 consumed_all "$count"
  stop "$muxctl_pid"
  check "consume ends cleanly" equal 0 "$exit_code"
  consumed_all "$count"
  check "everything was acknowledged" equal 0 "$(muxctl purge lines)"
}
consume_through
check "it says that it waits, and when it goes on" contains "$scratch/muxctl.log" "consume: muxd is back"
consume_through --prefetch 10 -- sh -c 'read -r line; echo "$line"'

# Of a count are taken just so many, though muxd is lost when the last ones are there, and the consumer has ended.
seq 5 | muxctl publish -l -r lines
muxctl_bg consume lines -n 3 --prefetch 3 -- sh -c 'read -r line; echo "$line"
  [ "$line$MUXCTL_REDELIVERED" != 20 ] || until [ -e "$0" ]; do sleep 0.02; done' "$scratch/go" </dev/null >"$scratch/consumed"
check "a command is at work on the second of three" wait_for 20 grep -qx 2 "$scratch/consumed"
kill_muxd
check "consume waits" wait_for 20 contains "$scratch/muxctl.log" "waiting"
start_muxd_and_wait <"$scratch/conf"
touch "$scratch/go"
reap "$muxctl_pid" 60
rm "$scratch/go"
check "and is content at the end" equal 0 "$exit_code"
check "the second is done again, and the third is done" equal "1 2 2 3" "$(xargs <"$scratch/consumed")"
check "those behind them are still there" equal "4 5" "$(muxctl get lines -n 5 | xargs)"

muxctl_bg consume lines </dev/null >"$scratch/consumed"
consuming() { muxctl --json sessions | grep -q '"consumers": 1'; }
wait_for 20 consuming
kill_muxd
wait_for 20 contains "$scratch/muxctl.log" "waiting"
stop "$muxctl_pid"
check "SIGTERM ends consume while muxd is away: 0" equal 0 "$exit_code"
start_muxd_and_wait <"$scratch/conf"
muxctl_bg --timeout 3s consume lines </dev/null >"$scratch/consumed"
wait_for 20 consuming
kill_muxd
reap "$muxctl_pid" 60
check "with --timeout consume does not wait longer: 4" equal 4 "$exit_code"
start_muxd_and_wait <"$scratch/conf"
muxctl declare queue gone --auto-delete >/dev/null
muxctl_bg consume gone </dev/null >"$scratch/consumed"
wait_for 20 consuming
kill_muxd
check "its queue is gone with the consumer" wait_for 20 connections_are 0
start_muxd_and_wait <"$scratch/conf"
reap "$muxctl_pid" 60
check "a consumer whose queue went meanwhile ends: 1" equal 1 "$exit_code"
check "with the broker's reason" contains "$scratch/muxctl.log" "AMQP 404"

# ------------------------------------------------------------------- the sums

# LINES EXIT-CODE JSON-PART ARG...: publish -l of so many lines
sums() {
  local lines=$1 code=$2 part=$3
  shift 3
  seq "$lines" | muxctl --json publish -l "$@" >"$scratch/out" 2>"$scratch/err"
  equal "$code" "$?" && contains <(tr -d ' ' <"$scratch/out") "$part"
}

muxctl declare queue few -a x-max-length=3 -a x-overflow=reject-publish >/dev/null
check "what the broker refuses is counted" sums 10 1 '"published":10,"confirmed":3,"returned":0,"nacked":7,"failed":0,"unknown":0,"resent":0' -r few
check "and told" contains "$scratch/err" "the broker has refused it"
check "with the sum" contains "$scratch/err" "3 of 10 messages were confirmed"
check "what is returned is counted" sums 30 1 '"published":30,"confirmed":0,"returned":30,' -m -r nowhere
check "ten are told, and how many there are more" contains "$scratch/err" "and 20 more"
check "with the sum" contains "$scratch/err" "0 of 30 messages were confirmed"
check "without -m a message that goes nowhere is confirmed, as the broker does" sums 30 0 '"confirmed":30,"returned":0,' -r nowhere
check "what has failed is counted" sums 3 1 '"confirmed":0,' -e nowhere -r x
check_muxd_stops
