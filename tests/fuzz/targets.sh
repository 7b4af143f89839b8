# shellcheck shell=sh
# Read by run and planted: the lines of tests/fuzz/targets. srcdir is the top
# of the source tree.

# Entropic weighs inputs by their features, thousands in each of the larger targets: that
# took half of all time, and without it as many executions cover no less.
# shellcheck disable=SC2034 # for who reads this
fuzz_options="-entropic=0"

fuzz_names() {
  sed -n 's/^\([a-z][^ ]*\) .*/\1/p' "$srcdir/tests/fuzz/targets"
}

fuzz_file() { # NAME
  sed -n "s/^$1 \\([^ ]*\\) .*/\\1/p" "$srcdir/tests/fuzz/targets"
}

fuzz_bug() { # NAME
  sed -n "s/^$1 [^ ]* //p" "$srcdir/tests/fuzz/targets"
}

fuzz_dict() { # NAME
  echo "$srcdir/tests/fuzz/${1%%-*}.dict"
}

# Sets names and seconds from the arguments: any number of NAMEs (none: all) and a number.
fuzz_arguments() { # USAGE ARGUMENT...
  usage=$1
  shift
  names=
  seconds=
  for argument in "$@"; do
    case $argument in
    [1-9]*[!0-9]* | [!1-9a-z]* | "") fuzz_usage ;;
    [1-9]*) seconds=$argument ;;
    *)
      fuzz_names | grep -qx -- "${argument#fuzz-}" || {
        echo "no such fuzz target: $argument; there are:" $(fuzz_names) >&2
        exit 64
      }
      names="$names ${argument#fuzz-}"
      ;;
    esac
  done
  [ -n "$seconds" ] || fuzz_usage
  [ -n "$names" ] || names=$(fuzz_names)
}

fuzz_usage() {
  echo "usage: $usage" >&2
  exit 64
}
