# The packages for Debian, built, installed and used: a command of its own, as root.
dist_check_SCRIPTS += tests/package/run
EXTRA_DIST += tests/package/lib.sh tests/package/build.sh tests/package/service.sh tests/package/goes-on.c
