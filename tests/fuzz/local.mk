# Fuzz targets. In a normal build each is linked with a main that replays its
# corpus, and `make check` runs that; with --enable-fuzzing (clang) libFuzzer
# is the main. tests/fuzz/run and tests/fuzz/planted do the fuzzing.
#
# One more target: its name here, what it links, a line in tests/fuzz/targets,
# and its seeds in tests/fuzz/corpus/NAME.
FUZZ_TARGETS = \
	tests/fuzz/fuzz-amqp-frame tests/fuzz/fuzz-amqp-method \
	tests/fuzz/fuzz-amqp-table tests/fuzz/fuzz-amqp-properties \
	tests/fuzz/fuzz-ipc-frame tests/fuzz/fuzz-ipc-header tests/fuzz/fuzz-ipc-publish
tests_fuzz_fuzz_amqp_frame_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_amqp_method_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_amqp_table_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_amqp_properties_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_ipc_frame_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_ipc_header_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_ipc_header_CPPFLAGS = $(AM_CPPFLAGS) $(PROTOBUF_C_CFLAGS)
tests_fuzz_fuzz_ipc_publish_LDADD = $(FUZZ_MAIN) daemon/front/libfront.a proto/libproto.la
tests_fuzz_fuzz_ipc_publish_CPPFLAGS = $(AM_CPPFLAGS) $(PROTOBUF_C_CFLAGS)

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
EXTRA_DIST += tests/fuzz/targets tests/fuzz/targets.sh tests/fuzz/amqp.dict tests/fuzz/ipc.dict tests/fuzz/corpus
