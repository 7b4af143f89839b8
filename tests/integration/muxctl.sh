#!/bin/bash
# Every command of muxctl and every exit code, through a real muxd: binary and
# large bodies, JSON, commands run for messages, deadlines, a muxd that hangs.
. "$(dirname "$0")/lib.sh"
start_broker
start_muxd_and_wait < <(muxd_conf)
out=$scratch/out err=$scratch/err

# EXIT-CODE ARG...: muxctl ends with that; its output is in $out and $err
exits() {
  local code=$1 got
  shift
  muxctl "$@" >"$out" 2>"$err"
  got=$?
  equal "exit code $code" "exit code $got" || { cat "$out" "$err" && return 1; }
}

# EXIT-CODE TEXT ARG...: and stderr says the text
fails() {
  local code=$1 text=$2
  shift 2
  exits "$code" "$@" && contains "$err" "$text"
}

# EXPECTED ARG...: exit code 0, nothing on stderr, and just that on stdout
prints() {
  local expected=$1
  shift
  exits 0 "$@" && equal "$expected" "$(cat "$out")" && equal "" "$(cat "$err")"
}

# PYTHON-EXPRESSION ARG...: exit code 0, and it is true of the JSON, `j`, on stdout
json() {
  local expression=$1
  shift
  exits 0 "$@" && "$PYTHON" -c '
import base64, json, sys
j = json.load(open(sys.argv[1]))
if not eval("(" + sys.argv[2] + ")"):
    sys.exit("%s is not true of %s" % (sys.argv[2], json.dumps(j)[:2000]))' "$out" "$expression"
}

queue_has() { # QUEUE MESSAGES
  json "j['messages'] == $2" --json declare queue "$1" --passive
}

# ------------------------------------------------------------------- looking

check "ping is answered" exits 0 ping
check "ping tells how long it took, as JSON" json "j['usec'] > 0" --json ping
check "status is a table" exits 0 status
check "with the upstream and its state" grep -Eq '^default +up +127\.0\.0\.1:' "$out"
check "status as JSON has what surface promises" json "
all((isinstance(j['version'], str), j['pid'] == $MUXD_PID, j['uptime_seconds'] >= 0, j['sessions'] == 1,
  j['memory']['used'] >= 0, j['memory']['limit'] > 0, len(j['upstreams']) == 1)) and
all((lambda u: (u['name'] == 'default', u['state'] == 'up', u['endpoint'] == '127.0.0.1:$UPSTREAM_PORT', u['epoch'] == 1,
  u['reconnects'] == 0, isinstance(u['last_error'], str), u['lanes']['max'] > 0, u['lanes']['open'] >= 0,
  u['lanes']['leased'] == 0, u['lanes']['warm'] >= 0, u['unconfirmed'] == 0))(j['upstreams'][0]))" --json status
check "options may stand behind the command" json "j['version']" status --json
check "sessions shows muxctl's own" exits 0 sessions
check "by its name" grep -Eq '^ *[0-9]+ +[0-9]+ .*muxctl' "$out"
check "sessions as JSON" json "[s for s in j['sessions'] if s['program'] == 'muxctl' and s['pid'] > 1 and s['uid'] == $(id -u)]" --json sessions
check "channels are none yet" json "j['channels'] == []" --json channels
check "an upstream that is not there is refused by muxd" fails 1 "AMQP 404" --upstream nowhere status
check "so nothing is published, for certain" fails 1 "publish: not published: muxd refuses (AMQP 404)" --upstream nowhere publish -r q x
as_stranger() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
if [ "$(id -u)" = 0 ] && [ -z "${MUXD_UNDER-}" ] && as_stranger "$builddir/client/muxctl" --version >/dev/null 2>&1; then
  chmod 711 "$scratch" && chmod 600 "$MUXD_SOCKET"
  stranger() { equal 3 "$(as_stranger "$builddir/client/muxctl" ping 2>"$err" || echo $?)"; }
  check "who may not use the socket is not told to start muxd" stranger
  check "but who may use it" contains "$err" "members of the group muxd"
  chmod 660 "$MUXD_SOCKET"
else
  skip "who may not use the socket" "this needs root, a socket of muxd's own, and a build folder that others may read"
fi

# ------------------------------------------------------------------ topology

check "declare queue prints the name" prints q declare queue q
check "an argument that looks like a number is one" exits 0 declare queue short -a x-max-length=2 -a x-message-ttl=3600000
for body in 1 2 3; do
  muxctl publish -r short $body || fail "publish to short"
