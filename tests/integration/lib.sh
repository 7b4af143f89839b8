# shellcheck shell=bash
# Read by every integration test. A test says what must be true, in sentences:
#
#   check SENTENCE COMMAND...   counts; shows the command's output if it fails
#   check_not SENTENCE COMMAND...
#   checks COMMAND...           a program that prints `ok: ...`, `FAILED: ...`
#                               and `skipped: ...` itself
#   skip SENTENCE REASON
#   need_systemd "$@"           the rest of the test runs in a real systemd
#
# Nothing waits by sleeping: wait_for SECONDS COMMAND... tries until it is true.
# The broker is $BROKER, testbroker or rabbitmq; start_broker and the broker_...
# functions are the same for both. With rabbitmqs muxd speaks TLS to it, which no
# test need know: its configurations are rewritten (to_tls). At exit, whatever the reason, all that was
# started is stopped, the scratch folder goes, and the totals are printed.

set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
srcdir=$(cd "$here/../.." && pwd)
builddir=$(cd "${builddir:-.}" && pwd)
name=$(basename "$0" .sh)
: "${BROKER:=testbroker}"
: "${PYTHON:=/usr/bin/python3}"
label=$BROKER OVER_TLS=
[ "$BROKER" != rabbitmqs ] || { BROKER=rabbitmq && OVER_TLS=yes; }
scratch=$(mktemp -d "${TMPDIR:-/tmp}/muxd-$name.XXXXXX")
export builddir srcdir scratch BROKER MUXD_SOCKET="$scratch/muxd.sock"
export PYTHONPATH="$scratch/python:$here" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
unset MUXD_UPSTREAM NOTIFY_SOCKET LISTEN_FDS LISTEN_PID JOURNAL_STREAM
passed=0 failed=0 skipped=0
pids=()
declare -A waited_by # a pid -> the child of ours that ends with it

# shellcheck source=tests/integration/rabbitmq.sh
. "$here/rabbitmq.sh"
# shellcheck source=tests/integration/certs.sh
. "$here/certs.sh"

say() { printf '%s\n' "$*"; }
complain() { printf '%s: %s\n' "$name" "$*" >&2; }

pass() {
  passed=$((passed + 1))
  say "ok: $1"
}

fail() { # SENTENCE [OUTPUT]
  failed=$((failed + 1))
  say "FAILED: $1"
  [ -z "${2-}" ] || printf '%s\n' "$2" | tail -n 20 | sed 's/^/    /'
}

skip() {
  skipped=$((skipped + 1))
  say "skipped: $1: $2"
}

check() {
  local sentence=$1 output
  shift
  if output=$("$@" 2>&1); then pass "$sentence"; else fail "$sentence" "$output"; fi
}

check_not() {
  local sentence=$1 output
  shift
  if output=$("$@" 2>&1); then fail "$sentence" "$output"; else pass "$sentence"; fi
}

checks() {
  local line before=$failed status
  "$@" >"$scratch/checks.out" 2>&1
  status=$?
  while IFS= read -r line; do
    case $line in
    "ok: "*) passed=$((passed + 1)) ;;
    "FAILED: "*) failed=$((failed + 1)) ;;
    "skipped: "*) skipped=$((skipped + 1)) ;;
    esac
    say "$line"
  done <"$scratch/checks.out"
  [ "$status" -eq 0 ] || [ "$failed" -gt "$before" ] || fail "$(basename "$1") ends with exit code $status, not 0"
}

wait_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1 + 1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

contains() { # FILE TEXT
  grep -qF -- "$2" "$1" && return 0
  echo "'$2' is not in $(basename "$1"):"
  tail -n 10 "$1"
  return 1
}

equal() {
  [ "$1" = "$2" ] && return 0
  echo "expected '$1', got '$2'"
  return 1
}

# ------------------------------------------------------------------ processes

