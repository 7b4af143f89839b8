#!/bin/bash
# Many threads do at random what libmuxclient lets them do: threads.c keeps the
# account. The library and the program are built here with a sanitizer each:
#
#   [SEED=N] BROKER=rabbitmq tests/integration/threads.sh [SECONDS [SANITIZER...]]
#
# default 5, thread address; the long run: 600. `plain` stands for what is in the
# build folder. CC: the compiler. KILLS: meanwhile muxd is killed and started
# again, after so many seconds each time.
. "$(dirname "$0")/lib.sh"
seconds=${1:-5} seed=${SEED:-1}
shift $(($# > 0))
[ $# -gt 0 ] || set -- thread address
: "${CC:=gcc}"
export TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1 ${TSAN_OPTIONS-}"

compile() { # SANITIZER SOURCE OBJECT
  # shellcheck disable=SC2046,SC2086 # words on purpose
  $CC -std=gnu11 -O1 -g -fno-omit-frame-pointer "-fsanitize=$1" -pthread "-I$builddir" "-I$srcdir" \
    $(pkg-config --cflags libprotobuf-c) -c "$2" -o "$3"
}

build() { # SANITIZER: $scratch/SANITIZER/threads
  local folder=$scratch/$1 source number=0 compilers=()
  mkdir "$folder"
  for source in "$srcdir"/client/*.c "$srcdir"/proto/*.c "$builddir/proto/muxd.pb-c.c" "$here"/threads*.c; do
    number=$((number + 1))
    compile "$1" "$source" "$folder/$number.o" &
    compilers+=($!)
    [ $((number % 2)) = 1 ] || wait "${compilers[@]: -2}" # two at a time
  done
  wait "${compilers[@]: -2}"
  # shellcheck disable=SC2046,SC2086
  $CC "-fsanitize=$1" -pthread "$folder"/*.o -o "$folder/threads" $(pkg-config --libs libprotobuf-c)
}

# SANITIZER: sets $run to what a program with it must be started with; 1: it does not run here
# Some kernels lay out memory in a way that ThreadSanitizer does not know.
find_run() {
  echo 'int main(void) { return 0; }' >"$scratch/try.c"
  # shellcheck disable=SC2086
  $CC "-fsanitize=$1" "$scratch/try.c" -o "$scratch/try" || return 1
  for run in "" "setarch -R"; do
    $run "$scratch/try" && return 0
  done
  return 1
}

run_threads() { # COMMAND...
  local end=$((SECONDS + seconds)) program
  [ -n "${KILLS-}" ] || {
    timeout $((seconds + 240)) "$@" "$seconds" "$seed"
    return
  }
  timeout $((seconds + 240)) "$@" "$seconds" "$seed" kills &
  program=$!
  while [ "$SECONDS" -lt "$end" ]; do
    sleep "$KILLS" # for so long muxd is there
    kill -KILL "$MUXD_PID"
    reap "$MUXD_PID" 20
    start_muxd_and_wait <"$scratch/conf"
  done
  wait "$program"
}

start_broker
muxd_conf | sed 's/"debug"/"info"/' >"$scratch/conf"
start_muxd_and_wait <"$scratch/conf"
leased=$(status_of upstreams.0.lanes.leased)
memory=$(status_of memory.used)
for sanitizer; do
  [ "$sanitizer" != plain ] || {
    checks run_threads "$builddir/tests/integration/threads"
    continue
  }
  find_run "$sanitizer" >"$scratch/try.log" 2>&1 || {
    skip "threads with the $sanitizer sanitizer" "$(head -n 1 "$scratch/try.log")"
    continue
  }
  check "the library is built with the $sanitizer sanitizer" build "$sanitizer"
  [ -x "$scratch/$sanitizer/threads" ] || continue
  # shellcheck disable=SC2086
  checks run_threads $run "$scratch/$sanitizer/threads"
  grep -q '^FAILED' "$scratch/checks.out" && cp "$scratch/checks.out" "$scratch/$sanitizer.log"
  check "all sessions are gone" wait_for 20 status_is sessions 1
  check "the lanes are back" wait_for 20 status_is upstreams.0.lanes.leased "$leased"
  check "the memory is back" wait_for 20 status_is memory.used "$memory"
done
[ -n "${KILLS-}" ] ||
  check "the connection to the broker is the first one" status_is upstreams.0.epoch 1
check_muxd_stops
