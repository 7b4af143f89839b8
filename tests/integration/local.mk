# Whole programs against each other. Each starts what it needs on ports of its own.
INTEGRATION_TESTBROKER = tests/integration/testbroker.c tests/integration/testbroker.h

if HAVE_RABBITMQ
BROKER_PROGRAM_TESTS = tests/integration/broker-librabbitmq tests/integration/testbroker-admin
check_PROGRAMS += $(BROKER_PROGRAM_TESTS)
TESTS += $(BROKER_PROGRAM_TESTS)
else
TESTS += tests/integration/broker-without-librabbitmq
endif
EXTRA_DIST += tests/integration/broker-without-librabbitmq
tests_integration_broker_librabbitmq_SOURCES = tests/integration/broker-librabbitmq.c $(INTEGRATION_TESTBROKER)
tests_integration_broker_librabbitmq_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(RABBITMQ_CFLAGS)
tests_integration_broker_librabbitmq_LDADD = $(RABBITMQ_LIBS) $(CHECK_LIBS)
tests_integration_testbroker_admin_SOURCES = tests/integration/testbroker-admin.c $(INTEGRATION_TESTBROKER)
tests_integration_testbroker_admin_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(RABBITMQ_CFLAGS)
tests_integration_testbroker_admin_LDADD = $(RABBITMQ_LIBS) $(CHECK_LIBS)
