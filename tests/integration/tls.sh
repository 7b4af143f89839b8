#!/bin/bash
# TLS to the broker: certificates of all kinds, who we are, what goes wrong, what is kept secret.
WANTS_TLS=yes
. "$(dirname "$0")/lib.sh"
command -v openssl >/dev/null || skip_all "openssl is missing (Debian's openssl)"
start_broker
log=$scratch/muxd.log
ulimit -S -c "$(ulimit -H -c)" # muxd lowers it
certs=$scratch/tls certs_folder=$scratch/tls # not the certificates that all tests share
path=${BROKER_URI#"amqp://127.0.0.1:$BROKER_PORT"}

certs_ca "$certs" && certs_ca "$certs" stranger &&
  certs_issue "$certs" good /CN=good san=IP:127.0.0.1,DNS:localhost &&
  certs_issue "$certs" named /CN=named san=DNS:localhost &&
  certs_issue "$certs" expired /CN=expired san=IP:127.0.0.1 from=20200101 to=20200201 &&
  certs_issue "$certs" early /CN=early san=IP:127.0.0.1 from=20480101 to=20490101 &&
  certs_issue "$certs" wrong "/CN=wrong" san=DNS:broker.test,IP:127.0.0.9 &&
  certs_issue "$certs" unknown /CN=unknown san=IP:127.0.0.1 by=stranger &&
  certs_issue "$certs" app /CN=app use=clientAuth &&
  certs_issue "$certs" intruder /CN=app use=clientAuth by=stranger &&
  certs_say openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch -days 9 -subj /CN=self \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$certs/self.key" -out "$certs/self.pem" || exit 1

# CERT [needs-client] [version=1.1]: the broker behind TLS with this certificate; sets server_port
serve() {
  case $BROKER in
  rabbitmq) serve_rabbitmq "$@" ;;
  testbroker)
    start_python front front "$BROKER_PORT" "$certs/$1" "$certs/ca.pem" "${@:2}"
    server_port=$python_port
    ;;
  esac
}

