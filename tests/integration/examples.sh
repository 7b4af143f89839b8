#!/bin/bash
# The programs of client/examples/ do what their heads say.
. "$(dirname "$0")/lib.sh"
examples=$builddir/client/examples
start_broker
# A short heartbeat, which the broker would miss if it were the worker's to send.
muxd_conf "$BROKER_URI" 'heartbeat = "1s"' >"$scratch/conf"
start_muxd_and_wait <"$scratch/conf"

example() { # NAME ARGUMENT...
  local program=$1
  shift
  timeout 60 "$examples/$program" "$@"
}

# EXIT-CODE COMMAND...: its output is in $scratch/out
ends_with() {
  local code=$1 got
  shift
  "$@" >"$scratch/out" 2>&1
  got=$?
  equal "exit code $code" "exit code $got" || { cat "$scratch/out" && return 1; }
}

# NAME PROGRAM ARGUMENT...: runs beside us, says what it does in $scratch/NAME.out; its pid is in $started
start_example() {
  local log=$1 program=$2
  shift 2
  start "$examples/$program" "$@" </dev/null >"$scratch/$log.out" 2>"$scratch/$log.log"
}

says() { grep -q -- "$2" "$scratch/$1.out"; } # NAME PATTERN
declare_queue() { muxctl declare queue "$@" >/dev/null || exit 1; }
holds() { # QUEUE NUMBER: so many messages that wait for a consumer
  equal "$2" "$(muxctl --json declare queue "$1" --passive --durable | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["messages"])')"
}

# SENTENCE EXIT-CODE COMMAND...: a stop or a reap, which is not for a subshell
check_end() {
  local sentence=$1 code=$2 late="in time"
  shift 2
  "$@" || late="killed after a while"
  check "$sentence" equal "in time, exit code $code" "$late, exit code $exit_code"
}

# -------------------------------------------------------- publish, consume

declare_queue simple --durable
check "publish says that the broker has it" equal confirmed "$(example publish simple hello)"
check "consume prints it" equal hello "$(example consume simple 1)"
check "and has acknowledged it" holds simple 0
check "publish fails where there is no queue" ends_with 1 example publish nowhere hello

# ------------------------------------------------------------- web-publish

# EXIT-CODE WORD: again and again, each time with 5 ms. The machine may take its time, but not as long as any
# default of the library; at least once the time must be kept. How many there were is in $scratch/tries.
in_time() {
  local code=$1 word=$2 kept="" slowest=0 msec try
  for try in {1..100}; do
    [ "$try" -le 5 ] || [ -z "$kept" ] || break
    say "$try" >"$scratch/tries"
    ends_with "$code" example web-publish web "$try" || return 1
    msec=$(sed -n "s/^$word in \([0-9]*\)\.[0-9]* ms.*/\1/p" "$scratch/out")
    [ -n "$msec" ] || { echo "it does not say '$word':" && cat "$scratch/out" && return 1; }
    [ "$msec" -gt 10 ] || kept=once
    [ "$msec" -le "$slowest" ] || slowest=$msec
  done
  [ -n "$kept" ] && [ "$slowest" -lt 900 ] && return 0
  echo "it took up to $slowest ms; in 10 ms it was back ${kept:-never}"
  return 1
}
tries() { cat "$scratch/tries"; }
declare_queue web --durable
check "web-publish publishes, if the broker answers in time" ends_with 0 example web-publish web hello 20000
check "and says so" grep -q '^confirmed in [0-9.]* ms$' "$scratch/out"
check "the message is there" equal hello "$(muxctl get web)"
check "it says when there is no such queue" ends_with 1 example web-publish nowhere hello 20000
check "and why it was refused" contains "$scratch/out" "there is no such queue"

kill -STOP "$MUXD_PID"
check "it is back in time when muxd hangs" in_time 3 queued
kill -CONT "$MUXD_PID"
check "and what it said was queued arrives" wait_for 20 holds web "$(tries)"
muxctl purge web >/dev/null

broker_alarm on >/dev/null
example web-publish web first >/dev/null # RabbitMQ tells only those who publish
check "the broker takes nothing" wait_for 20 upstream_is blocked
check "web-publish is back in time all the same" in_time 3 queued
broker_alarm off >/dev/null
check "and what it said was queued arrives, too" wait_for 20 holds web $(($(tries) + 1))

