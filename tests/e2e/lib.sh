# shellcheck shell=bash
# Read by the tests here: what tests/integration/lib.sh has, a link that can be
# disturbed, and the account.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../integration/lib.sh"

# ------------------------------------------------------------------------ link

# [PORTS]: a relay to the broker; sets link_ports
start_link() {
  local port zeros
  zeros=$(for ((port = 0; port < ${1-1}; port++)); do echo 0; done)
  # shellcheck disable=SC2086 # as many words as ports
  start_dialog link 'listening *' "$builddir/tests/e2e/relay" "$BROKER_PORT" $zeros
  read -r -a link_ports <<<"${greeting#listening }"
}

# LINE-FOR-UPSTREAM...: through the link, all its ports; and beside it the upstream
# `outside`, the connection by which others are at the broker.
link_conf() {
  local port uris path=${BROKER_URI#"amqp://127.0.0.1:$BROKER_PORT"}
  uris=$(printf "amqp://127.0.0.1:%s$path\", \"" "${link_ports[@]}")
  muxd_conf "${uris%\", \"}" 'connect-timeout = "2s"' "$@"
  say 'upstream "outside" {'
  say "  uri = { \"$BROKER_URI\" }"
  say '  reconnect-min = "50ms"'
  say '  reconnect-max = "200ms"'
  say '}'
}

link() {
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

link() { tell link "$*"; } # COMMAND: see relay.c

# ---------------------------------------------------------------------- broker

broker_node_pid() {
  case $BROKER in
  testbroker) echo "${dialog_pid[broker]}" ;;
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
