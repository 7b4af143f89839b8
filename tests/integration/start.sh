#!/bin/bash
# What is wrong before muxd serves anyone: its command line, its configuration, its socket.
. "$(dirname "$0")/lib.sh"

muxd=$builddir/daemon/muxd
err=$scratch/err

# EXIT-CODE TEXT... -- ARG...: muxd ends with that code, and stderr says all the texts
muxd_refuses() {
  local code=$1 texts=()
  shift
  while [ "$1" != -- ]; do
    texts+=("$1")
    shift
  done
  shift
  timeout 20 "$muxd" "$@" </dev/null >"$scratch/out" 2>"$err"
  equal "$code" "$?" && for text in "${texts[@]}"; do
    contains "$err" "$text" || return 1
  done
}

# ----------------------------------------------------------------- usage, URI

check "an unknown option is wrong usage" muxd_refuses 2 -- --no-such-option
check "a URI of another scheme is refused" muxd_refuses 2 "scheme" -- -u http://localhost -s "$MUXD_SOCKET"
check "a URI with a port that is none is refused" muxd_refuses 2 "port" -- -u amqp://localhost:99999 -s "$MUXD_SOCKET"
check "a password on the command line is refused, and it says where it belongs" \
  muxd_refuses 2 "password" "MUXD_UPSTREAM" -- -u amqp://app:secret@localhost -s "$MUXD_SOCKET"
check_not "the refused password is not repeated" grep -q secret "$err"

# -------------------------------------------------------------- configuration

conf=$scratch/bad.conf
BROKER_URI=amqp://127.0.0.1:1

{ muxd_conf && echo 'colour = "green"'; } >"$conf"
line=$(wc -l <"$conf")
check "an unknown key is an error with file and line" muxd_refuses 78 "$conf:$line" "colour" -- -c "$conf"
check "--check finds it as well" muxd_refuses 78 "$conf:$line" -- --check -c "$conf"

muxd_conf "$BROKER_URI" 'heartbeat = "soon"' >"$conf"
line=$(grep -n heartbeat "$conf" | cut -d: -f1)
check "a bad value is an error with file and line" muxd_refuses 78 "$conf:$line" "heartbeat" -- --check -c "$conf"

muxd_conf "amqp://127.0.0.1:notaport" >"$conf"
line=$(grep -n uri "$conf" | cut -d: -f1)
check "a wrong URI in the file is an error with file and line" muxd_refuses 78 "$conf:$line" -- -c "$conf"

muxd_conf | head -n -1 >"$conf"
check "a file that ends inside a section is an error" muxd_refuses 78 "$conf:" -- -c "$conf"

check "a file that is not there is an error that names it" \
  muxd_refuses 78 "$scratch/none.conf" -- -c "$scratch/none.conf"

muxd_conf >"$conf"
check "--check is content with a good file" muxd_refuses 0 -- --check -c "$conf"

# --------------------------------------------------------------------- socket

start_broker
long=$scratch/$(printf 'x%.0s' $(seq 108))
check "a socket path that is too long is refused, and it says how long it may be" \
  muxd_refuses 78 "107" -- -u "$BROKER_URI" -s "$long"
muxd_conf | sed "s|^socket = .*|socket = \"$long\"|" >"$conf"
check "and so it is in the file" muxd_refuses 78 "$conf:1" "107" -- -c "$conf"

echo "not a socket" >"$scratch/file"
check "a file that is no socket is not overwritten" muxd_refuses 1 "not a socket" -- -u "$BROKER_URI" -s "$scratch/file"
check "it is as it was" contains "$scratch/file" "not a socket"

start_muxd_and_wait < <(muxd_conf)
check "a socket that a live muxd holds is an error" muxd_refuses 1 "$MUXD_SOCKET" "running" -- -u "$BROKER_URI" -s "$MUXD_SOCKET"
check "the live one still serves" muxctl ping

kill -KILL "$MUXD_PID"
reap "$MUXD_PID" 20
check "a muxd that was killed leaves its socket behind" test -S "$MUXD_SOCKET"
check_not "where nobody answers" muxctl ping
start_muxd_and_wait < <(muxd_conf)
check "the next muxd replaces it" muxctl ping
check_muxd_stops
check_not "and removes it at its end" test -e "$MUXD_SOCKET"
