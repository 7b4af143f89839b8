#!/bin/bash
# Each user can have a muxd of their own, as under `systemd --user`: its socket is in $XDG_RUNTIME_DIR, and named nowhere.
. "$(dirname "$0")/lib.sh"
[ -z "${MUXD_UNDER-}" ] || skip_all "a user's own muxd is not the service"
start_broker

user=() other=()
if [ "$(id -u)" -eq 0 ]; then
  user=(setpriv --reuid 60011 --regid 60011 --clear-groups)
  other=(setpriv --reuid 60012 --regid 60012 --clear-groups)
  "${user[@]}" test -x "$builddir/daemon/muxd" || skip_all "other users cannot see the build folder"
fi
run=$scratch/run
mkdir -m 0700 "$run"
chmod 0711 "$scratch"
[ ${#user[@]} -eq 0 ] || chown 60011:60011 "$run"
muxd_conf | sed '/^socket =/d' >"$scratch/muxd.conf"
unset MUXD_SOCKET
export XDG_RUNTIME_DIR=$run

check_not "without XDG_RUNTIME_DIR there is no place for the socket" env -u XDG_RUNTIME_DIR \
  "${user[@]}" timeout 20 "$builddir/daemon/muxd" -c "$scratch/muxd.conf"
env -u XDG_RUNTIME_DIR "${user[@]}" timeout 20 "$builddir/daemon/muxd" -c "$scratch/muxd.conf" 2>"$scratch/err"
check "the error says what to do" contains "$scratch/err" "use -s SOCKET"

start "${user[@]}" "$builddir/daemon/muxd" -c "$scratch/muxd.conf" </dev/null 2>>"$scratch/muxd.log"
MUXD_PID=$started
as_user() { "${user[@]}" timeout 60 "$builddir/client/muxctl" "$@"; }
check "it makes its socket there" wait_for 20 test -S "$run/muxd.sock"
check "the user's programs find it" as_user --timeout 20s ping
check "and use it" as_user --timeout 20s declare queue "" --exclusive
if [ ${#other[@]} -gt 0 ]; then
  check_not "other users cannot connect" "${other[@]}" timeout 60 "$builddir/client/muxctl" -s "$run/muxd.sock" ping
else
  skip "other users cannot connect" "only root can try as somebody else"
fi
check_muxd_stops
check_not "the socket goes with it" test -e "$run/muxd.sock"
