#!/bin/bash
# Requests that nobody can know beforehand to cost the connection to the
# broker: it is lost once, who did it gets the broker's error, and the same
# again is refused. Beside a canary.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker

epochs() { status_of upstreams.0.epoch; }
at_most() { [ "$1" -le "$2" ] || { echo "$1 is more than $2" && return 1; }; }

# STEP NAME: it costs one epoch at most; again, none.
costs_one_epoch() {
  local before after
  canary_phase canary "$1-$2"
  before=$(epochs)
  checks timeout 120 "$PYTHON" "$here/blame.py" "$1" "$2"
  wait_for 20 upstream_is up
  after=$(epochs)
  check "$1 $2 costs one epoch at most" at_most "$after" $((before + ${3-1}))
  checks timeout 120 "$PYTHON" "$here/blame.py" "$1" "$2"
  check "the same again costs none" status_is upstreams.0.epoch "$after"
}

case $BROKER in
testbroker)
  start_muxd_and_wait < <(muxd_conf)
  start_canary canary
  costs_one_epoch publish trap.crash.publish
  costs_one_epoch publish trap.refuse.publish
  costs_one_epoch publish trap.route.publish
  costs_one_epoch request trap.crash.bind
  costs_one_epoch request trap.refuse.bind
  # Without a word, the first loss may have been the network's.
  costs_one_epoch publish trap.drop.publish 2
  costs_one_epoch request trap.drop.bind 2
  costs_one_epoch get trap.refuse.get
  canary_phase canary offences
  checks timeout 120 "$PYTHON" "$here/blame.py" offend trap.crash.1 trap.crash.2 trap.crash.3
  ;;
rabbitmq)
  export VHOST
  # Who may not declare it cannot learn that it is a stream.
  rabbitmq_ctl add_user weak weak && rabbitmq_ctl set_permissions -p "$VHOST" weak '^muxd' '.*' '.*' || exit 1
  "$PYTHON" "$here/blame.py" make stream.blame "$VHOST" || exit 1
  start_muxd_and_wait < <(muxd_conf "${BROKER_URI/amqp:\/\//amqp://weak:weak@}")
  start_canary canary
  costs_one_epoch get stream.blame
  costs_one_epoch stream stream.poison
  ;;
esac
check "the log says what the guilty ones asked for last" contains "$scratch/muxd.log" "what it asked for last"
check_canary canary
check_muxd_stops
