# Each of these adds to check_PROGRAMS, TESTS and noinst_PROGRAMS.
dist_noinst_SCRIPTS += tests/totals tests/coverage/run
EXTRA_DIST += tests/coverage/exit.h
# check ends a test after 4 s, of which one with sanitizers took 3.4 s on a busy machine.
AM_TESTS_ENVIRONMENT = CK_DEFAULT_TIMEOUT=60; export CK_DEFAULT_TIMEOUT;
# The broker is built always: quickstart uses it.
include $(top_srcdir)/tests/broker/local.mk
include $(top_srcdir)/tests/rig/local.mk
if HAVE_CHECK
include $(top_srcdir)/tests/unit/local.mk
endif
include $(top_srcdir)/tests/abi/local.mk
include $(top_srcdir)/tests/bench/local.mk

include $(top_srcdir)/tests/fuzz/local.mk
include $(top_srcdir)/tests/integration/local.mk
include $(top_srcdir)/tests/e2e/local.mk
include $(top_srcdir)/tests/systemd/local.mk
include $(top_srcdir)/tests/package/local.mk
include $(top_srcdir)/tests/sim/local.mk
include $(top_srcdir)/tests/lint/local.mk
