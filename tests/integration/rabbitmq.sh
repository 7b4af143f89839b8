# shellcheck shell=bash
# Read by lib.sh and quickstart: a RabbitMQ node of the caller's own, on ports
# of its own, with all it writes in one folder. It needs neither root nor a
# name service nor the system's epmd.
#
# rabbitmq_start FOLDER   sets and exports RABBITMQ_FOLDER and RABBITMQ_PORT;
#                         1, with a reason on stderr, if it cannot
#                         RABBITMQ_TEST_ADDRESS: where it listens, if not on 127.0.0.1
#                         RABBITMQ_TEST_CERTS: a folder with ca.pem, broker.pem and broker.key (certs.sh);
#                         then it speaks TLS as well, at RABBITMQ_TLS_PORT
# rabbitmq_ctl ARG...     rabbitmqctl for the node of RABBITMQ_FOLDER
# rabbitmq_stop           also after a start that failed

rabbitmq_bin=/usr/lib/rabbitmq/bin

# A TCP port that nobody listens on now.
rabbitmq_free_port() {
  local port
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return 0; }
  done
  return 1
}

# Everything a program of RabbitMQ's takes from its environment. The node's
# address is a number, so that no name need resolve.
rabbitmq_write_settings() {
  local dist
  RABBITMQ_PORT=$(rabbitmq_free_port) && RABBITMQ_EPMD_PORT=$(rabbitmq_free_port) &&
    dist=$(rabbitmq_free_port) && RABBITMQ_TLS_PORT=$(rabbitmq_free_port) || return 1
  mkdir -p "$RABBITMQ_FOLDER/log" "$RABBITMQ_FOLDER/mnesia"
  if [ -z "${RABBITMQ_TEST_CERTS-}" ]; then
    echo '[].' >"$RABBITMQ_FOLDER/plugins"
  else
    echo '[rabbitmq_auth_mechanism_ssl].' >"$RABBITMQ_FOLDER/plugins"
  fi
  {
    echo "disk_free_limit.absolute = 64MB"
    [ -z "${RABBITMQ_TEST_ADDRESS-}" ] || echo "loopback_users = none"
    [ -z "${RABBITMQ_TEST_CERTS-}" ] || rabbitmq_tls_settings
  } >"$RABBITMQ_FOLDER/rabbitmq.conf"
  cat >"$RABBITMQ_FOLDER/settings" <<EOS
HOME=$RABBITMQ_FOLDER
LC_ALL=C.UTF-8
ERL_EPMD_PORT=$RABBITMQ_EPMD_PORT
ERL_EPMD_ADDRESS=127.0.0.1
RABBITMQ_CONF_ENV_FILE=/dev/null
RABBITMQ_CONFIG_FILE=$RABBITMQ_FOLDER/rabbitmq.conf
RABBITMQ_USE_LONGNAME=true
RABBITMQ_NODENAME=muxd-test@127.0.0.1
RABBITMQ_NODE_IP_ADDRESS=${RABBITMQ_TEST_ADDRESS:-127.0.0.1}
RABBITMQ_NODE_PORT=$RABBITMQ_PORT
RABBITMQ_DIST_PORT=$dist
RABBITMQ_MNESIA_BASE=$RABBITMQ_FOLDER/mnesia
RABBITMQ_LOG_BASE=$RABBITMQ_FOLDER/log
RABBITMQ_ENABLED_PLUGINS_FILE=$RABBITMQ_FOLDER/plugins
RABBITMQ_PID_FILE=$RABBITMQ_FOLDER/pid
EOS
}

# A client's certificate is asked for, looked at if there is one, and names the user for EXTERNAL.
rabbitmq_tls_settings() {
  cat <<EOS
listeners.ssl.1 = ${RABBITMQ_TEST_ADDRESS:-127.0.0.1}:$RABBITMQ_TLS_PORT
ssl_options.cacertfile = $RABBITMQ_TEST_CERTS/ca.pem
ssl_options.certfile = $RABBITMQ_TEST_CERTS/broker.pem
ssl_options.keyfile = $RABBITMQ_TEST_CERTS/broker.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
ssl_cert_login_from = common_name
EOS
}

# PROGRAM ARG...: becomes it, with those settings; in a subshell.
rabbitmq_exec() {
  local -a settings
  mapfile -t settings <"$RABBITMQ_FOLDER/settings"
  cd "$RABBITMQ_FOLDER" && exec env -u NOTIFY_SOCKET -u LD_PRELOAD "${settings[@]}" "$@"
}

rabbitmq_ctl() {
  (rabbitmq_exec timeout 60 "$rabbitmq_bin/rabbitmqctl" -q "$@")
}

# epmd lists the nodes of a host; this one belongs to our node alone.
rabbitmq_start_processes() {
  rabbitmq_exec epmd -port "$RABBITMQ_EPMD_PORT" -address 127.0.0.1 </dev/null >/dev/null 2>&1 &
  rabbitmq_epmd_pid=$!
  rabbitmq_exec "$rabbitmq_bin/rabbitmq-server" </dev/null >"$RABBITMQ_FOLDER/log/start" 2>&1 &
  rabbitmq_server_pid=$!
}

rabbitmq_try() {
  rabbitmq_write_settings || return 1
  rabbitmq_start_processes
  for _ in $(seq 450); do
    grep -qs 'Server startup complete' "$RABBITMQ_FOLDER"/log/*.log && return 0
    kill -0 "$rabbitmq_server_pid" 2>/dev/null || break
    sleep 0.2
  done
  rabbitmq_stop
  return 1
}

rabbitmq_start() {
  export RABBITMQ_FOLDER=$1 RABBITMQ_PORT RABBITMQ_TLS_PORT
  if [ ! -x "$rabbitmq_bin/rabbitmq-server" ]; then
    echo "RabbitMQ is not installed (Debian's package rabbitmq-server)" >&2
    return 1
  fi
  mkdir -p "$RABBITMQ_FOLDER"
  rabbitmq_try && return 0
  # a port that was free may be somebody's when the node has come so far, seconds later
  if grep -qs eaddrinuse "$RABBITMQ_FOLDER"/log/*; then
    rm -f "$RABBITMQ_FOLDER"/log/*
    rabbitmq_try && return 0
  fi
  echo "RabbitMQ has not started; the end of what it says:" >&2
  tail -n 20 "$RABBITMQ_FOLDER"/log/* >&2
  return 1
}

# The wrapper may die before the node; the node's own pid is in its file.
rabbitmq_stop() {
  local node
  node=$(cat "$RABBITMQ_FOLDER/pid" 2>/dev/null)
  for pid in $node $rabbitmq_server_pid; do
    kill -TERM "$pid" 2>/dev/null
  done
  for _ in $(seq 100); do
    [ -n "$node" ] && kill -0 "$node" 2>/dev/null || break
    sleep 0.2
  done
  for pid in $node $rabbitmq_server_pid $rabbitmq_epmd_pid; do
    kill -KILL "$pid" 2>/dev/null
  done
  wait "$rabbitmq_server_pid" "$rabbitmq_epmd_pid" 2>/dev/null
  rabbitmq_epmd_pid= rabbitmq_server_pid=
  return 0
}