done
check "so the broker understands it: two of three are kept" prints 2 purge short
check "a repeated declare with the same arguments is fine" prints short declare queue short -a x-max-length=2 -a x-message-ttl=3600000
check "one with others is refused by the broker" fails 1 "AMQP 406" declare queue short -a x-max-length=3
check "muxd makes a name for a queue" exits 0 declare queue ""
generated=$(cat "$out")
check "with its prefix" grep -q '^muxd\.gen-.' "$out"
check "and it is there" prints "$generated" declare queue --passive "$generated"
check "passive declare of what is not there is refused" fails 1 "AMQP 404" declare queue --passive nothing
# Completion asks muxd for what it knows.
completed() { # EXPECTED WORD...
  local expected=$1
  shift
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _muxctl "$builddir/client/muxctl"
  printf '%s\n' "${COMPREPLY[@]}" | grep -Eqx -- "$expected"
}
# shellcheck source=client/tool/completion/muxctl.bash
. "$srcdir/client/tool/completion/muxctl.bash"
check "names of upstreams are completed" completed default muxctl status --upstream d
check "with the socket of the command line" completed default muxctl -s "$MUXD_SOCKET" --upstream d
check_not "and with no other" completed default muxctl -s /nowhere --upstream d
check "ids of sessions are completed" completed '[0-9]+' muxctl recorder ""

check "an exclusive queue goes with muxctl" prints mine declare queue mine --exclusive
check "so it is gone" wait_for 10 fails 1 "AMQP 404" declare queue mine --passive
check "declare exchange prints the name" prints e declare exchange e topic --durable
check "an exchange can be looked for without its type" prints e declare exchange e --passive
check "an exchange of a type that no broker has is refused" fails 1 "AMQP" declare exchange odd squircle
check "declare of a second exchange" prints f declare exchange f fanout --auto-delete
check "bind a queue" prints "" bind queue q e -r 'a.*'
check "bind an exchange" prints "" bind exchange f e -r b
check "bind a queue to that" prints "" bind queue "$generated" f
check "a mandatory publish by the first binding" prints "" publish -m -e e -r a.x one
check "a mandatory publish by the second one" prints "" publish -m -e e -r b two
check "came to the first queue" prints one get q
check "came to the second queue" prints two get "$generated"
check "unbind a queue" prints "" unbind queue q e -r 'a.*'
check "unbind an exchange" prints "" unbind exchange f e -r b
check "then a mandatory publish is returned" fails 1 "AMQP 312" publish -m -e e -r a.x one
check "and without -m it is just confirmed" prints "" publish -e e -r a.x one
check "bind to what is not there is refused" fails 1 "AMQP 404" bind queue q nowhere
check "delete of an exchange" prints "" delete exchange e
muxctl publish -r q left
check "delete --if-empty of a queue that is not is refused" fails 1 "AMQP 406" delete queue q --if-empty
check "delete of a queue tells how many went with it" prints 1 delete queue q
check "delete as JSON" json "j == {'messages': 0}" --json delete queue "$generated"
check "purge of what is not there is refused" fails 1 "AMQP 404" purge q

# ------------------------------------------------------------------ messages

muxctl declare queue q >/dev/null
check "get from an empty queue is exit code 5" exits 5 get q
check "and says nothing" test ! -s "$out" -a ! -s "$err"
check "get from a queue that is not there is refused by the broker" fails 1 "the broker refuses (AMQP 404)" get nothing
check "publish to an exchange that is not there is refused by the broker" fails 1 "(AMQP 404)" publish -e nowhere body
check "publish of an argument" prints "" publish -r q "hello"
check "get writes just the body" prints hello get q
check "an empty body" prints "" publish -r q ""
check "is one, not none" prints "" get q

"$PYTHON" -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 17 + b"\n\n")' >"$scratch/binary"
"$PYTHON" -c 'import random, sys; r = random.Random(1); sys.stdout.buffer.write(r.randbytes(5000001))' >"$scratch/big"
for kind in binary big; do
  check "publish a $kind body from stdin" prints "" publish -r q <"$scratch/$kind"
  check "get it" exits 0 get q
  check "byte for byte" cmp "$out" "$scratch/$kind"
done
muxctl publish -r q <"$scratch/binary"
check "a binary body in JSON is base64" json "base64.b64decode(j['body_base64']) == open('$scratch/binary', 'rb').read() and 'body' not in j" --json get q
head -c 17000000 /dev/zero >"$scratch/huge"
check "a body over message-max is refused" exits 1 publish -r q <"$scratch/huge"
check "and told, with the limit" grep -Eq '16777216|message-max' "$err"
rm "$scratch/huge"

check "properties and headers" prints "" publish -r q -p -t text/plain -H plain=v -H n:int=-5 -H b:bool=true \
  -H d:double=1.5 -H "a:b:string=colon" -H nothing:void= --property message-id=m-1 --property priority=7 \
  --property expiration=60s --property timestamp=1700000000 --property app-id=test --property type=t \
  --property correlation-id=c --property reply-to=r --property content-encoding=utf-8 "böd\"y"
