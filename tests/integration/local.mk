# Whole programs against each other. Each starts what it needs on ports of its own.

# The test broker as a program, against a client nobody here wrote.
if HAVE_CHECK
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
endif

# Tests of the whole: a real muxd, a broker, processes. They are not run by
# `make check`, because each broker has its own run: tests/integration/run.
INTEGRATION_TARGETS = tests/integration/attached tests/integration/canary tests/integration/hostile tests/integration/neighbour tests/integration/share \
	tests/integration/threads tests/integration/transact
check_PROGRAMS += $(INTEGRATION_TARGETS)
tests_integration_attached_LDADD = client/libmuxclient.la -lpthread
tests_integration_neighbour_LDADD = client/libmuxclient.la -lpthread
tests_integration_canary_LDADD = client/libmuxclient.la -lpthread
tests_integration_threads_SOURCES = tests/integration/threads.c tests/integration/threads_chan.c \
	tests/integration/threads.h
tests_integration_threads_LDADD = client/libmuxclient.la -lpthread
tests_integration_transact_LDADD = client/libmuxclient.la -lpthread
tests_integration_share_LDADD = client/libmuxclient.la -lpthread -lm

dist_check_SCRIPTS += tests/integration/run
EXTRA_DIST += tests/integration/lib.sh tests/integration/rabbitmq.sh tests/integration/certs.sh tests/integration/ipc.py \
	tests/integration/relay.py \
	tests/integration/frames.sh tests/integration/frames.py \
	tests/integration/idle.sh tests/integration/idle.py \
	tests/integration/blame.sh tests/integration/blame.py \
	tests/integration/clash.sh tests/integration/clash.py \
	tests/integration/hostile.sh tests/integration/hostile.py tests/integration/faulty.c \
	tests/integration/quota.sh tests/integration/quota.py \
	tests/integration/access.sh tests/integration/access.py \
	tests/integration/permissions.sh tests/integration/permissions.py \
	tests/integration/kill.sh tests/integration/kill.py \
	tests/integration/tx.sh tests/integration/tx.py \
	tests/integration/KILLERS.md tests/integration/killers.sh tests/integration/killers.py \
	tests/integration/killers_cases.py tests/integration/wire.py \
	tests/integration/random.sh tests/integration/random_client.py \
	tests/integration/dial.sh tests/integration/dial.py tests/integration/far.py \
	tests/integration/limits.sh tests/integration/limits.py \
	tests/integration/lanes.sh tests/integration/lanes.py tests/integration/amqp.py tests/integration/bare.py \
	tests/integration/leave.sh tests/integration/leave.py \
	tests/integration/many.sh tests/integration/many.py \
	tests/integration/reader.sh tests/integration/reader.py \
	tests/integration/blocked.sh tests/integration/blocked.py \
	tests/integration/examples.sh \
	tests/integration/audit.sh tests/integration/audit.py \
	tests/integration/reload.sh tests/integration/reload.py \
	tests/integration/ended.sh tests/integration/ended.py \
	tests/integration/owners.sh tests/integration/owners.py \
	tests/integration/python.sh \
	tests/integration/readme.sh \
	tests/integration/roundtrip.sh tests/integration/roundtrip.py \
	tests/integration/recorder.sh tests/integration/recorder.py \
	tests/integration/reconnect.sh tests/integration/reconnect.py \
	tests/integration/restart.sh tests/integration/resume.sh tests/integration/resume.py \
	tests/integration/service.sh tests/integration/notify.py tests/integration/drain.py \
	tests/integration/muxctl.sh tests/integration/muxctl-restart.sh tests/integration/muxctl-output.sh \
	tests/integration/sandbox.sh \
	tests/integration/share.sh \
	tests/integration/start.sh \
	tests/integration/systemd.sh \
	tests/integration/threads.sh \
	tests/integration/tls.sh tests/integration/tls.py \
	tests/integration/upstream.sh tests/integration/upstream.py \
	tests/integration/upstreams.sh tests/integration/user.sh

# What tests/integration/run needs, without running anything.
# A make of its own: `all` is one as well, and beside it both would link the libraries.
integration-programs: all
	@$(MAKE) $(AM_MAKEFLAGS) $(INTEGRATION_TARGETS) $(E2E_TARGETS) $(SYSTEMD_TARGETS) $(CLIENT_EXAMPLES)
.PHONY: integration-programs
