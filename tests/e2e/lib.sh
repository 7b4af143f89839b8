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
  start_dialog link 'listening *' "$builddir/tests/e2e/relay" "$UPSTREAM_PORT" $zeros
  read -r -a link_ports <<<"${greeting#listening }"
  note_tls_port "$BROKER_PORT" "${link_ports[*]}"
}

# LINE-FOR-UPSTREAM...: through the link, all its ports; and beside it the upstream
# `outside`, the connection by which others are at the broker. With a SECOND_VHOST
# the second port leads to that one, as to another broker.
link_conf() {
  local port uris= vhost=$VHOST
  for port in "${link_ports[@]}"; do
    uris="$uris${uris:+\", \"}$(uri "$port" "$vhost")"
    vhost=${SECOND_VHOST-$VHOST}
  done
  muxd_conf "$uris" 'connect-timeout = "2s"' "$@"
  direct_conf outside "$VHOST"
  [ -z "${SECOND_VHOST-}" ] || direct_conf second "$SECOND_VHOST"
}

uri() { # PORT VHOST
  say "amqp://127.0.0.1:$1$([ "$2" = / ] || echo "/$2")"
}

direct_conf() { # NAME VHOST
  say "upstream \"$1\" {"
  say "  uri = { \"$(uri "$BROKER_PORT" "$2")\" }"
  say '  reconnect-min = "50ms"'
  say '  reconnect-max = "200ms"'
  say '}'
}

link() { tell link "$*"; } # COMMAND: see relay.c

# ---------------------------------------------------------------------- broker

broker_node_pid() {
  case $BROKER in
  testbroker) echo "${dialog_pid[broker]}" ;;
  rabbitmq) cat "$RABBITMQ_FOLDER/pid" ;;
  esac
}

upstream_is_away() { ! upstream_is up; }
