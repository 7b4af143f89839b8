#!/bin/sh
# Makes ./configure and the Makefile templates from their sources.
set -eu
cd "$(dirname "$0")"
for tool in autoreconf libtoolize pkg-config; do
  command -v "$tool" >/dev/null 2>&1 || {
    echo "autogen.sh: $tool is missing; on Debian: apt-get install autoconf automake libtool pkg-config" >&2
    exit 1
  }
done
exec autoreconf --force --install --warnings=all,no-obsolete
