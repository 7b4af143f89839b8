# A real systemd for tests; the tests that need it are among the integration tests.
dist_check_SCRIPTS += tests/systemd/boot
EXTRA_DIST += tests/systemd/lib.sh tests/systemd/enter