no_muxd() { MUXD_SOCKET=$scratch/nothing in_time 1 refused && contains "$scratch/out" "is it running?"; }
check "it says at once when no muxd runs" no_muxd
start "$PYTHON" -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(0)
first = socket.socket(socket.AF_UNIX)
first.connect(sys.argv[1])
print("full", flush=True)
sys.stdin.read()' "$scratch/full" <>"$scratch/broker.in" >"$scratch/full.out"
wait_for 20 grep -q full "$scratch/full.out"
full_backlog() { MUXD_SOCKET=$scratch/full in_time 1 refused; }
check "and is back in time when muxd accepts nobody" full_backlog
stop "$started"

# ------------------------------------------------------------------ worker

declare_queue jobs --durable
start_example worker1 worker jobs 0.5 && worker1=$started
start_example worker2 worker jobs 0.5 && worker2=$started
seq -f 'job %g' 1 6 | muxctl publish -l -r jobs >/dev/null
check "two workers share a queue" wait_for 20 says worker1 begins
check "so both have something to do" wait_for 20 says worker2 begins
in_hand() { [ "$(grep -c begins "$scratch/$1.out")" -gt "$(grep -c done "$scratch/$1.out")" ]; }
check "one is killed in the middle of a job" wait_for 20 in_hand worker1
kill -KILL "$worker1"
reap "$worker1" 20
lost=$(sed -n 's/^begins: \(job [0-9]\).*/\1/p' "$scratch/worker1.out" | tail -n 1)
check "its job is given to the other, marked" wait_for 20 says worker2 "^begins: $lost (again)$"
all_done() { equal "$(seq -f 'done: job %g' 1 6)" "$(cat "$scratch"/worker[12].out | grep done | sort -u)"; }
check "and all jobs are done" wait_for 20 all_done
printf '%s\n' last later | muxctl publish -l -r jobs >/dev/null
check "the worker begins another job" wait_for 20 says worker2 "^begins: last$"
check_end "SIGTERM ends it" 0 stop "$worker2"
check "but not before the job in hand was done" says worker2 "^done: last$"
check_not "nor does it begin the next one" says worker2 later
check "which is left in the queue, and nothing else" equal later "$(muxctl get jobs -n 9)"

epoch=$(status_of upstreams.0.epoch)
start_example worker3 worker jobs 4 && worker3=$started
muxctl publish -r jobs long >/dev/null
check "a job may take longer than two heartbeats" wait_for 20 says worker3 "^done: long$"
check_end "the worker leaves" 0 stop "$worker3"
check "the job was acknowledged" ends_with 5 muxctl get jobs
check "the broker has not closed the connection" status_is upstreams.0.epoch "$epoch"

# ----------------------------------------------------------------- prefork

start_example prefork prefork requests answers 3 && prefork=$started
children_said() { equal "$1" "$(grep -c 'of the parent.s connection: this connection was made before fork' "$scratch/prefork.out")"; }
check "each of three children is told that the parent's connection is not its own" wait_for 20 children_said 3
# the parent's, the children's, and muxctl's own
check "each has a session of its own" wait_for 20 status_is sessions 5
seq 1 30 | muxctl publish -l -r requests >/dev/null
muxctl consume answers -n 30 >"$scratch/answers"
check "together they answer all requests" equal "$(seq 1 30)" "$(sed 's/.*: //' "$scratch/answers" | sort -n)"
check "more than one of them" test "$(sed 's/:.*//' "$scratch/answers" | sort -u | wc -l)" -gt 1
first_child=$(sed -n 's/^child \([0-9]*\),.*/\1/p' "$scratch/prefork.out" | head -n 1)
kill -KILL "$first_child"
check "one that is killed is replaced" wait_for 20 children_said 4
check "and its session is gone" wait_for 20 status_is sessions 5
muxctl publish -r requests more >/dev/null
check "and requests are answered" grep -q ': more$' <(muxctl consume answers -n 1)
check_end "SIGTERM ends the parent" 0 stop "$prefork"
children_gone() {
  local pid
  for pid in $(sed -n 's/^child \([0-9]*\),.*/\1/p' "$scratch/prefork.out"); do
    [ ! -d "/proc/$pid" ] || { echo "child $pid still runs" && return 1; }
  done
}
check "and its children" children_gone
check "and their sessions" wait_for 20 status_is sessions 1

# ------------------------------------------------------------------- loops

