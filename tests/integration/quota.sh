#!/bin/bash
# The limits of the configuration, for everyone and of an access section: each bites where it is said, and tells so.
. "$(dirname "$0")/lib.sh"
need_ipc
[ "$(id -u)" = 0 ] || skip_all "root is needed to be other users"
start_broker
chmod 0711 "$scratch"
start_muxd_and_wait < <(
  muxd_conf
  cat <<'EOF'
socket-mode = "0666"
limits {
  total-memory = "16M"
  session-memory = "8M"
  message-max = "1M"
  sessions = 40
  sessions-per-uid = 20
  channels-per-session = 30
  prefetch = 7
}
access "small" {
  user = "50002"
  configure = ".*"  write = ".*"  read = ".*"
  session-memory = "1M"
  message-max = "64K"
  sessions-per-uid = 3
  channels-per-session = 5
}
access "all" { configure = ".*"  write = ".*"  read = ".*" }
EOF
)
checks "$PYTHON" "$here/quota.py"
check "the log names limit and user" contains "$scratch/muxd.log" "sessions-per-uid is 3, and uid 50002 has 3"
check_muxd_stops
