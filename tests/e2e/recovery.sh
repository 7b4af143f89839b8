#!/bin/bash
# What went wrong in others' recovery of lost connections; see recovery.py. As
# a command of its own it takes names of its tests.
. "$(dirname "$0")/lib.sh"
need_ipc
export HEARTBEAT=1 OVER_TLS
start_broker
start_link 2
case $BROKER in
testbroker) SECOND_VHOST=one ;;
rabbitmq) SECOND_VHOST=$VHOST.second && add_vhost "$SECOND_VHOST" ;;
esac
link refuse 1 >/dev/null
start_muxd_and_wait < <(link_conf "heartbeat = \"${HEARTBEAT}s\"")
checks timeout 250 "$PYTHON" "$srcdir/tests/e2e/recovery.py" "$@"
check "no session is left over" wait_for 10 status_is sessions 1
check_muxd_stops
