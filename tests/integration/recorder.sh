#!/bin/bash
# What a session asked for last: its flight recorder, as muxctl shows it, and to whom.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
chmod 755 "$scratch" # for another user
start_muxd_and_wait < <(
  muxd_conf
  say 'socket-mode = "0666"'
  say 'access "guest" {'
  say '  user = "65533"'
  say '  configure = ".*"  write = ".*"  read = ".*"'
  say '}'
)

json() { # EXPRESSION MUXCTL-ARGUMENT...: of the answer j
  local expression=$1
  shift
  muxctl --json "$@" >"$scratch/json" && "$PYTHON" -c '
import json, sys
j = json.load(open(sys.argv[1]))
r = j.get("recorder")
if not eval("(" + sys.argv[2] + ")"):
    sys.exit("it is not so in " + json.dumps(j, indent=1))' "$scratch/json" "$expression"
}
fails_with() { # EXIT-CODE TEXT COMMAND...
  local code=$1 text=$2
  shift 2
  "$@" >"$scratch/out" 2>&1
  equal "$code" $? && contains "$scratch/out" "$text"
}

start_dialog holder 'ready *' "$PYTHON" "$here/recorder.py" mine
id=${greeting#ready }
check "the recorder of a session is a table" muxctl recorder "$id"
muxctl recorder "$id" >"$scratch/table"
check "the first of what it asked for is the first" grep -qE '^ *[0-9.]+s +1 +1 +answered +channel\.open$' "$scratch/table"
check "it has each request with its arguments" \
  contains "$scratch/table" "queue.bind queue='recorded\\x01mine' exchange='recorded' routing_key='key'"
check "values that sound like secrets are left out, others are not" \
  contains "$scratch/table" "exchange.declare exchange='recorded' type='fanout' auto_delete {password=*** other='seen'}"
check "alike publishes are one line, without body, with their properties cut" grep -qE \
  " 1 +50 +answered +basic\.publish exchange='recorded' routing_key='key' body of up to 8 bytes \{long=\.\.\.\}" "$scratch/table"
check_not "no body is in it" grep -q "the body" "$scratch/table"
check "settlings count as well" grep -qE '1 +3 +answered +settle ack tags 1 to 3' "$scratch/table"
check "what the broker refused has its code" grep -qE " 2 +1 +refused 404 +basic\.get queue='nowhere'" "$scratch/table"
check "as JSON, too" json "j['session'] == $id and
  all(e['age_ms'] >= 0 and e['channel'] in (1, 2, 3) and e['generation'] == 1 for e in r) and
  [e for e in r if e['operation'].startswith('basic.publish')][0]['count'] == 50 and
  [e['code'] for e in r if e['end'] == 'refused'] == [404]" recorder "$id"
check "its times rise to the last" json "[e['age_ms'] for e in r if e['count'] == 1] ==
  sorted([e['age_ms'] for e in r if e['count'] == 1], reverse=True)" recorder "$id"
check "the memory it takes is bounded" json "[s for s in j['sessions'] if s['id'] == $id][0]['memory_used'] < 200000" sessions
check "a session that is not there is refused by name" fails_with 1 "there is no session 999999" muxctl recorder 999999
check "that is no wrong usage, but this is" fails_with 2 "not a number" muxctl recorder web

# -------------------------------------------------------------------- rights

as_guest() { setpriv --reuid=65533 --regid=65533 --clear-groups env HOME=/ "$@"; }
if [ "$(id -u)" = 0 ] && as_guest "$builddir/client/muxctl" ping >/dev/null 2>&1; then
  check "another user's session is not shown without control" \
    fails_with 1 "control refused" as_guest "$builddir/client/muxctl" recorder "$id"
  start_dialog guest 'ready *' setpriv --reuid=65533 --regid=65533 --clear-groups "$PYTHON" "$here/recorder.py" theirs
  guest=${greeting#ready }
  check "one's own user's is" as_guest "$builddir/client/muxctl" recorder "$guest"
  check "root sees it as well" json "len(r) > 5" recorder "$guest"
else
  skip "recorders of other users" "that takes root, setpriv, and a build folder that others may enter"
fi
for holder in holder guest; do [ -z "${dialog_pid[$holder]-}" ] || stop "${dialog_pid[$holder]}"; done
check_muxd_stops