serve_rabbitmq() {
  local cert=$1 options='' option
  shift
  for option in "$@"; do
    case $option in
    needs-client) options="$options, {verify, verify_peer}, {fail_if_no_peer_cert, true}" ;;
    version=1.1) options="$options, {versions, ['tlsv1.1']}" ;;
    esac
  done
  server_port=$(rabbitmq_free_port) || exit 1
  rabbitmq_ctl eval "rabbit_networking:start_ssl_listener({\"127.0.0.1\", $server_port},
    [{cacertfile, \"$certs/ca.pem\"}, {certfile, \"$certs/$cert.pem\"}, {keyfile, \"$certs/$cert.key\"}$options], 1)." \
    >/dev/null || exit 1
}

# NAME COMMAND-OF-TLS.PY...: sets python_pid and python_port
start_python() {
  local what=$1
  shift
  start "$PYTHON" "$here/tls.py" "$@" </dev/null >"$scratch/$what.out" 2>"$scratch/$what.log"
  python_pid=$started
  wait_for 20 grep -q '^listening [0-9]' "$scratch/$what.out" || {
    complain "$what has not started: $(cat "$scratch/$what.log")"
    exit 1
  }
  python_port=$(sed -n 's/^listening //p' "$scratch/$what.out")
}

tls_conf() { # PORT [LINE...]: what is given again counts
  local port=$1
  shift
  muxd_conf "amqps://127.0.0.1:$port$path" "tls-ca = \"$certs/ca.pem\"" "$@"
}

status_says() { status_of upstreams.0.last_error | grep -qF -- "$1"; }
log_says() { grep -v ' debug' "$log" | grep -qF -- "$1" || { tail -n 3 "$log"; return 1; }; }

# WHAT TEXT... < CONFIGURATION: it does not come up, and the status and the log say these
refused() {
  local what=$1 text
  shift
  : >"$log"
  start_muxd
  check "$what: the state becomes 'backoff'" wait_for 20 upstream_is backoff
  for text in "$@"; do
    check "$what: the status says '$text'" wait_for 5 status_says "$text"
    check "$what: the log says it too" log_says "$text"
  done
  check_not "$what: it was never connected" grep -q 'connected to' "$log"
  check_muxd_stops
}

accepted() { # WHAT < CONFIGURATION
  : >"$log"
  start_muxd
  check "$1: the upstream comes up" wait_for 20 upstream_is up
  check_muxd_stops
}

# -------------------------------------------------------------------- certificates

serve good
good_port=$server_port
accepted "a good certificate" < <(tls_conf "$good_port")
check "and the log says what is spoken" grep -q 'TLS: TLSv1.[23], ' "$log"
accepted "a good certificate, by name" < <(tls_conf "$good_port" | sed s/127.0.0.1/localhost/)
serve expired
refused "an expired certificate" "certificate CN=expired has expired on 2020-02-01" < <(tls_conf "$server_port")
refused "an expired certificate, with tls-verify = ca" "has expired" < <(tls_conf "$server_port" 'tls-verify = "ca"')
accepted "an expired certificate, with tls-verify = none" < <(tls_conf "$server_port" 'tls-verify = "none"')
check "which is warned of" log_says "tls-verify is not full"
serve early
refused "a certificate of the future" "certificate CN=early is not valid before 2048-01-01" < <(tls_conf "$server_port")
serve wrong
refused "another's certificate" "the broker's certificate is for broker.test, 127.0.0.9, and not for 127.0.0.1" \
  < <(tls_conf "$server_port")
accepted "another's certificate, with tls-verify = ca" < <(tls_conf "$server_port" 'tls-verify = "ca"')
serve named
refused "a certificate without the address" "is for localhost, and not for 127.0.0.1" < <(tls_conf "$server_port")
serve unknown
refused "an unknown CA" "certificate CN=unknown: its issuer CN=muxd test stranger is not among the CAs in tls-ca" \
  < <(tls_conf "$server_port")
refused "an unknown CA, with those of the system" "CAs this system trusts; name the right one by tls-ca" \
  < <(muxd_conf "amqps://127.0.0.1:$server_port$path")
serve self
refused "a self-signed certificate" "certificate CN=self is self-signed" < <(tls_conf "$server_port")
accepted "a self-signed certificate that tls-ca names" < <(tls_conf "$server_port" | sed "s|/ca.pem|/self.pem|")
serve good version=1.1
refused "TLS 1.1" "TLS 1.2 or later" < <(tls_conf "$server_port")

# -------------------------------------------------------------------- who we are

serve good needs-client
client=("tls-cert = \"$certs/app.pem\"" "tls-key = \"$certs/app.key\"")
refused "no client certificate where one is needed" "it may want a client certificate: tls-cert and tls-key" \
  < <(tls_conf "$server_port")
refused "a client certificate of an unknown CA" "it does not know the CA of tls-cert" \
  < <(tls_conf "$server_port" "${client[@]//app/intruder}")
accepted "a client certificate" < <(tls_conf "$server_port" "${client[@]}")
if [ "$BROKER" = rabbitmq ]; then
  rabbitmq_ctl add_user app unused >/dev/null
  rabbitmq_ctl set_permissions -p "$VHOST" app '.*' '.*' '.*' >/dev/null || exit 1
  start_muxd_and_wait < <(tls_conf "$server_port" "${client[@]}" 'sasl = "external"')
  user_is() { rabbitmq_ctl list_connections user vhost | grep -qx "$1[[:space:]]$VHOST"; }
  check "EXTERNAL: the certificate says who we are" wait_for 10 user_is app
  check "EXTERNAL: publishing works" muxctl publish -r x x
  check_muxd_stops
  rabbitmq_ctl delete_user app >/dev/null
else
  skip "EXTERNAL: the certificate says who we are" "the test broker has PLAIN alone"
fi

# -------------------------------------------------------------------- no TLS there, or nothing at all

refused "a broker without TLS" "TLS: " < <(tls_conf "$BROKER_PORT" 'connect-timeout = "2s"')
asked_without="the peer speaks TLS at this port: write amqps:// in uri"
[ "$BROKER" = rabbitmq ] || asked_without="closed by the peer" # OpenSSL's servers do not answer what is not TLS
refused "a broker with TLS, asked without" "$asked_without" \
  < <(muxd_conf "amqp://127.0.0.1:$good_port$path")
check_not "which was not tried with TLS after that" grep -q 'TLS: TLSv1' "$log"
for what in junk http; do
  start_relay "$what"
  refused "a server that answers with $what" "what the peer sends is not TLS" < <(tls_conf "$relay_port")
  stop "$relay_pid"
done
start_relay close
refused "a server that closes" "closed the connection in the handshake" < <(tls_conf "$relay_port")
stop "$relay_pid"
start_relay silent
refused "a server that says nothing" "the peer does not finish the handshake" \
  < <(tls_conf "$relay_port" 'connect-timeout = "1s"')
stop "$relay_pid"

start_python more more "$good_port" 61
start_muxd < <(tls_conf "$python_port" 'reconnect-min = "1ms"' | sed 's/"500ms"/"5ms"/; /"50ms"/d')
check "a handshake that is cut again and again comes through when it is not" wait_for 60 upstream_is up
check "it was cut often" test "$(grep -c '^cut' "$scratch/more.out")" -gt 15
check "nothing but the network was to blame" test "$(grep -c 'alert\|certificate' "$log")" = 0
check_muxd_stops
stop "$python_pid"

# -------------------------------------------------------------------- under way

start_muxd_and_wait < <(tls_conf "$good_port")
muxctl declare queue tls >/dev/null
head -c 12000000 /dev/urandom | base64 -w 0 >"$scratch/large" # 16,000,000 bytes
large() { muxctl publish -r tls <"$scratch/large" && muxctl get tls | cmp - "$scratch/large"; }
check "a message of 16 MB goes and comes" large
seq 20000 >"$scratch/small"
small() { muxctl publish -r tls -l <"$scratch/small" && muxctl consume tls -n 20000 | cmp - "$scratch/small"; }
check "so do 20,000 small ones, in order" small
check "over one connection" status_is upstreams.0.epoch 1
broker_close_connections >/dev/null
again() { upstream_is up && test "$(status_of upstreams.0.epoch)" -ge 2; }
check "a lost connection is made again" wait_for 20 again
check "and works" muxctl publish -r tls x
muxctl delete queue tls >/dev/null
check_muxd_stops

start_python far more "$good_port" 1000000000
start_muxd_and_wait < <(tls_conf "$python_port" 'heartbeat = "1s"')
kill -STOP "$python_pid"
away() { ! upstream_is up; }
check "a frozen peer is noticed by its heartbeats" wait_for 20 away
kill -CONT "$python_pid"
check "and when it thaws, the upstream comes back" wait_for 20 upstream_is up
check_muxd_stops
stop "$python_pid"

# -------------------------------------------------------------------- what --check says

muxd_check() {
  # this one is in no sandbox, nor the user muxd, whom the secrets were given to
  [ -z "${MUXD_UNDER-}" ] || chown -R --from=muxd root "$scratch"
  "$builddir/daemon/muxd" --check -c "$scratch/check.conf" 2>&1
}
says() { # EXIT-CODE TEXT
  local output
  output=$(muxd_check)
  equal "$1" $? && case $output in *"$2"*) return 0 ;; esac
  echo "'$2' is not in:"
  echo "$output"
  return 1
}