# COMMAND...: runs it beside us, with our stdin; its pid is in $started
start() {
  { "$@" <&3 & } 3<&0
  started=$!
  pids+=("$started")
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

# PID [SIGNAL]: sets $exit_code; 1 if it had to be killed after 20 s
stop() {
  kill -"${2:-TERM}" "$1" 2>/dev/null
  reap "$1" 20
}

reap() { # PID SECONDS
  local end=$((SECONDS + $2 + 1)) late=0
  # a zombie can be signalled; its state in /proc tells
  while [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; do
    [ "$SECONDS" -lt "$end" ] || {
      late=1
      kill -KILL "$1" 2>/dev/null
      break
    }
    sleep 0.02
  done
  wait "${waited_by[$1]-$1}" 2>/dev/null
  exit_code=$?
  return "$late"
}

cleanup() {
  local status=$? pid
  trap '' EXIT HUP INT TERM
  if [ "$failed" -gt 0 ] || [ "$status" -ne 0 ]; then
    for log in "$scratch"/*.log; do
      [ -s "$log" ] && say "--- the end of $(basename "$log")" && tail -n 25 "$log"
    done
    grep -s 'Z [^ ]*: upstream ' "$scratch/muxd.log" | head -n 25
  fi
  for pid in "${pids[@]}"; do
    kill -CONT "$pid" 2>/dev/null
    kill -TERM "$pid" 2>/dev/null
  done
  for pid in "${pids[@]}"; do
    reap "$pid" 10
  done
  [ -z "${own_rabbitmq-}" ] || rabbitmq_stop
  [ -n "${own_rabbitmq-}" ] || [ -z "${own_limits-}" ] || rabbitmq_offer 2047 131072
  [ -n "${own_rabbitmq-}" ] || [ -z "${own_user-}" ] || rabbitmq_ctl delete_user "$LIMITED_USER" >/dev/null
  [ -z "${vhosts-}" ] || rabbitmq_drop_vhosts
  rm -rf "$scratch"
  # a test that ends in the middle has failed
  [ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
  say "$name-$label: $passed passed, $failed failed, $skipped skipped"
  exit $((failed > 0)) # in a trap, exit without a number is the status from before it
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# -------------------------------------------------------------------- dialogs

# Programs that answer each line with a line, by named pipes that stay open: from subshells as well.
declare -A dialog_in dialog_out dialog_pid

# NAME PATTERN COMMAND...: its first line, which must match the pattern, is in $greeting
start_dialog() {
  local dialog=$1 pattern=$2 input output
  shift 2
  rm -f "$scratch/$dialog.in" "$scratch/$dialog.out"
  mkfifo "$scratch/$dialog.in" "$scratch/$dialog.out"
  exec {input}<>"$scratch/$dialog.in" {output}<>"$scratch/$dialog.out"
  dialog_in[$dialog]=$input dialog_out[$dialog]=$output
  start "$@" <"$scratch/$dialog.in" >"$scratch/$dialog.out" 2>>"$scratch/$dialog.log"
  dialog_pid[$dialog]=$started
  # shellcheck disable=SC2053 # it is a pattern
  IFS= read -r -t 60 -u "$output" greeting && [[ $greeting == $pattern ]] || {
    complain "$dialog has not started: $(cat "$scratch/$dialog.log")"
    exit 1
  }
}

tell() { # NAME LINE: prints the answer; 1 if there is none, or it does not begin with `ok`
  local answer
  (
    flock 9
    printf '%s\n' "$2" >&"${dialog_in[$1]}"
    IFS= read -r -t 120 -u "${dialog_out[$1]}" answer || answer="no answer from $1 to '$2'"
    printf '%s\n' "$answer"
    [[ $answer == ok* ]]
  ) 9>"$scratch/$1.lock"
}

end_dialog() { # NAME SECONDS: what it says at last is in $scratch/NAME.report, its exit code in $exit_code
  local line
  printf 'end %s\n' "$2" >&"${dialog_in[$1]}"
  reap "${dialog_pid[$1]}" $(($2 + 140))
  # the pipe is ours as well, so there is no end of file
  printf '.\n' >"$scratch/$1.out"
  while IFS= read -r -u "${dialog_out[$1]}" line && [ "$line" != . ]; do
    echo "$line"
  done >"$scratch/$1.report"
}

report_is_good() { # NAME EXIT-CODE
  cat "$scratch/$1.report" "$scratch/$1.log"
  return "$2"
}

account() { tell account "$1"; } # LINE: see tests/e2e/account.c

# --------------------------------------------------------------------- broker

# [TESTBROKER-OPTION...]: starts or finds the broker; sets BROKER_PORT, VHOST, BROKER_URI; and UPSTREAM_PORT, at
# which muxd finds it.
start_broker() {
  case $BROKER in
  testbroker) start_testbroker "$@" ;;
  rabbitmq) start_rabbitmq ;;
  *) complain "unknown broker '$BROKER'" && exit 2 ;;
  esac
  : "${UPSTREAM_PORT:=$BROKER_PORT}"
  BROKER_URI="amqp://127.0.0.1:$BROKER_PORT"
  [ "$VHOST" = / ] || BROKER_URI="$BROKER_URI/$VHOST"
}

start_testbroker() {
  start_dialog broker 'listening *' "$builddir/tests/broker/testbroker" "$@"
  BROKER_PORT=${greeting#listening } VHOST=/
}

# CHANNEL-MAX FRAME-MAX: the broker's limits for connections to come; of RabbitMQ until the test ends.
start_broker_with_limits() {
  case $BROKER in
  testbroker) start_broker --channel-max "$1" --frame-max "$2" ;;
  rabbitmq)
    start_broker
    own_limits=yes
    rabbitmq_offer "$1" "$2"
    ;;
  esac
}

rabbitmq_offer() { # CHANNEL-MAX FRAME-MAX
  rabbitmq_ctl eval "application:set_env(rabbit, channel_max, $1), application:set_env(rabbit, frame_max, $2)." >/dev/null ||
    exit 1
}

# NUMBER: a user $LIMITED_USER who may open so many channels, in $LIMITED_URI. Each test has one of its own:
# RabbitMQ may go on counting channels of a user that was deleted in the middle of things, for the next of that name.
start_broker_with_user_limit() {
  export LIMITED_USER=limited
  case $BROKER in
  testbroker) start_broker --user limited --password limited --user-channels "$1" ;;
  rabbitmq)
    start_broker
    own_user=yes LIMITED_USER=limited-$name
    rabbitmq_ctl add_user "$LIMITED_USER" "$LIMITED_USER" >/dev/null &&
      rabbitmq_ctl set_permissions -p "$VHOST" "$LIMITED_USER" '.*' '.*' '.*' &&
      rabbitmq_ctl set_user_limits "$LIMITED_USER" "{\"max-channels\": $1}" || exit 1
    ;;
  esac
  LIMITED_URI=${BROKER_URI/amqp:\/\//amqp://$LIMITED_USER:$LIMITED_USER@}
}

# One node serves a whole run; each test has virtual hosts of its own there.
start_rabbitmq() {
  if [ -z "${RABBITMQ_FOLDER-}" ]; then
    [ -z "${OVER_TLS}${WANTS_TLS-}" ] || certs_broker "$scratch/certs" || exit 1
    rabbitmq_start "$scratch/rabbitmq" || exit 1
    own_rabbitmq=yes
  fi
  BROKER_PORT=$RABBITMQ_PORT
  # a copy, because a muxd in a sandbox may see this folder alone
  [ -z "$OVER_TLS" ] || { UPSTREAM_PORT=$RABBITMQ_TLS_PORT && cp "$RABBITMQ_TEST_CERTS/ca.pem" "$scratch/ca.pem"; }
  VHOST="$name.$$"
  case "${vhosts-} " in *" $VHOST "*) ;; *) add_vhost "$VHOST" ;; esac
}

add_vhost() { # NAME
  [ "$BROKER" = rabbitmq ] || return 0 # the test broker has `one` and `two`
  vhosts="${vhosts-} $1"
  rabbitmq_ctl add_vhost "$1" && rabbitmq_ctl set_permissions -p "$1" guest '.*' '.*' '.*' || exit 1
}

rabbitmq_drop_vhosts() {
  local vhost
  [ -z "${own_rabbitmq-}" ] || return 0
  for vhost in $vhosts; do
    rabbitmq_ctl delete_vhost "$vhost" >/dev/null
  done
}

broker_command() { tell broker "$1"; } # LINE: the test broker's answer

# A memory alarm.
broker_alarm() { # on|off
  case $BROKER-$1 in
  testbroker-on) broker_command "block low on memory" ;;
  testbroker-off) broker_command unblock ;;
  rabbitmq-on) rabbitmq_ctl set_vm_memory_high_watermark 0.0000001 ;;
  rabbitmq-off) rabbitmq_ctl set_vm_memory_high_watermark 0.4 ;;
  esac
}

# How many AMQP connections the broker has (of RabbitMQ: on this test's virtual hosts).
broker_connections() {
  case $BROKER in
  testbroker) broker_command connections | sed -n 's/^ok connections //p' ;;
  rabbitmq) rabbitmq_ctl list_connections vhost | awk -v ours=" $vhosts " 'index(ours, " " $1 " ")' | wc -l ;;
  esac
}

connections_are() { equal "$1" "$(broker_connections)"; }

# The broker closes every connection of the virtual host in order, or restarts.
broker_close_connections() {
  case $BROKER in
  testbroker) broker_command "close 320 closed by the test" ;;
  rabbitmq) rabbitmq_ctl close_all_connections -p "$VHOST" "closed by the test" ;;
  esac
}

broker_restart() {
  case $BROKER in
  testbroker) broker_command restart ;;
  rabbitmq) rabbitmq_ctl stop_app && rabbitmq_ctl start_app ;;
  esac
}

# The ports by which muxd speaks TLS; and what a relay to the broker's leads to then.
tls_ports=
target_of() { # PORT
  if [ -n "$OVER_TLS" ] && [ "$1" = "$BROKER_PORT" ]; then say "$UPSTREAM_PORT"; else say "$1"; fi
}
note_tls_port() { # TARGET-PORT PORT
  [ -z "$OVER_TLS" ] || [ "$1" != "$BROKER_PORT" ] || tls_ports="$tls_ports $2"
}

# A configuration from stdin, with amqps where TLS is spoken.
to_tls() {
  local port edit=()
  [ -n "$OVER_TLS" ] || {
    cat
    return
  }
  for port in ${BROKER_PORT-} $tls_ports; do
    edit+=(-e "s#amqp://(([^\"@/]*@)?127\.0\.0\.1):$port([/\"])#amqp+:\1:$(target_of "$port")\3#g")
  done
  # on the line of the uri, which some tests replace
  edit+=(-e '/amqp\+:/s#(uri = (\{[^}]*\}|"[^"]*"))#\1 tls-ca = "'"${tls_ca-$scratch/ca.pem}"'"#')
  sed -E "${edit[@]}" -e 's#amqp\+:#amqps://#g'
}

# MODE [TARGET-PORT [PORT]]: what stands in for a broker, or before one; see relay.py.
start_relay() {
  local mode=$1 target=${2-}
  shift $(($# > 1 ? 2 : 1))
  set -- "$mode" ${target:+"$(target_of "$target")"} "$@"
  start "$PYTHON" "$here/relay.py" "$@" </dev/null >"$scratch/relay.out" 2>"$scratch/relay.log"
  relay_pid=$started
  wait_for 20 grep -q '^listening [0-9]' "$scratch/relay.out" || {
    complain "the relay has not started: $(cat "$scratch/relay.log")"
    exit 1
  }
  relay_port=$(sed -n 's/^listening //p' "$scratch/relay.out")
  note_tls_port "$target" "$relay_port"
}

# TARGET-PORT DELAY-MS [WINDOW-BYTES [PORT]]: a broker far away; see far.py.
start_far() {
  local target=$1
  shift
  set -- "$(target_of "$target")" "$@"
  start "$PYTHON" "$here/far.py" "$@" </dev/null >"$scratch/far.out" 2>"$scratch/far.log"
  far_pid=$started
  wait_for 20 grep -q '^listening [0-9]' "$scratch/far.out" || {
    complain "the relay has not started: $(cat "$scratch/far.log")"
    exit 1
  }
  far_port=$(sed -n 's/^listening //p' "$scratch/far.out")
  note_tls_port "$target" "$far_port"
}

# ----------------------------------------------------------------------- muxd

# What a test needs: the upstream, and short times.
muxd_conf() { # [URI [LINE-FOR-UPSTREAM...]]
  write_conf "$@" | to_tls
}

write_conf() {
  local uri=${1:-$BROKER_URI}
  shift $(($# > 0))
  say "socket = \"$MUXD_SOCKET\""
  say 'log-level = "debug"'
  say 'upstream "default" {'
  say "  uri = { \"$uri\" }"
  say '  reconnect-min = "50ms"'
  say '  reconnect-max = "500ms"'
  printf '  %s\n' "$@"
  say '}'
}

# With MUXD_UNDER=systemd it is a service in the sandbox of muxd.service: see tests/systemd/under.
case ${MUXD_UNDER-} in
systemd) muxd_program=$srcdir/tests/systemd/under ;;
*) muxd_program=$builddir/daemon/muxd ;;
esac

# [MUXD-OPTION...] < <(muxd_conf): waits until it answers; sets MUXD_PID.
start_muxd() {
  to_tls >"$scratch/muxd.conf"
  start "$muxd_program" -c "$scratch/muxd.conf" "$@" </dev/null 2>>"$scratch/muxd.log"
  MUXD_PID=$started
  wait_for 20 muxctl ping || {
    complain "muxd does not answer: $(muxctl ping 2>&1)"
    exit 1
  }
  [ -z "${MUXD_UNDER-}" ] || {
    MUXD_PID=$(systemctl show -P MainPID "muxd-under-$started.service")
    waited_by[$MUXD_PID]=$started
    is_sandboxed || exit 1
  }
}

# A muxd that only seems to be in the sandbox would pass every test.
is_sandboxed() {
  grep -qP '^Seccomp:\t2$' "/proc/$MUXD_PID/status" && grep -qP '^CapBnd:\t0+$' "/proc/$MUXD_PID/status" && return 0
  complain "muxd is not in the sandbox of its unit"
  return 1
}

# The same of TLS; what it logs of it is for debugging.
speaks_tls() {
  grep -q '^log-level = "debug"' "$scratch/muxd.conf" || return 0
  grep -q ': TLS: TLSv1\.[23],' "$scratch/muxd.log" && return 0
  complain "muxd does not speak TLS"
  return 1
}

muxctl() { timeout 60 "$builddir/client/muxctl" "$@"; }

# [JQ-LIKE PATH]: muxctl --json status, or one value of it: status_of upstreams.0.state
status_of() {
  muxctl --json status | "$PYTHON" -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    value = value[int(key)] if isinstance(value, list) else value[key]
print(value)' "$1"
}

upstream_is() { equal "$1" "$(status_of upstreams.0.state)"; }
status_is() { equal "$2" "$(status_of "$1")"; }

start_muxd_and_wait() { # [MUXD-OPTION...] <CONFIGURATION: until the first upstream is up
  start_muxd "$@"
  wait_for 20 upstream_is up || {
    complain "the upstream does not come up"
    exit 1
  }
  [ -z "$OVER_TLS" ] || speaks_tls || exit 1
}

# Ends muxd; it must do so in order, and its sanitizers, if any, must be content.
check_muxd_stops() {
  local late=0
  kill -TERM "$MUXD_PID" 2>/dev/null
  reap "$MUXD_PID" 20 || late=1
  check "muxd ends in order" muxd_ended_well "$late" "$exit_code"
}

muxd_ended_well() { # LATE EXIT-CODE
  equal "in time, exit code 0" "$([ "$1" = 0 ] && echo in time || echo killed after 20 s), exit code $2" &&
    ! grep -E -A 20 'Sanitizer|runtime error' "$scratch/muxd.log"
}

# --------------------------------------------------------------------- canary

# Clients in steady traffic; see canary.c. Each has a name; its phases, too.
start_canary() { # NAME [OPTION...]
  local canary=$1 input
  shift
  mkfifo "$scratch/$canary.in"
  exec {input}<>"$scratch/$canary.in"
  canary_input[$canary]=$input
  start "$builddir/tests/integration/canary" "$@" <"$scratch/$canary.in" >"$scratch/$canary.out" \
    2>"$scratch/$canary.log"
  canary_pid[$canary]=$started
  wait_for 20 grep -q '^ready' "$scratch/$canary.out" || {
    complain "$canary does not sing: $(cat "$scratch/$canary.log")"
    exit 1
  }
}
declare -A canary_input canary_pid

canary_phase() { # NAME PHASE: what is done from now on
  printf '%s\n' "$2" >&"${canary_input[$1]}"
}

check_canary() { # NAME: ends it; it must have seen no error
  local late=0
  canary_phase "$1" end
  reap "${canary_pid[$1]}" 20 || late=1
  sed -n "s/^phase \([^.]\)/$1: \1/p" "$scratch/$1.out" # those of a dot are many
  check "$1 saw no error" canary_ended_well "$1" "$late" "$exit_code"
}

canary_ended_well() { # NAME LATE EXIT-CODE
  [ "$2 $3" = "0 0" ] && return 0
  cat "$scratch/$1.log"
  echo "exit code $3"
  return 1
}

canary_value() { # NAME PHASE FIELD
  sed -n "s/^phase $2:.* $3=\([0-9.]*\).*/\1/p" "$scratch/$1.out"
}

# --------------------------------------------------------------------- python

# Makes what ipc.py imports, or leaves, having named what is missing.
need_ipc() {
  mkdir -p "$scratch/python"
  command -v protoc >/dev/null || skip_all "protoc is missing (Debian's protobuf-compiler)"
  "$PYTHON" -c 'import google.protobuf' 2>/dev/null || skip_all "Python's protobuf is missing (python3-protobuf)"
  protoc -I "$srcdir/proto" --python_out="$scratch/python" muxd.proto || exit 1
}

# What comes behind it is done by the same script in a real systemd (tests/systemd/boot).
need_systemd() {
  local reason
  [ -z "${MUXD_IN_SYSTEMD-}" ] || return 0
  grep -q '^#define HAVE_SYSTEMD 1' "$builddir/config.h" || skip_all "this muxd is built without libsystemd"
  reason=$(. "$srcdir/tests/systemd/lib.sh" && systemd_why_not)
  [ -z "$reason" ] || skip_all "no systemd can be started: $reason"
  trap - EXIT HUP INT TERM
  rm -rf "$scratch"
  exec "$srcdir/tests/systemd/boot" -n -b "$srcdir" -b "$builddir" ${RABBITMQ_FOLDER:+-b "$RABBITMQ_FOLDER"} \
    ${RABBITMQ_TEST_CERTS:+-b "$RABBITMQ_TEST_CERTS"} / -- env -u TMPDIR BROKER="$label" MUXD_IN_SYSTEMD=yes bash "$(realpath "$0")" "$@"
}

skip_all() { # REASON
  skip "$name" "$1"
  exit 0
}
