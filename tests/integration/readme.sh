#!/bin/bash
# The examples of README.md work: they are taken from it and run, against what `make install` installs.
# So are the commands of client/examples/README.md that build those.
. "$(dirname "$0")/lib.sh"
start_broker
start_muxd_and_wait < <(muxd_conf)

# LANGUAGE N: the Nth block of that language
block() {
  awk -v language="$1" -v wanted="$2" '
    $0 == "```" language && !inside { inside = 1; count++; next }
    $0 == "```" && inside { inside = 0 }
    inside && count == wanted' "$srcdir/README.md"
}

make_value() { sed -n "s/^$1 = //p" "$builddir/Makefile" | head -n 1; }

prefix=$(make_value prefix)
installed=$scratch/installed
check "make install installs" make -C "$builddir" install DESTDIR="$installed"
export PATH="$installed$prefix/bin:$PATH" LD_LIBRARY_PATH="$installed$prefix/lib"
export PKG_CONFIG_PATH="$installed$prefix/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$installed"

in_scratch() { cd "$scratch" && timeout 60 bash -eu "$@"; }

# muxd by hand, as the lines before the examples have it
by_hand=$(sed -n 's/^\$ \(MUXD_UPSTREAM=.*\) muxd -s .* &$/\1/p' "$srcdir/README.md")
by_hand=${by_hand/user:password@localhost/guest:guest@127.0.0.1:$BROKER_PORT}
check "README.md starts muxd by hand" test -n "$by_hand"
start env "$by_hand" "$builddir/daemon/muxd" -s "$scratch/hand.sock" </dev/null 2>"$scratch/hand.log"
hand_is_up() { MUXD_SOCKET="$scratch/hand.sock" upstream_is up; }
check "and so it reaches the broker" wait_for 20 hand_is_up
stop "$started"

block sh 1 >"$scratch/shell"
check "README.md has shell examples" grep -q '^muxctl publish' "$scratch/shell"
check "they run" in_scratch shell
in_scratch shell >"$scratch/out" 2>&1
for text in 'resize cat.jpg' 'done: 1' 'done: 2' 'done: 3'; do
  check "and say '$text'" contains "$scratch/out" "$text"
done

block c 1 >"$scratch/hello.c"
check "README.md has a C program" grep -q 'int main' "$scratch/hello.c"
# the compiler of this build, with its sanitizers if it has them
mkdir "$scratch/bin"
printf '#!/bin/sh\nexec %s -Wall -Wextra -Werror %s "$@"\n' "$(make_value CC)" "$(make_value MUXD_LDFLAGS)" >"$scratch/bin/cc"
chmod +x "$scratch/bin/cc"
export PATH="$scratch/bin:$PATH"
block sh 2 >"$scratch/build"
check "it compiles and runs as it says there" in_scratch build
check "its message is confirmed" test "$(in_scratch build | head -n 1)" = confirmed
check "and comes back" test "$(in_scratch build | tail -n 1)" = "hi there"
muxctl delete queue hello >/dev/null

# Without an include path of this build, so that the headers are the installed ones.
cp "$srcdir"/client/examples/*.[ch] "$scratch"
sed -n 's/^\$ \(cc .*\)/\1/p' "$srcdir/client/examples/README.md" >"$scratch/commands"
check "client/examples/README.md tells how to build" test "$(wc -l <"$scratch/commands")" -ge 2
while IFS= read -r command; do
  printf '%s\n' "$command" >"$scratch/build"
  check "$command" in_scratch build
done <"$scratch/commands"
check_muxd_stops
