#!/bin/bash
# Eight processes publish and eight consume while the broker and the way to it
# are disturbed; every message is accounted for (account.c). As a command of
# its own:
#
#   BROKER=rabbitmq tests/e2e/faults.sh [-s SEED] [-r PER-SECOND] [-g MESSAGES] [KIND=TIMES... | long]
#
# Faults come in an order drawn by the seed, with at least so many MESSAGES
# delivered between them. KIND is one of those below, `long` stands for 20
# restarts and 100 lost connections. Without any: each kind once or twice.
. "$(dirname "$0")/lib.sh"
kinds="cut reset half-up half-down stumble orphan freeze stall delay slice throttle restart close alarm delete failover stop"
seed=${SEED-1} rate=600 gap=200

# Each kind once, and on RabbitMQ those twice that take no time.
default_faults() {
  local kind
  for kind in $kinds; do
    case $BROKER-$kind in
    rabbitmq-cut | rabbitmq-reset | rabbitmq-half-* | rabbitmq-close | rabbitmq-delete | rabbitmq-failover) echo "$kind=2" ;;
    *) echo "$kind=1" ;;
    esac
  done
}

while getopts s:r:g: option; do
  case $option in
  s) seed=$OPTARG ;;
  r) rate=$OPTARG ;;
  g) gap=$OPTARG ;;
  *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
case ${1-} in
"")
  mapfile -t times < <(default_faults)
  set -- "${times[@]}"
  ;;
long) set -- restart=20 cut=25 reset=25 half-up=20 half-down=20 close=10 ;;
esac
calm=$((rate / 4 + 8))

start_broker
start_link 2
start_muxd_and_wait < <(link_conf 'heartbeat = "2s"')

queues="e2e.$$"

# ---------------------------------------------------------------------- faults
# Each does it and ends it, and says when the broker was there again.

at_once() { # LINK-COMMAND...: the way is good again right behind it
  link "$@" && account back
}

fault_cut() { at_once cut; }
fault_reset() { at_once reset; }
fault_half-up() { at_once half up; }
fault_half-down() { at_once half down; }
# The connections that follow are lost too, each a little further on its way to recovery.
fault_stumble() { link stumble 16 && at_once cut; }
# The broker goes on with the old connection, its consumers too, until heartbeats are missed.
fault_orphan() { at_once orphan; }
fault_stall() { at_once stall; }

# muxd finds out by its heartbeats
fault_freeze() {
  link freeze && wait_for 30 upstream_is_away && link thaw && account back
}

fault_stop() {
  local node
  node=$(broker_node_pid)
  kill -STOP "$node" && wait_for 30 upstream_is_away
  local found=$?
  kill -CONT "$node" && account "probe $BROKER_PORT 60" && return "$found"
}

bad_way() { # WORD NUMBER
  link "$1" "$2" && account "run $gap 60" && link "$1" 0 && account back
}

fault_delay() { bad_way delay 50; }
fault_slice() { bad_way slice 5; }
fault_throttle() { bad_way rate 150000; }

# Back is when it answers, not when rabbitmqctl does.
fault_restart() {
  local restart
  [ "$BROKER" = rabbitmq ] || {
    broker_restart && account back
    return
  }
  rabbitmq_ctl stop_app || return 1
  rabbitmq_ctl start_app >"$scratch/restart.out" 2>&1 &
  restart=$!
  account "probe $BROKER_PORT 90" && wait "$restart"
}

fault_close() { broker_close_connections && account back; }

fault_alarm() {
  broker_alarm on && account "blocked 30"
  local told=$?
  broker_alarm off && account back && account "unblocked 30" && return "$told"
}

deleted=0
fault_delete() {
  deleted=$((deleted + 1))
  muxctl --upstream outside --timeout 20s delete queue "$queues.8" && account back && account "cancelled $deleted 20"
}

endpoint() { status_of upstreams.0.endpoint; }

fault_failover() {
  local before index=0
  before=$(endpoint)
  [ "${before##*:}" = "${link_ports[0]}" ] || index=1
  link refuse "$index" && link cut && account back && account "settle 30" && check_other_endpoint "$before"
  local moved=$?
  link accept "$index" && return "$moved"
}

check_other_endpoint() { [ "$(endpoint)" != "$1" ] || { echo "still at $1" && return 1; }; }

run_fault() { # KIND
  account "fault $1" && "fault_$1" && account "settle 60" && account "calm $calm 60" && account "run $gap 60"
}

draw_order() { # KIND=TIMES...: one kind a line, in an order that the seed decides
  local arg i
  for arg; do
    for ((i = 0; i < ${arg#*=}; i++)); do
      echo "${arg%%=*}"
    done
  done | awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand(), $0 }' | sort | cut -d ' ' -f 2
}

for arg; do
  [[ " $kinds " == *" ${arg%%=*} "* && ${arg#*=} =~ ^[0-9]+$ ]] || {
    complain "'$arg' is not KIND=TIMES; kinds are: $kinds"
    exit 2
  }
done
mapfile -t order < <(draw_order "$@")

began=$EPOCHREALTIME
start_dialog account ready "$builddir/tests/e2e/account" -q "$queues" -s "$seed" -r "$rate"
say "seed $seed, $rate messages a second, ${#order[@]} faults"
undone=0
for kind in "${order[@]}"; do
  if ! run_fault "$kind" >"$scratch/fault.out" 2>&1; then
    undone=$((undone + 1))
    say "    a fault of kind $kind, at $(date +%T.%N):"
    sed 's/^/    /' "$scratch/fault.out"
  fi
done
check "each of ${#order[@]} faults was done, noticed where it can be, and over in time" equal 0 "$undone"
end_dialog account 60
checks report_is_good account "$exit_code"
say "took $(echo "$EPOCHREALTIME $began" | awk '{ printf "%.1f", $1 - $2 }') s"
check "no session is left over" wait_for 10 status_is sessions 1
check_muxd_stops