# WHAT EXIT-CODE TEXT < CONFIGURATION
check_says() {
  cat >"$scratch/check.conf"
  check "--check: $1" says "$2" "$3"
}
line=8 # of the first key of TLS
echo nonsense >"$scratch/nonsense"
(umask 077 && cp "$certs/app.key" "$scratch/own.key" && openssl pkey -in "$certs/app.key" -aes128 -passout pass:x -out "$scratch/locked.key")
cp "$certs/app.key" "$scratch/open.key"
chmod 644 "$scratch/open.key"
cp "$certs/good.key" "$scratch/other.key"
chmod 600 "$scratch/other.key"
section="upstream \"default\""
check_says "all is well" 0 "no errors" < <(tls_conf 1 "${client[@]}")
check_says "a CA that is not there" 78 "check.conf:$((line - 1)): $section: tls-ca: $certs/none.pem: No such file" \
  < <(tls_conf 1 | sed s/ca.pem/none.pem/)
check_says "a CA that is none" 78 "check.conf:$((line - 1)): $section: tls-ca: $scratch/nonsense: no certificate is in it" \
  < <(tls_conf 1 | sed "s|$certs/ca.pem|$scratch/nonsense|")
with_key() { tls_conf 1 "tls-cert = \"${2:-$certs/app.pem}\"" "tls-key = \"$1\""; }
check_says "a key that others can read" 78 "check.conf:$((line + 1)): $section: tls-key: $scratch/open.key: mode 0644" \
  < <(with_key "$scratch/open.key")