check "get --requeue shows all of them" json "
j['body'] == 'böd\"y' and j['routing_key'] == 'q' and j['exchange'] == '' and j['redelivered'] is False and
j['properties'] == {'content-type': 'text/plain', 'content-encoding': 'utf-8', 'delivery-mode': 2, 'priority': 7,
  'correlation-id': 'c', 'reply-to': 'r', 'expiration': '60000', 'message-id': 'm-1', 'timestamp': 1700000000,
  'type': 't', 'app-id': 'test', 'headers': {'plain': 'v', 'n': -5, 'b': True, 'd': 1.5, 'a:b': 'colon', 'nothing': None}}" \
  --json get q --requeue
check "and gives it back, marked" json "j['redelivered'] is True" --json get q
check "so that it is gone now" exits 5 get q

# --------------------------------------------------------------------- lines

seq 5000 >"$scratch/lines"
check "publish -l" json "j['published'] == j['confirmed'] == 5000" --json publish -l -r q <"$scratch/lines"
check "one message a line" queue_has q 5000
check "get -n writes a line each, in order" exits 0 get q -n 10
check "the first ten" cmp "$out" <(seq 10)
check "consume -n ends after so many" exits 0 consume q -n 4990
check "with the rest, in order" cmp "$out" <(seq 11 5000)
check "all were acknowledged" queue_has q 0
printf 'a\n\nb' | muxctl publish -l -r q
check "an empty line is a message, a last line needs no newline" json "j['messages'] == 3" --json purge q
printf 'a\nb\0c\n\0' | muxctl publish -l -0 -r q
check "with -0 a message may hold newlines" exits 0 get q -0 -n 5
check "and comes out as it went in" cmp "$out" <(printf 'a\nb\0c\n\0')
check "lines that go nowhere are told with their numbers" fails 1 "line 3: it went to no queue (AMQP 312)" \
  publish -l -m -r nowhere <"$scratch/lines"
check "not all of them" test "$(wc -l <"$err")" -lt 20
check "lines to an exchange that is not there" fails 1 "AMQP 404" publish -l -e nowhere -r x <"$scratch/lines"

# A publisher that sees its lines go out while stdin is still open.
mkfifo "$scratch/pipe"
exec {pipe}<>"$scratch/pipe"
start "$builddir/client/muxctl" publish -l -r q <"$scratch/pipe"
publisher=$started
echo now >&"$pipe"
check "a line is published at once, though stdin stays open" wait_for 20 queue_has q 1
stop "$publisher" || fail "publish -l ends by SIGTERM"
exec {pipe}>&-
check "it is the line" prints now get q

# ------------------------------------------------------------------- consume

# Not by muxctl(), so that a signal hits it and not its caller; and bash starts
# what is in the background with SIGINT ignored, which muxctl respects.
consume_bg() { # ARG...
  start env --default-signal=INT "$builddir/client/muxctl" consume "$@" </dev/null >"$scratch/consumed" 2>"$scratch/consume.log"
  consumer=$started
}
consuming() { json "[s for s in j['sessions'] if s['consumers'] == 1]" --json sessions; }

consume_bg q
check "consume waits for messages" wait_for 20 consuming
muxctl publish -r q one && muxctl publish -r q two
printf 'one\ntwo\n' >"$scratch/expected"
check "and writes them as they come" wait_for 20 cmp "$scratch/consumed" "$scratch/expected"
stop "$consumer" INT
check "SIGINT ends it cleanly" equal 0 "$exit_code"
check "everything shown is acknowledged" queue_has q 0

printf 'm1\nm2\nm3\n' | muxctl publish -l -r q -H x-kind=k --property message-id=id
check "consume runs a command for each message" exits 0 consume q -n 3 -- \
  sh -c 'echo "$1:$(cat):$MUXCTL_QUEUE:$MUXCTL_ROUTING_KEY:$MUXCTL_EXCHANGE:$MUXCTL_MESSAGE_ID:$MUXCTL_HEADER_X_KIND:$MUXCTL_REDELIVERED"' arg0 arg1
