# Floor 2: who may do what, and how much.
noinst_LIBRARIES += daemon/policy/libpolicy.a
daemon_policy_libpolicy_a_SOURCES = \
	daemon/policy/access.c daemon/policy/access.h \
	daemon/policy/limits.c daemon/policy/limits.h \
	daemon/policy/pattern.c daemon/policy/pattern.h \
	daemon/policy/recall.c daemon/policy/recall.h
daemon_policy_libpolicy_a_CFLAGS = $(AM_CFLAGS) $(PCRE2_CFLAGS)
