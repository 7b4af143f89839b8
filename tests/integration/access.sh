#!/bin/bash
# Access rules with real users: who may do what is asked through the socket by processes that have their ids.
. "$(dirname "$0")/lib.sh"
need_ipc
[ "$(id -u)" = 0 ] || skip_all "root is needed to be other users"
for user in www-data:33 daemon:1 games:5 nobody:65534; do
  [ "$(id -u "${user%:*}" 2>/dev/null)" = "${user#*:}" ] || skip_all "user ${user%:*} is not ${user#*:} on this host"
done
[ "$(getent group adm games | cut -d: -f3 | tr '\n' ' ')" = "4 60 " ] || skip_all "groups adm and games are not 4 and 60"
start_broker
chmod 0711 "$scratch"
start_muxd_and_wait < <(
  muxd_conf
  cat <<EOF
socket-mode = "0666"
upstream "second" { uri = "$BROKER_URI" }
access "unmapped-by-name" { user = "nobody"  configure = ".*"  write = ".*"  read = ".*"  control = true }
access "unmapped-group" { group = "nogroup"  configure = ".*"  write = ".*"  read = ".*" }
access "web" {
  user = "www-data"
  upstream = "default"
  configure = '^web\.'
  write = '^(web\.|amq\.default$)'
  read = '^web\.'
}
access "jobs" {
  user = { "daemon", "50000-50004" }
  upstream = "default"
  configure = '^job$'
  write = '^job'
  read = '^job$'
  control = true
}
access "games" { group = "games"  upstream = "default"  configure = '^job$'  write = '^job'  read = '^job$' }
access "costly" { user = "50100"  read = '(a+)+\$' }
access "range" {
  user = "100000-165535"
  upstream = "default"
  configure = ""
  write = '^(?!secret)'
  read = '^(?!secret)'
}
access "second" { user = "100000-165535"  upstream = "second"  read = '^job\$' }
access "staff" { group = "adm"  configure = ".*"  write = ".*"  read = ".*" }
access "unmapped" { user = "65534"  upstream = "default"  configure = "^x"  write = "^x"  read = "^x" }
EOF
)
start_canary canary
canary_phase canary table
checks "$PYTHON" "$here/access.py"
canary_phase canary .
check "a costly name is in the log" contains "$scratch/muxd.log" 'access "costly": the pattern of read takes too long'
lines=$(grep -c 'takes too long' "$scratch/muxd.log")
check "but not each time" test "$lines" -le 20
check "nobody's mistake cost a connection" status_is upstreams.0.epoch 1
check_canary canary
check_muxd_stops
