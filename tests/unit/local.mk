# One program per module, on check; each links its own floor and those below.
# unit_TESTS collects them; every program prints check's totals.
UNIT_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(PROTOBUF_C_CFLAGS)
UNIT_PROTO = proto/libproto.la
UNIT_BASE = daemon/base/libbase.a $(UNIT_PROTO)
UNIT_AMQP = daemon/amqp/libamqp.a $(UNIT_BASE)


# base
BASE_TESTS = tests/unit/test-base-timerq tests/unit/test-base-charge tests/unit/test-base-list \
	tests/unit/test-base-log-fault tests/unit/test-base-duration
check_PROGRAMS += $(BASE_TESTS)
TESTS += $(BASE_TESTS)
tests_unit_test_base_timerq_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_timerq_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_charge_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_charge_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_list_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_list_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_log_fault_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_log_fault_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_duration_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_duration_LDADD = $(UNIT_BASE) $(CHECK_LIBS)

# proto
PROTO_TESTS = tests/unit/test-proto-buf tests/unit/test-proto-frame tests/unit/test-proto-prescan \
	tests/unit/test-proto-arena
check_PROGRAMS += $(PROTO_TESTS)
TESTS += $(PROTO_TESTS)
EXTRA_DIST += tests/unit/random.h
tests_unit_test_proto_buf_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_proto_buf_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=realloc
tests_unit_test_proto_buf_LDADD = $(UNIT_PROTO) $(CHECK_LIBS)
tests_unit_test_proto_frame_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_proto_frame_LDADD = $(UNIT_PROTO) $(CHECK_LIBS)
tests_unit_test_proto_prescan_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_proto_prescan_LDADD = $(UNIT_PROTO) $(CHECK_LIBS)
tests_unit_test_proto_arena_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_proto_arena_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc
tests_unit_test_proto_arena_LDADD = $(UNIT_PROTO) $(CHECK_LIBS)

# The contract in proto/PROTOCOL.md: its example, every message named, the limits.
dist_check_SCRIPTS += tests/unit/test-protocol-example
TESTS += tests/unit/test-protocol-example
