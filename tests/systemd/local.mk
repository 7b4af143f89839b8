# A real systemd for tests; the tests that need it are among the integration tests.
dist_check_SCRIPTS += tests/systemd/boot tests/systemd/unit
TESTS += tests/systemd/unit
EXTRA_DIST += tests/systemd/lib.sh tests/systemd/enter tests/systemd/service.sh tests/systemd/under tests/systemd/sanitized
SYSTEMD_TARGETS = tests/systemd/probe tests/systemd/visitors
check_PROGRAMS += $(SYSTEMD_TARGETS)
tests_systemd_visitors_LDADD = client/libmuxclient.la -lpthread
# As bare as can be: a sanitizer would want things that are forbidden.
tests_systemd_probe_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -pthread
tests_systemd_probe_LDFLAGS =
tests_systemd_probe_LDADD = -lpthread
