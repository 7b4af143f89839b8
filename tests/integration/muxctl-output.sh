#!/bin/bash
# What muxctl writes, and where it cannot: every command's JSON, bodies with zero
# bytes, a full disk and a closed pipe under stdout, the variables of a command
# that is run for a message, and how each ends by a signal.
. "$(dirname "$0")/lib.sh"
start_broker
start_muxd_and_wait < <(muxd_conf)
binary=$builddir/client/muxctl
out=$scratch/out err=$scratch/err

# Something to look at, and what it is: a consumer that stays.
muxctl declare queue kept >/dev/null
start "$binary" consume kept </dev/null >/dev/null 2>"$scratch/consume.log"
consumer=$started
consuming() { muxctl --json sessions | grep -q '"consumers": 1'; }
wait_for 20 consuming || fail "there is a consumer"
session=$(muxctl --json sessions | "$PYTHON" -c '
import json, sys
print([s["id"] for s in json.load(sys.stdin)["sessions"] if s["consumers"]][0])')

# Commands that write a result, each to be done as often as one likes.
fill() { printf 'a\0b\xff' | muxctl publish -r messages; }
answer() { # for call
  start "$binary" consume rpc -n 1 -- sh -c '"$0" publish -r "$MUXCTL_REPLY_TO" <"$1"' "$binary" "$scratch/reply" \
    </dev/null 2>"$scratch/rpc.log"
}
muxctl declare queue messages >/dev/null
muxctl declare queue rpc >/dev/null
printf 'r\0e\nply' >"$scratch/reply"
commands=(status sessions channels "recorder $session" ping "publish -r kept x" "publish -l -r kept"
  "get messages" "get messages -n 3 --requeue" "consume messages -n 1" "call -r rpc x"
  "declare queue messages" "declare exchange some fanout" "delete queue gone" "purge kept" reload)
nothing="publish -r kept x|publish -l -r kept|reload" # without --json they write nothing

prepare() { # COMMAND
  case $1 in
  get* | consume*) fill ;;
  call*) answer ;;
  delete*) muxctl declare queue gone >/dev/null ;;
  esac
}

# ----------------------------------------------------------------------- JSON

keys() { # KEY...: are those of the JSON, a line of it or all of it; not fewer, not more
  "$PYTHON" -c '
import json, sys
text = open(sys.argv[1]).read()
j = json.loads(text)
have = set(j)
want = set(sys.argv[2].split())
if have != want: sys.exit("keys are %s" % sorted(have))' "$out" "$*"
}
gives_keys() { # COMMAND KEY...
  local command=$1
  shift
  prepare "$command"
  # shellcheck disable=SC2086 # words on purpose
  muxctl --json $command </dev/null >"$out" 2>"$err" && equal "" "$(cat "$err")" && keys "$@"
}
message="exchange routing_key redelivered properties"
check "status" gives_keys status version pid uptime_seconds sessions draining upstreams memory sessions_limit users
check "sessions" gives_keys sessions sessions
check "channels" gives_keys channels channels
check "recorder" gives_keys "recorder $session" session recorder
check "ping" gives_keys ping usec
check "publish" gives_keys "publish -r kept x" outcome
check "publish -l" gives_keys "publish -l -r kept" published confirmed returned nacked failed unknown resent
# shellcheck disable=SC2086 # words on purpose
{
  check "get of what is not UTF-8" gives_keys "get messages" $message body_base64
  check "consume of what is not UTF-8" gives_keys "consume messages -n 1" $message body_base64
  check "call" gives_keys "call -r rpc x" $message body
}
check "a zero byte in JSON is one" "$PYTHON" -c '
import json, sys
assert json.load(open(sys.argv[1]))["body"] == "r\0e\nply"' "$out"
check "declare queue" gives_keys "declare queue messages" queue messages consumers
check "declare exchange" gives_keys "declare exchange some fanout" exchange
check "delete queue" gives_keys "delete queue gone" messages
check "purge" gives_keys "purge kept" messages
check "reload" gives_keys reload done errors notes
check "a list has an object for each" "$PYTHON" -c '
import json, subprocess, sys
ask = lambda *a: json.loads(subprocess.run([sys.argv[1], "--json", *a], stdout=subprocess.PIPE, check=True).stdout)
one = lambda l, *keys: [set(x) == set(" ".join(keys).split()) or sys.exit(sorted(x)) for x in l] or sys.exit("none")
one(ask("sessions")["sessions"], "id pid uid gid program upstream age_seconds channels consumers unconfirmed unacked",
  "published delivered memory_used memory_limit")
one(ask("channels")["channels"], "session channel generation lane consumers prefetch unconfirmed unacked")
one([{k: 0 for k in r if k != "code"} for r in ask("recorder", sys.argv[2])["recorder"]],
  "age_ms channel generation operation count unanswered end")
status = ask("status")
one(status["upstreams"], "name state endpoint epoch reconnects last_error broker lanes unconfirmed")
one([u["lanes"] for u in status["upstreams"]], "max open leased warm")
one(status["users"], "uid sessions memory")' "$binary" "$session"

# ------------------------------------------------------------------- no stdout

no_reader() { # COMMAND...: stdout is a pipe that nobody reads
  "$PYTHON" -c '
import os, subprocess, sys
r, w = os.pipe()
os.close(r)
sys.exit(subprocess.call(sys.argv[1:], stdout=w))' "$@"
}
refused() { # REASON STATUS
  equal "exit code 1" "exit code $2" && contains "$err" "cannot write to stdout: $1"
}
for command in "${commands[@]}"; do
  for json in "" --json; do
    [[ -n $json || ! "|$nothing|" = *"|$command|"* ]] || continue
    # shellcheck disable=SC2086 # words on purpose
    {
      prepare "$command"
      muxctl $json $command </dev/null >/dev/full 2>"$err"
      check "a full disk: $json $command" refused "No space left on device" $?
      prepare "$command"
      muxctl $json $command </dev/null >&- 2>"$err"
      check "no stdout at all: $json $command" refused "Bad file descriptor" $?
      prepare "$command"
      no_reader timeout 60 "$binary" $json $command </dev/null 2>"$err"
      check "a pipe without a reader: $json $command" refused "Broken pipe" $?
    }
  done
