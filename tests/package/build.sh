# shellcheck shell=bash
# Part of tests/package/run: from the tarball to the packages.

version=
next=

make_tarball() {
  must "$work/log" make -C "$builddir" dist
  tarball=$(ls "$builddir"/muxd-*.tar.xz)
  version=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$srcdir/debian/changelog")
  check "debian/changelog is about the version that is built" test "$(basename "$tarball")" = "muxd-$version.tar.xz"
}

# TREE: the tarball in /build, and a user who builds
unpack() {
  mkdir "$1/build" && tar -C "$1/build" -xf "$tarball" && mv "$1"/build/muxd-* "$1/build/muxd" &&
    in_tree "$1" sh -c 'useradd -m builder && chown -R builder: /build'
}

as_builder() { # TREE COMMAND
  in_tree -n "$1" setpriv --reuid builder --regid builder --clear-groups env HOME=/home/builder \
    sh -euc "cd /build/muxd && $2"
}

# With what README.md names, and nothing else.
test_tarball() {
  local tree=$work/tarball line
  step "the tarball is built as README.md says"
  tree_copy "$work/base" "$tree"
  must "$work/log" unpack "$tree"
  block "$srcdir/README.md" sh 'tests/package/run: to build' >"$tree/build/steps"
  check "README.md names what is needed" grep -q '^apt-get install' "$tree/build/steps"
  must "$work/log" in_tree "$tree" sh -eu -c "$(sed '/\\$/,/[^\\]$/!d' "$tree/build/steps")"
  for line in './configure' 'make' 'make check'; do
    check "README.md says '$line'" grep -qx "$line" "$tree/build/steps"
    check "$line" as_builder "$tree" "MAKEFLAGS=-j$(nproc) $line"
  done
  failed_tests "$tree/build/muxd"
  check "make install" in_tree "$tree" sh -euc 'cd /build/muxd && make install && ldconfig && muxctl --version && muxd --version'
  rm -rf --one-file-system "$tree"
}

failed_tests() { # FOLDER: what they have written
  find "$1" -name '*.trs' -exec grep -l '^:global-test-result: \(FAIL\|ERROR\)' {} + | while read -r result; do
    echo "    -- ${result#"$1"/}"
    tail -n 12 "${result%.trs}.log" | sed 's/^/    /'
  done
}

build_packages() { # TREE OPTIONS ARGUMENT...
  local tree=$1 options=$2
  shift 2
  as_builder "$tree" "DEB_BUILD_OPTIONS='parallel=$(nproc) $options' dpkg-buildpackage -us -uc $*" ||
    { failed_tests "$tree/build/muxd" && return 1; }
}

# The next version is the same program: what differs is what dpkg sees.
next_version() {
  next=$version+next1
  sed -i "1s/($version)/($next)/" "$1/build/muxd/debian/changelog"
}

test_packages() {
  local tree=$work/deb
  step "the packages are built"
  tree_copy "$work/base" "$tree"
  must "$work/log" unpack "$tree"
  must "$work/log" in_tree "$tree" apt-get -qy build-dep /build/muxd
  must "$work/log" build_packages "$tree" "${BUILD_OPTIONS-}"
  ok
  check "muxd, muxctl, libmuxclient0 and libmuxclient-dev are made" sh -c \
    "cd $tree/build && ls muxd_${version}_*.deb muxctl_${version}_*.deb libmuxclient0_${version}_*.deb libmuxclient-dev_${version}_*.deb"
  mkdir -p "$packages/now" "$packages/next"
  cp "$tree"/build/*.deb "$packages/now"

  step "lintian"
  must "$work/log" in_tree "$tree" apt-get -qy install lintian
  check "lintian has no errors or warnings" in_tree -n "$tree" sh -c \
    'cd /build && lintian -EiI --pedantic --allow-root --fail-on error,warning ./*.changes'
  grep -E '^[EWIPX]: ' "$work/out"

  step "programs are built with them"
  must "$work/log" in_tree "$tree" sh -c 'cd /build && apt-get -qy install ./muxd_*.deb ./libmuxclient*.deb'
  check "debian/tests/build-against" in_tree -n "$tree" env AUTOPKGTEST_TMP=/tmp /build/muxd/debian/tests/build-against
  mkdir -p "$packages/programs"
  # shellcheck disable=SC2016
  must "$work/log" in_tree -n "$tree" sh -euc 'mkdir /programs && cd /programs
    for source in /usr/share/doc/libmuxclient-dev/examples/worker.c /usr/share/doc/libmuxclient-dev/examples/publish.c \
      /build/muxd/tests/package/goes-on.c; do
      cc -Wall -o "$(basename "$source" .c)" "$source" $(pkg-config --cflags --libs muxclient)
    done'
  cp "$tree"/programs/* "$packages/programs"

  step "and once more, as the next version"
  rm "$tree"/build/*.deb
  next_version "$tree"
  must "$work/log" build_packages "$tree" nocheck -b -nc
  mv "$tree"/build/*.deb "$packages/next"
  rm -f "$packages"/*/*-dbgsym_*
  rm -rf --one-file-system "$tree"
}
