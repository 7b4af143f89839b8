# The guarantees, accounted for on real brokers under faults. Run by tests/integration/run.
E2E_TARGETS = tests/e2e/account tests/e2e/relay
check_PROGRAMS += $(E2E_TARGETS)
tests_e2e_account_SOURCES = tests/e2e/account.c tests/e2e/account.h tests/e2e/ledger.c \
	tests/e2e/publisher.c tests/e2e/consumer.c tests/e2e/report.c
tests_e2e_account_LDADD = client/libmuxclient.la -lpthread -lm
