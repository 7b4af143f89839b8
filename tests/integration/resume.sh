#!/bin/bash
# What outlives muxd: names that it made, for those who have their tokens; publishes that are sent again.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_muxd_and_wait < <(muxd_conf)
checks timeout 60 "$PYTHON" "$here/resume.py" before "$scratch/names"
stop "$MUXD_PID" KILL
check "muxd was killed" equal 137 "$exit_code"
start_muxd_and_wait < <(muxd_conf)
checks timeout 60 "$PYTHON" "$here/resume.py" after "$scratch/names"
check "the connection is the first one" status_is upstreams.0.epoch 1
check_muxd_stops
