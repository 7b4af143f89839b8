# shellcheck shell=sh
# Read by codec-m32 and codec-musl: builds the codec, proto's buffers and their
# tests by hand with another compiler, against shim/check.h, and runs them.
#
# codec_foreign LABEL COMPILER [FLAG...]: prints the totals. 77, with the
# reason, if that compiler makes no program that runs here.

codec_sum() { # FIELD LOG...: adds up the FIELDth number of the totals
  field=$1
  shift
  sed -n "s/.*: \([0-9]*\) passed, \([0-9]*\) failed, 0 skipped\$/\\$field/p" "$@" |
    awk '{ sum += $1 } END { print sum + 0 }'
}

codec_foreign() {
  label=$1
  shift
  srcdir=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
  export srcdir
  work=$(mktemp -d "${TMPDIR:-/tmp}/codec-$label.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM

  # with <stdio.h>: a compiler may be there without a C library for it
  printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' >"$work/try.c"
  if ! "$@" "$work/try.c" -o "$work/try" 2>"$work/try.log" || ! "$work/try" >/dev/null; then
    echo "$label: 0 passed, 0 failed, 1 skipped: '$*' makes no program that runs: $(head -n 1 "$work/try.log")"
    exit 77
  fi

  broken=0
  for test in frame table method content describe captured; do
    if ! "$@" -std=gnu11 -g -O1 -fno-strict-aliasing -Wall -Wextra -Wno-unused-parameter -Werror \
      -I"$srcdir/tests/unit/shim" -I"$srcdir" -o "$work/test-amqp-$test" \
      "$srcdir"/daemon/amqp/*.c "$srcdir/daemon/base/log.c" "$srcdir/proto/buf.c" \
      "$srcdir/tests/unit/codec-gen.c" "$srcdir/tests/unit/test-amqp-$test.c"; then
      echo "$label: test-amqp-$test does not compile"
      broken=$((broken + 1))
      continue
    fi
    timeout 120 "$work/test-amqp-$test" >"$work/$test.log" 2>&1
    status=$?
    [ "$status" -eq 0 ] || cat "$work/$test.log"
    # a failed assertion is in the totals, a crash is not
    grep -q 'passed,' "$work/$test.log" || {
      echo "$label: test-amqp-$test ended with exit code $status"
      broken=$((broken + 1))
    }
  done
  passed=$(codec_sum 1 "$work"/*.log)
  failed=$(($(codec_sum 2 "$work"/*.log) + broken))
  echo "$label: $passed passed, $failed failed, 0 skipped"
  [ "$failed" -eq 0 ]
}
