# Fuzz targets. In a normal build each is linked with a main that replays its
# corpus, and `make check` runs that; with --enable-fuzzing (clang) libFuzzer
# is the main. tests/fuzz/run and tests/fuzz/planted do the fuzzing.
#
# One more target: its name here, what it links, a line in tests/fuzz/targets,
# and its seeds in tests/fuzz/corpus/NAME.
FUZZ_TARGETS = \
	tests/fuzz/fuzz-amqp-frame tests/fuzz/fuzz-amqp-method \
	tests/fuzz/fuzz-amqp-table tests/fuzz/fuzz-amqp-properties \
	tests/fuzz/fuzz-amqp-assemble tests/fuzz/fuzz-amqp-handshake tests/fuzz/fuzz-amqp-upstream \
	tests/fuzz/fuzz-conf-file tests/fuzz/fuzz-conf-uri \
	tests/fuzz/fuzz-ipc-frame tests/fuzz/fuzz-ipc-header tests/fuzz/fuzz-ipc-publish \
	tests/fuzz/fuzz-ipc-session tests/fuzz/fuzz-policy tests/fuzz/fuzz-client-session
tests_fuzz_fuzz_amqp_frame_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_amqp_method_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_amqp_table_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_amqp_properties_LDADD = $(FUZZ_LIBS)
FUZZ_MUX = $(FUZZ_MAIN) daemon/mux/libmux.a daemon/amqp/libamqp.a daemon/base/libbase.a proto/libproto.la -lm
tests_fuzz_fuzz_amqp_assemble_SOURCES = tests/fuzz/fuzz-amqp-assemble.c tests/fuzz/input.h
tests_fuzz_fuzz_amqp_assemble_LDADD = $(FUZZ_MUX)
tests_fuzz_fuzz_amqp_handshake_SOURCES = tests/fuzz/fuzz-amqp-handshake.c tests/fuzz/input.h
tests_fuzz_fuzz_amqp_handshake_LDADD = $(FUZZ_MUX)
tests_fuzz_fuzz_amqp_upstream_SOURCES = tests/fuzz/fuzz-amqp-upstream.c tests/fuzz/input.h
tests_fuzz_fuzz_amqp_upstream_LDADD = tests/rig/librig.a $(FUZZ_MUX)
FUZZ_CONF = $(FUZZ_MAIN) daemon/conf/libconf.a daemon/base/libbase.a proto/libproto.la $(CONFUSE_LIBS)
tests_fuzz_fuzz_conf_file_LDADD = $(FUZZ_CONF)
tests_fuzz_fuzz_conf_uri_LDADD = $(FUZZ_CONF)
tests_fuzz_fuzz_ipc_frame_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_ipc_header_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_ipc_header_CPPFLAGS = $(AM_CPPFLAGS) $(PROTOBUF_C_CFLAGS)
tests_fuzz_fuzz_ipc_publish_LDADD = $(FUZZ_MAIN) daemon/front/libfront.a proto/libproto.la
tests_fuzz_fuzz_ipc_publish_CPPFLAGS = $(AM_CPPFLAGS) $(PROTOBUF_C_CFLAGS)

tests_fuzz_fuzz_ipc_session_SOURCES = tests/fuzz/fuzz-ipc-session.c tests/fuzz/input.h \
	tests/fuzz/odd.c tests/fuzz/odd.h tests/fuzz/fake-net.c tests/fuzz/fake-net.h
tests_fuzz_fuzz_ipc_session_LDADD = $(FUZZ_MAIN) tests/rig/librig.a daemon/front/libfront.a daemon/mux/libmux.a tests/broker/libbroker.a \
	daemon/amqp/libamqp.a daemon/base/libbase.a proto/libproto.la $(PROTOBUF_C_LIBS) -lm
tests_fuzz_fuzz_ipc_session_CPPFLAGS = $(AM_CPPFLAGS) $(PROTOBUF_C_CFLAGS)

tests_fuzz_fuzz_policy_SOURCES = tests/fuzz/fuzz-policy.c tests/fuzz/input.h
tests_fuzz_fuzz_policy_LDADD = $(FUZZ_MAIN) daemon/policy/libpolicy.a daemon/base/libbase.a proto/libproto.la $(PCRE2_LIBS)
tests_fuzz_fuzz_policy_CPPFLAGS = $(AM_CPPFLAGS) $(PCRE2_CFLAGS)

# The library once more, with a socket and a clock of the target's.
check_LIBRARIES += tests/fuzz/libfaked.a
tests_fuzz_libfaked_a_SOURCES = $(client_libmuxclient_la_SOURCES) tests/fuzz/client-redirect.h
tests_fuzz_libfaked_a_CPPFLAGS = $(AM_CPPFLAGS) $(PROTOBUF_C_CFLAGS) -include $(top_srcdir)/tests/fuzz/client-redirect.h
tests_fuzz_fuzz_client_session_SOURCES = tests/fuzz/fuzz-client-session.c tests/fuzz/input.h \
	tests/fuzz/fake-muxd.c tests/fuzz/fake-muxd.h
tests_fuzz_fuzz_client_session_LDADD = $(FUZZ_MAIN) tests/fuzz/libfaked.a proto/libproto.la $(PROTOBUF_C_LIBS) -lpthread
tests_fuzz_fuzz_client_session_CPPFLAGS = $(AM_CPPFLAGS) $(PROTOBUF_C_CFLAGS)

FUZZ_LIBS = $(FUZZ_MAIN) daemon/amqp/libamqp.a daemon/base/libbase.a proto/libproto.la
check_PROGRAMS += $(FUZZ_TARGETS)
if FUZZING
FUZZ_MAIN = $(LIB_FUZZING_ENGINE)
else
FUZZ_MAIN = tests/fuzz/libreplay.a
check_LIBRARIES += tests/fuzz/libreplay.a
tests_fuzz_libreplay_a_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz.h
check_PROGRAMS += tests/fuzz/seeds
tests_fuzz_seeds_SOURCES = tests/fuzz/seeds.c tests/unit/codec-gen.c tests/unit/codec-gen.h
tests_fuzz_seeds_LDADD = daemon/amqp/libamqp.a daemon/base/libbase.a proto/libproto.la
TESTS += $(FUZZ_TARGETS)
endif

# The targets alone, for tests/fuzz/run.
fuzz-targets: $(BUILT_SOURCES)
	$(MAKE) $(AM_MAKEFLAGS) $(FUZZ_TARGETS)
.PHONY: fuzz-targets

dist_noinst_SCRIPTS += tests/fuzz/run tests/fuzz/planted
EXTRA_DIST += tests/fuzz/targets tests/fuzz/targets.sh tests/fuzz/amqp.dict tests/fuzz/client.dict tests/fuzz/conf.dict \
	tests/fuzz/ipc.dict tests/fuzz/policy.dict tests/fuzz/corpus
