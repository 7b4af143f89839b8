# Floor P: what both ends of the socket share.
noinst_LTLIBRARIES += proto/libproto.la
proto_libproto_la_SOURCES = \
	proto/buf.c proto/buf.h proto/span.h \
	proto/frame.c proto/frame.h \
	proto/prescan.c proto/prescan.h proto/prescan-table.h \
	proto/arena.c proto/arena.h
nodist_proto_libproto_la_SOURCES = proto/muxd.pb-c.c proto/muxd.pb-c.h
# In sections, so that each end leaves out the messages that it does not use.
proto_libproto_la_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) -ffunction-sections -fdata-sections
proto_libproto_la_LIBADD = $(PROTOBUF_C_LIBS)

EXTRA_DIST += proto/muxd.proto proto/PROTOCOL.md
BUILT_SOURCES += proto/muxd.pb-c.c proto/muxd.pb-c.h
CLEANFILES += proto/muxd.pb-c.c proto/muxd.pb-c.h

proto/muxd.pb-c.c: proto/muxd.proto
	$(AM_V_GEN)$(MKDIR_P) proto && $(PROTOC_C) --proto_path=$(top_srcdir) --c_out=. proto/muxd.proto
proto/muxd.pb-c.h: proto/muxd.pb-c.c
	@test -f $@ || { rm -f proto/muxd.pb-c.c && $(MAKE) $(AM_MAKEFLAGS) proto/muxd.pb-c.c; }
