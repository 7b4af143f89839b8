# The guarantees, accounted for on real brokers under faults. Run by tests/integration/run.
E2E_TARGETS = tests/e2e/account tests/e2e/relay
check_PROGRAMS += $(E2E_TARGETS)
tests_e2e_account_SOURCES = tests/e2e/account.c tests/e2e/account.h tests/e2e/ledger.c \
	tests/e2e/publisher.c tests/e2e/consumer.c tests/e2e/report.c
tests_e2e_account_LDADD = client/libmuxclient.la -lpthread -lm

# An account that misses what is broken proves nothing: its ledger, by `make check`.
if HAVE_CHECK
check_PROGRAMS += tests/e2e/test-ledger
TESTS += tests/e2e/test-ledger
tests_e2e_test_ledger_SOURCES = tests/e2e/test-ledger.c tests/e2e/ledger.c tests/e2e/report.c tests/e2e/account.h
tests_e2e_test_ledger_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_e2e_test_ledger_LDADD = client/libmuxclient.la $(CHECK_LIBS)
endif
EXTRA_DIST += tests/e2e/lib.sh tests/e2e/faults.sh tests/e2e/recovery.sh tests/e2e/recovery.py