done
check "a publish -l without stdin is refused" equal 1 "$(muxctl publish -l -r kept <&- 2>"$err" || echo $?)"
check "and told so" contains "$err" "cannot read stdin: Bad file descriptor"

# ---------------------------------------------------- zero bytes, and variables

muxctl purge messages >/dev/null
printf 'a\0b\n\0' >"$scratch/body"
for how in "get messages" "consume messages -n 1 --raw" "consume messages -n 1 -- cat"; do
  muxctl publish -r messages <"$scratch/body"
  # shellcheck disable=SC2086 # words on purpose
  muxctl $how >"$out" 2>"$err"
  check "a body with zero bytes: $how" cmp "$out" "$scratch/body"
done
long=$(printf 'x%.0s' {1..60000})
for ((i = 0; i < 200; i++)); do export "MANY_$i=$i"; done
MUXCTL_HEADER_OLD=inherited muxctl publish -r messages -p -t text/plain --property content-encoding=e \
  --property priority=9 --property correlation-id=c --property reply-to=r --property expiration=60000 \
  --property message-id=m --property timestamp=1700000000 --property type=t --property app-id=a --property cluster-id=l \
  -H text=v -H n:int=-5 -H b:bool=true -H d:double=1.5 -H nothing:void= -H "odd name.$(printf '\303\266')=odd" -H Twice=1 -H twice=2 \
  -H "large=$long" -H "$(printf 'x:time=%s' 1700000000)" "b" || fail "a message with all there is"
MUXCTL_HEADER_OLD=inherited muxctl consume messages -n 1 -- env >"$out"
vars() { # EXPECTED: the variables, but for the large ones
  grep ^MUXCTL_ "$out" | grep -v -e ^MUXCTL_HEADERS -e ^MUXCTL_HEADER_LARGE | sort | diff - <(printf '%s\n' "$@" | sort)
}
check "a command has all in variables, and none that was inherited" vars MUXCTL_QUEUE=messages MUXCTL_EXCHANGE= MUXCTL_ROUTING_KEY=messages \
  MUXCTL_REDELIVERED=0 MUXCTL_DELIVERY_MODE=2 MUXCTL_CONTENT_TYPE=text/plain MUXCTL_CONTENT_ENCODING=e MUXCTL_PRIORITY=9 \
  MUXCTL_CORRELATION_ID=c MUXCTL_REPLY_TO=r MUXCTL_EXPIRATION=60000 MUXCTL_MESSAGE_ID=m MUXCTL_TIMESTAMP=1700000000 \
  MUXCTL_TYPE=t MUXCTL_APP_ID=a MUXCTL_CLUSTER_ID=l MUXCTL_HEADER_TEXT=v MUXCTL_HEADER_N=-5 MUXCTL_HEADER_B=true \
  MUXCTL_HEADER_D=1.5 MUXCTL_HEADER_NOTHING=null MUXCTL_HEADER_ODD_NAME___=odd MUXCTL_HEADER_TWICE=1 MUXCTL_HEADER_X=1700000000
check "a value of 60 KB" grep -qx "MUXCTL_HEADER_LARGE=$long" "$out"
check "all headers as JSON" "$PYTHON" -c '
import json, sys
j = json.loads([l for l in open(sys.argv[1]) if l.startswith("MUXCTL_HEADERS=")][0].split("=", 1)[1])
assert j["n"] == -5 and j["b"] is True and j["d"] == 1.5 and j["nothing"] is None and j["twice"] == "2" and "large" in j' "$out"
check "and what muxctl had itself" grep -qx MANY_199=199 "$out"

headers=()
for ((i = 0; i < 1500; i++)); do headers+=(-H "name$i=${long:0:250}"); done
muxctl publish -r messages "${headers[@]}" x 2>"$err"
check "headers that no frame holds are refused" equal 1 $?
check "with the reason" contains "$err" "the message is larger than a frame can be"

# --------------------------------------------------------------------- signals

# Not by muxctl(), so that a signal hits it. Bash starts what is in the background with SIGINT ignored; nohup, all with SIGHUP.
ends_by() { # SIGNAL EXIT-CODE ARG...: when its session is there
  local signal=$1 code=$2 before
  shift 2
  before=$(status_of sessions)
  start env --default-signal=INT,HUP "$binary" "$@" </dev/null >"$out" 2>"$err"
  wait_for 20 status_is sessions $((before + 1))
  stop "$started" "$signal"
  check "SIG$signal ends $1: $code" equal "$code" "$exit_code"
}
for signal in INT TERM HUP; do
  number=$(kill -l $signal)
  ends_by "$signal" $((128 + number)) call -r kept nobody-answers
  ends_by "$signal" 0 consume kept
done
muxctl publish -r messages x
start env --default-signal=INT "$binary" consume messages -n 1 -- sh -c 'trap "exit 0" INT; echo started; while :; do sleep 0.02; done' \
  </dev/null >"$out" 2>"$err"
check "a command runs" wait_for 20 contains "$out" started
kill -INT "$started"
check_not "after one signal it is waited for" wait_for 1 is_gone "$started"
stop "$started" INT
check "a second one is handed on to it" equal 0 "$exit_code"

stop "$consumer"
check_muxd_stops