check "with arguments, body and variables" cmp "$out" <(printf 'arg1:m%s:q:q::id:k:0\n' 1 2 3)
check "exit 0 has acknowledged them" queue_has q 0
muxctl publish -r q again
check "exit 75 gives back" exits 0 consume q -n 1 -- sh -c 'exit 75'
check "so it is there again, marked" exits 0 consume q -n 1 -- sh -c 'echo "$MUXCTL_REDELIVERED"; exit 1'
check "as redelivered" cmp "$out" <(echo 1)
check "another exit code is told" contains "$err" "exit 1"
check "and rejects" queue_has q 0
muxctl publish -r q poison
check "a command that a signal ends rejects too" fails 0 "signal 9" consume q -n 1 -- sh -c 'kill -9 $$'
check "so the message is gone" queue_has q 0
muxctl publish -r q kept
check "a command that is not there ends consume" fails 1 "cannot run" consume q -- "$scratch/no-such-command"
check "and the message stays" wait_for 10 queue_has q 1
muxctl purge q >/dev/null
muxctl publish -r q <"$scratch/big"
check "a command that does not read a large body blocks nobody" prints "" consume q -n 1 -- true
muxctl publish -r q <"$scratch/big"
check "a large body reaches the command" prints "$(md5sum <"$scratch/big")" consume q -n 1 -- md5sum
MUXCTL_HEADER_FAKE=1 check "no variable of ours is inherited" prints "" publish -r q x
MUXCTL_HEADER_FAKE=1 check "by a command" prints "" consume q -n 1 -- sh -c 'printf "%s" "$MUXCTL_HEADER_FAKE"'

muxctl publish -r q slow && muxctl publish -r q next
consume_bg q -- sh -c 'echo started; while [ ! -e '"$scratch"'/go ]; do sleep 0.05; done; echo ended'
check "a command is at work" wait_for 20 contains "$scratch/consumed" started
kill -TERM "$consumer"
touch "$scratch/go"
reap "$consumer" 20
check "SIGTERM lets it finish" cmp "$scratch/consumed" <(printf 'started\nended\n')
check "consume then ends cleanly" equal 0 "$exit_code"
check "its message is acknowledged, the next one is still there" queue_has q 1
muxctl purge q >/dev/null

check "consume ends by its deadline with 4" exits 4 --timeout 300ms consume q
check "an exclusive consumer is possible" exits 4 --timeout 300ms consume q --exclusive
consume_bg q
wait_for 20 consuming
check "but not beside another" fails 1 "AMQP 403" consume q --exclusive
muxctl delete queue q >/dev/null
reap "$consumer" 20
check "a consumer whose queue is deleted ends with 1" equal 1 "$exit_code"
check "and says so" contains "$scratch/consume.log" "ended"
check "consume from a queue that is not there is refused" fails 1 "AMQP 404" consume q
muxctl declare queue q >/dev/null
seq 100 | muxctl publish -l -r q
began=$SECONDS
muxctl consume q 2>"$err" | head -n 1 >/dev/null
check "a reader that leaves ends consume" test "$((SECONDS - began))" -lt 20
muxctl purge q >/dev/null
muxctl publish -r q full
check "a full disk is an error" sh -c '! "$0" get q >/dev/full 2>"$1"' "$builddir/client/muxctl" "$err"
check "that is told" contains "$err" "cannot write to stdout"
check "and the message is still there" wait_for 10 queue_has q 1
muxctl purge q >/dev/null

# ---------------------------------------------------------------------- call

muxctl declare queue rpc >/dev/null
start "$builddir/client/muxctl" consume rpc -n 1 -- \
  sh -c '"$0" publish -r "$MUXCTL_REPLY_TO" --property correlation-id="$MUXCTL_CORRELATION_ID" "re: $(cat)"' \
  "$builddir/client/muxctl" </dev/null 2>"$scratch/rpc.log"
check "call prints the reply" prints "re: question" --timeout 20s call -r rpc question
reap "$started" 20
check "the one who answered is content" equal "0 " "$exit_code $(cat "$scratch/rpc.log")"
check "a call that nobody takes fails" fails 1 "AMQP 312" --timeout 20s call -r nowhere question
check "a call that nobody answers ends by its deadline" fails 4 "no reply" --timeout 300ms call -r rpc question

# ------------------------------------------- deadlines, and a muxd that hangs

kill -STOP "$MUXD_PID"
check "a muxd that hangs is not reached: 3" fails 3 "start muxd" --timeout 300ms ping
kill -CONT "$MUXD_PID"
check "and is, when it goes on" exits 0 ping
if [ "$BROKER" = testbroker ]; then
  broker_command freeze >/dev/null
  check "a publish that the broker does not confirm ends by its deadline: 4" exits 4 --timeout 300ms publish -r rpc x
  check "so does a get" exits 4 --timeout 300ms get rpc
  check "and a stream of lines" exits 4 --timeout 300ms publish -l -r rpc <"$scratch/lines"
  check "muxd itself still answers" exits 0 --timeout 5s status
  broker_command thaw >/dev/null
  check "and later all works again" wait_for 20 exits 0 publish -r rpc x
else
  skip "a broker that hangs" "only the test broker can be told to"
fi
check "no session is left over" wait_for 10 status_is sessions 1
# It deletes exclusive queues whose session has ended.
check "and no lane is leased, but muxd's own one" wait_for 20 json "j['upstreams'][0]['lanes']['leased'] <= 1" --json status
check_muxd_stops
check "without muxd: 3" fails 3 "start muxd" ping