check_says "the key of another certificate" 78 "check.conf:$((line + 1)): $section: tls-key: $scratch/other.key: this key is not" \
  < <(with_key "$scratch/other.key")
check_says "an encrypted key" 78 "check.conf:$((line + 1)): $section: tls-key: $scratch/locked.key: the key is encrypted" \
  < <(with_key "$scratch/locked.key")
check_says "a key that is none" 78 "tls-key: $certs/app.key: no private key" \
  < <(cp "$certs/app.key" "$certs/kept" && cp "$scratch/nonsense" "$certs/app.key" && chmod 600 "$certs/app.key" && with_key "$certs/app.key")
mv "$certs/kept" "$certs/app.key" && chmod 600 "$certs/app.key"
check_says "an expired certificate is a warning" 0 "check.conf:$line: $section: tls-cert: $certs/expired.pem: certificate CN=expired has expired on 2020-02-01" \
  < <(with_key "$certs/expired.key" "$certs/expired.pem")
check_says "EXTERNAL without a certificate" 78 "sasl = external needs tls-cert and tls-key" \
  < <(tls_conf 1 'sasl = "external"')
check_says "a certificate without its key" 78 "tls-cert and tls-key are only of use together" \
  < <(tls_conf 1 "tls-cert = \"$certs/app.pem\"")

# -------------------------------------------------------------------- secrets

# A password that nothing else looks like, in a file; the broker's is the test's own.
secret="Sesam-$RANDOM-$RANDOM-oeffne-dich"
printf '%s\n' "$secret" >"$scratch/secret"
chmod 600 "$scratch/secret"
case $BROKER in
rabbitmq)
  rabbitmq_ctl add_user keeper "$secret" >/dev/null
  rabbitmq_ctl set_permissions -p "$VHOST" keeper '.*' '.*' '.*' >/dev/null || exit 1
  ;;
testbroker)
  skip "secrets" "the test broker takes no password from a file; RabbitMQ does"
  exit 0
  ;;
esac
: >"$log"
start_muxd_and_wait < <(muxd_conf "amqps://keeper@127.0.0.1:$good_port$path" "tls-ca = \"$certs/ca.pem\"" "${client[@]}" \
  "password-file = \"$scratch/secret\"")
muxctl publish -r x x
kill -USR1 "$MUXD_PID"
broker_close_connections >/dev/null
check "the connection is lost and made again" wait_for 20 again
check_not "the log does not hold the password" grep -F "$secret" "$log"
check_not "the status does not" eval 'muxctl --json status | grep -F "$secret"'
check_not "the command line does not" grep -aF "$secret" "/proc/$MUXD_PID/cmdline" "/proc/$MUXD_PID/environ"
printf '%s' "$secret" >"$scratch/needle"
sed -n 2p "$certs/app.key" | tr -d '\n' >"$scratch/needle.key"
if "$PYTHON" "$here/tls.py" count "$MUXD_PID" "$scratch/needle" >"$scratch/count"; then
  check "memory holds it once, to connect again" equal 1 "$(cat "$scratch/count")"
  check "memory does not hold the text of the key" equal 0 \
    "$("$PYTHON" "$here/tls.py" count "$MUXD_PID" "$scratch/needle.key")"
else
  skip "memory holds it once, to connect again" "its memory cannot be read here"
fi
check "no core is written" grep -Eq '^Max core file size +0 ' "/proc/$MUXD_PID/limits"
chmod 644 "$scratch/secret"
cp "$scratch/muxd.conf" "$scratch/check.conf"
check "--check: a password file that others can read" says 78 "password-file: $scratch/secret: mode 0644: others may use it"
rabbitmq_ctl delete_user keeper >/dev/null
check_muxd_stops
