# shellcheck shell=bash
# Read by the tests here: what tests/integration/lib.sh has, a link that can be
# disturbed, and the account.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../integration/lib.sh"
e2e=$srcdir/tests/e2e

# --------------------------------------------------------------------- dialogs

# A program that answers each line with a line, by named pipes that stay open.
declare -A dialog_in dialog_out dialog_pid

# NAME PATTERN COMMAND...: waits for a line that matches the pattern; it is in $greeting
start_dialog() {
  local dialog=$1 pattern=$2 input output line
  shift 2
  rm -f "$scratch/$dialog.in" "$scratch/$dialog.out"
  mkfifo "$scratch/$dialog.in" "$scratch/$dialog.out"
  exec {input}<>"$scratch/$dialog.in" {output}<>"$scratch/$dialog.out"
  dialog_in[$dialog]=$input dialog_out[$dialog]=$output
  start "$@" <"$scratch/$dialog.in" >"$scratch/$dialog.out" 2>>"$scratch/$dialog.log"
  dialog_pid[$dialog]=$started
  # shellcheck disable=SC2053 # it is a pattern
  IFS= read -r -t 120 -u "$output" line && [[ $line == $pattern ]] || {
    complain "$dialog has not started: $(cat "$scratch/$dialog.log")"
    exit 1
  }
  greeting=$line
}

# NAME LINE [SECONDS]: true if the answer begins with `ok`
ask() {
  local answer
  printf '%s\n' "$2" >&"${dialog_in[$1]}"
  IFS= read -r -t "${3-120}" -u "${dialog_out[$1]}" answer || answer="no answer from $1"
  [[ $answer == ok* ]] || {
    echo "$2: $answer"
    return 1
  }
}

# ------------------------------------------------------------------------ link

# [PORTS]: a relay to the broker; sets link_ports, LINK_URI of the first, LINK_URIS of all
start_link() {
  local port path=${BROKER_URI#"amqp://127.0.0.1:$BROKER_PORT"} zeros
  zeros=$(for ((port = 0; port < ${1-1}; port++)); do echo 0; done)
  # shellcheck disable=SC2086 # as many words as ports
  start_dialog link 'listening *' "$builddir/tests/e2e/relay" "$BROKER_PORT" $zeros
  read -r -a link_ports <<<"${greeting#listening }"
  LINK_URI="amqp://127.0.0.1:${link_ports[0]}$path" LINK_URIS=
  for port in "${link_ports[@]}"; do
    LINK_URIS="$LINK_URIS${LINK_URIS:+, }\"amqp://127.0.0.1:$port$path\""
  done
}

link() { ask link "$*"; } # COMMAND: see relay.c

# ---------------------------------------------------------------------- broker

broker_node_pid() {
  case $BROKER in
  testbroker) echo "$broker_pid" ;;
  rabbitmq) cat "$RABBITMQ_FOLDER/pid" ;;
  esac
}

# A memory alarm.
broker_alarm() { # on|off
  case $BROKER-$1 in
  testbroker-on) broker_command "block low on memory" ;;
  testbroker-off) broker_command unblock ;;
  rabbitmq-on) rabbitmq_ctl set_vm_memory_high_watermark 0.0000001 ;;
  rabbitmq-off) rabbitmq_ctl set_vm_memory_high_watermark 0.4 ;;
  esac
}

upstream_is_away() { ! upstream_is up; }
