#!/bin/bash
# Which permission each operation needs: muxd.conf(5)'s table, muxd, and RabbitMQ must agree.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker

# USER CONFIGURE WRITE READ, as in permissions.py
users() {
  say letters '-.*c' '-.*w' '-.*r'
  say web '^(web\.|amq\.gen|muxd\.gen-)' '^(web\.|amq\.default$)' '^(web\.|amq\.gen|muxd\.gen-)'
  say strict '^web\.' '^web\.' '^web\.'
  say none '' '' ''
}

# The broker's users have the rules in one virtual host; in the other muxd has them, and guest may do everything.
make_users() {
  local user configure write read erlang=
  while read -r user configure write read; do
    erlang+="rabbit_auth_backend_internal:add_user(<<\"$user\">>, <<\"$user\">>, <<\"test\">>),"
    erlang+="rabbit_auth_backend_internal:set_permissions(<<\"$user\">>, <<\"$VHOST\">>,"
    erlang+="<<\"${configure//\\/\\\\}\">>, <<\"${write//\\/\\\\}\">>, <<\"${read//\\/\\\\}\">>, <<\"test\">>),"
  done < <(users)
  rabbitmq_ctl eval "${erlang%,}." >/dev/null || exit 1
}

drop_users() { # one name after the other would take a second each
  rabbitmq_ctl eval "[rabbit_auth_backend_internal:delete_user(U, <<\"test\">>) ||
    U <- [<<\"letters\">>, <<\"web\">>, <<\"strict\">>, <<\"none\">>]]." >/dev/null
}

uri=$BROKER_URI
if [ "$BROKER" = rabbitmq ]; then
  add_vhost "$VHOST.mux"
  make_users
  uri=$BROKER_URI.mux
fi
start_muxd_and_wait < <(
  muxd_conf "$uri"
  while read -r user configure write read; do
    say "upstream \"$user\" { uri = \"$uri\" }"
    say "access \"$user\" {"
    say "  upstream = \"$user\""
    printf "  %s = '%s'\n" configure "$configure" write "$write" read "$read"
    say '}'
  done < <(users)
)
checks "$PYTHON" "$here/permissions.py" "$BROKER" "$BROKER_PORT" "$VHOST"
check "nobody's mistake cost a connection" status_is upstreams.1.epoch 1
check_muxd_stops
[ "$BROKER" != rabbitmq ] || drop_users