ticks_since() { [ "$(wc -l <"$scratch/$1.out")" -gt $(($2 + 5)) ]; } # LOOP LINES
# LOOP; one may have come twice
none_is_missing() {
  local printed
  printed=$(sed 's/^tick //' "$scratch/$1.out" | sort -nu)
  equal "$(seq "$(tail -n 1 <<<"$printed")")" "$printed"
}
try_loop() { # LOOP
  local loop=$1 ticker sockets lines
  [ -x "$examples/loop-$loop" ] || { skip "loop-$loop" "its library is not installed" && return; }
  start_example "$loop" "loop-$loop" "ticks-$loop" 20 && ticker=$started
  check "loop-$loop prints what it publishes" wait_for 20 says "$loop" "^tick 2$"
  check "it has no thread but one" equal 1 "$(ls "/proc/$ticker/task" | wc -l)"
  sockets=$(ls -l "/proc/$ticker/fd" | grep -c 'socket:')
  check "and one socket" equal 1 "$sockets"
  check_end "it ends when all was printed" 0 reap "$ticker" 30
  check "and has printed all, in order" equal "$(seq -f 'tick %g' 1 20)" "$(cat "$scratch/$loop.out")"
  check "and acknowledged all" holds "ticks-$loop" 0
  # what goes wrong later makes the loop end, too
  start_example "$loop" "loop-$loop" "ticks-$loop" 100000 && ticker=$started
  wait_for 20 says "$loop" "^tick 2$"
  kill -KILL "$MUXD_PID" && wait "$MUXD_PID" 2>/dev/null
  lines=$(wc -l <"$scratch/$loop.out")
  start_muxd_and_wait <"$scratch/conf"
  check "loop-$loop goes on when muxd was killed and started again" wait_for 20 ticks_since "$loop" "$lines"
  check "in the same process, and prints all" test -d "/proc/$ticker" -a "$(none_is_missing "$loop")" = ""
  muxctl delete queue "ticks-$loop" >/dev/null
  check_end "loop-$loop fails when its consumer is cancelled" 1 reap "$ticker" 30
}
for loop in libevent libuv glib sdevent; do
  try_loop "$loop"
done

# --------------------------------------------------------------------- rpc

start_example server rpc-server rpc 3 && server=$started
check "rpc-server starts" wait_for 20 says server "^ready$"
server_channels() {
  muxctl --json sessions | "$PYTHON" -c '
import json, sys
sys.exit([s["channels"] for s in json.load(sys.stdin)["sessions"] if s["pid"] == int(sys.argv[1])] != [3])' "$server"
}
check "with three channels" server_channels
check "rpc-call is answered" ends_with 0 example rpc-call rpc 20000 one two three four
check "each call with its own answer" equal "four: FOUR one: ONE three: THREE two: TWO" "$(sort "$scratch/out" | xargs)"
check "a call that goes to no queue fails" ends_with 1 example rpc-call nowhere 20000 hello
check "at once, and says why" equal "hello: no server" "$(cat "$scratch/out")"
kill -STOP "$server"
began=${EPOCHREALTIME/[.,]/}
check "a call to a server that hangs fails" ends_with 1 example rpc-call rpc 300 hello
msec=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
check "when its time is over" equal "hello: no answer in time" "$(cat "$scratch/out")"
check "not before, and not much later" test "$msec" -ge 300 -a "$msec" -lt 10000
kill -CONT "$server"
check "the next one is answered, with its own answer" ends_with 0 example rpc-call rpc 20000 again
check "and no other" equal "again: AGAIN" "$(cat "$scratch/out")"
kill -STOP "$MUXD_PID"
check "a call fails in time when muxd hangs" ends_with 1 example rpc-call rpc 300 hello
kill -CONT "$MUXD_PID"
check_end "SIGTERM ends the server" 0 stop "$server"

# Each call takes a while: side by side means that all have begun before one is answered.
start_example slow rpc-server slow 3 2 && server=$started
check "a server that takes its time starts" wait_for 20 says slow "^ready$"
start "$examples/rpc-call" slow 30000 one two three >"$scratch/call.out" 2>&1
call=$started
all_begun() { [ "$(grep -c '^begins: ' "$scratch/slow.out")" = 3 ]; }
check "it begins with all calls" wait_for 20 all_begun
check_end "SIGTERM ends it" 0 stop "$server"
check_end "but the calls in hand are answered" 0 reap "$call" 20
check "all three" equal "one: ONE three: THREE two: TWO" "$(sort "$scratch/call.out" | xargs)"
check "at the same time" equal "begins begins begins answers answers answers" "$(sed -n 's/: .*//p' "$scratch/slow.out" | xargs)"
check "and no session is left" wait_for 20 status_is sessions 1

check_muxd_stops
