# libmuxclient: floor C. Of what is built here it links proto/ alone.
include_HEADERS += client/muxclient.h
# Adapters to event loops: headers only, the library needs none of these loops.
include_HEADERS += client/loop/muxclient-watch.h client/loop/muxclient-libevent.h client/loop/muxclient-libuv.h \
	client/loop/muxclient-glib.h client/loop/muxclient-sdevent.h
pkgconfig_DATA += client/muxclient.pc

# libtool's version, current:revision:age. At a release: the code changed only:
# revision + 1. Symbols were added: current + 1, revision 0, age + 1. Symbols or
# structs changed or went: current + 1, revision 0, age 0 (a new soname).
lib_LTLIBRARIES += client/libmuxclient.la
client_libmuxclient_la_SOURCES = \
	client/admin.c client/chan.c client/conn.c client/consume.c client/dispatch.c \
	client/error.c client/io.c client/msg.c client/ops.c client/options.c client/out.c \
	client/outcome.c client/publish.c client/receive.c client/request.c client/table.c \
	client/threads.c client/wire.c client/wire.h client/internal.h client/muxclient.h
client_libmuxclient_la_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) -pthread
client_libmuxclient_la_LIBADD = proto/libproto.la $(PROTOBUF_C_LIBS) -lpthread
client_libmuxclient_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 \
	-Wl,--version-script=$(top_srcdir)/client/libmuxclient.map
EXTRA_client_libmuxclient_la_DEPENDENCIES = client/libmuxclient.map
EXTRA_DIST += client/libmuxclient.map client/examples/python/muxd.py client/examples/python/demo.py

# Short programs to start from; make check builds them.
CLIENT_EXAMPLES = client/examples/publish client/examples/consume
check_PROGRAMS += $(CLIENT_EXAMPLES)
client_examples_publish_SOURCES = client/examples/publish.c
client_examples_publish_CPPFLAGS = -I$(top_srcdir)/client
client_examples_publish_LDADD = client/libmuxclient.la
client_examples_consume_SOURCES = client/examples/consume.c
client_examples_consume_CPPFLAGS = -I$(top_srcdir)/client
client_examples_consume_LDADD = client/libmuxclient.la

dist_man_MANS += client/libmuxclient.3
