# Each of these adds to check_PROGRAMS, TESTS and noinst_PROGRAMS.
if HAVE_CHECK
include $(top_srcdir)/tests/unit/local.mk
endif
