#!/bin/bash
# Who declared, bound and deleted what is in the log, once each, and no more of it than is of use.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
export MUXD_LOG="$scratch/muxd.log" MUXD_CONF="$scratch/muxd.conf"
start_muxd_and_wait < <(muxd_conf)
checks "$PYTHON" "$here/audit.py"
checks "$PYTHON" "$here/audit.py" flood
check_muxd_stops
