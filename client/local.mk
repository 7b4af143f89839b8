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
client_libmuxclient_la_SOURCES = client/muxclient.h \
	client/admin.c client/admin.h client/answer.c client/answer.h client/chan.c client/chan.h client/conn.c client/conn.h \
	client/consume.c client/consume.h client/declared.c client/declared.h client/dispatch.c client/dispatch.h \
	client/error.c client/error.h client/events.c client/events.h client/fork.c client/fork.h client/io.c client/io.h \
	client/kept.c client/kept.h client/link.c client/link.h client/lists.c \
	client/msg.c client/msg.h client/ops.c client/ops.h client/options.c client/options.h client/out.c client/out.h \
	client/outcome.c client/outcome.h client/publish.c client/publish.h client/receive.c client/receive.h \
	client/replay.c client/replay.h client/request.c client/request.h client/restore.c client/restore.h \
	client/table.c client/table.h client/threads.c client/threads.h client/wire.c client/wire.h
client_libmuxclient_la_CFLAGS = $(AM_CFLAGS) $(CLIENT_CFLAGS) $(PROTOBUF_C_CFLAGS) -pthread
client_libmuxclient_la_LIBADD = proto/libproto.la $(PROTOBUF_C_LIBS) -lpthread
client_libmuxclient_la_LDFLAGS = $(AM_LDFLAGS) $(CLIENT_LDFLAGS) -version-info 0:0:0 -Wl,--gc-sections \
	-Wl,--version-script=$(top_srcdir)/client/libmuxclient.map
EXTRA_client_libmuxclient_la_DEPENDENCIES = client/libmuxclient.map
EXTRA_DIST += client/libmuxclient.map client/examples/python/muxd.py client/examples/python/demo.py

# Short programs to start from; make check builds them. client/examples/README.md tells which shows what.
CLIENT_EXAMPLES = client/examples/publish client/examples/consume client/examples/web-publish \
	client/examples/worker client/examples/prefork client/examples/rpc-server client/examples/rpc-call \
	client/examples/loop-libevent
EXAMPLES_CPPFLAGS = -I$(top_srcdir)/client -I$(top_srcdir)/client/loop
TICKER = client/examples/ticker.c client/examples/ticker.h
client_examples_publish_SOURCES = client/examples/publish.c
client_examples_publish_CPPFLAGS = $(EXAMPLES_CPPFLAGS)
client_examples_publish_LDADD = client/libmuxclient.la
client_examples_consume_SOURCES = client/examples/consume.c
client_examples_consume_CPPFLAGS = $(EXAMPLES_CPPFLAGS)
client_examples_consume_LDADD = client/libmuxclient.la
client_examples_web_publish_SOURCES = client/examples/web-publish.c
client_examples_web_publish_CPPFLAGS = $(EXAMPLES_CPPFLAGS)
client_examples_web_publish_LDADD = client/libmuxclient.la
client_examples_worker_SOURCES = client/examples/worker.c
client_examples_worker_CPPFLAGS = $(EXAMPLES_CPPFLAGS)
client_examples_worker_LDADD = client/libmuxclient.la
client_examples_prefork_SOURCES = client/examples/prefork.c
client_examples_prefork_CPPFLAGS = $(EXAMPLES_CPPFLAGS)
client_examples_prefork_LDADD = client/libmuxclient.la
client_examples_rpc_server_SOURCES = client/examples/rpc-server.c
client_examples_rpc_server_CPPFLAGS = $(EXAMPLES_CPPFLAGS)
client_examples_rpc_server_LDADD = client/libmuxclient.la
client_examples_rpc_call_SOURCES = client/examples/rpc-call.c
client_examples_rpc_call_CPPFLAGS = $(EXAMPLES_CPPFLAGS)
client_examples_rpc_call_LDADD = client/libmuxclient.la
client_examples_loop_libevent_SOURCES = client/examples/loop-libevent.c $(TICKER)
client_examples_loop_libevent_CPPFLAGS = $(EXAMPLES_CPPFLAGS) $(EVENT_CFLAGS)
client_examples_loop_libevent_LDADD = client/libmuxclient.la $(EVENT_LIBS)
if HAVE_LIBUV
CLIENT_EXAMPLES += client/examples/loop-libuv
endif
client_examples_loop_libuv_SOURCES = client/examples/loop-libuv.c $(TICKER)
client_examples_loop_libuv_CPPFLAGS = $(EXAMPLES_CPPFLAGS) $(LIBUV_CFLAGS)
client_examples_loop_libuv_LDADD = client/libmuxclient.la $(LIBUV_LIBS)
if HAVE_GLIB
CLIENT_EXAMPLES += client/examples/loop-glib
endif
client_examples_loop_glib_SOURCES = client/examples/loop-glib.c $(TICKER)
client_examples_loop_glib_CPPFLAGS = $(EXAMPLES_CPPFLAGS) $(GLIB_CFLAGS)
client_examples_loop_glib_LDADD = client/libmuxclient.la $(GLIB_LIBS)
if HAVE_SDEVENT
CLIENT_EXAMPLES += client/examples/loop-sdevent
endif
client_examples_loop_sdevent_SOURCES = client/examples/loop-sdevent.c $(TICKER)
client_examples_loop_sdevent_CPPFLAGS = $(EXAMPLES_CPPFLAGS) $(SDEVENT_CFLAGS)
client_examples_loop_sdevent_LDADD = client/libmuxclient.la $(SDEVENT_LIBS)
check_PROGRAMS += $(CLIENT_EXAMPLES)
EXTRA_DIST += client/examples/README.md

# Pages by group of functions; each function's name leads to its page.
MUXC_PAGES = client/man/libmuxclient.3 client/man/muxc_channel_open.3 client/man/muxc_connect.3 \
	client/man/muxc_consume.3 client/man/muxc_error.3 client/man/muxc_message_new.3 client/man/muxc_process.3 \
	client/man/muxc_publish.3 client/man/muxc_queue_declare.3 client/man/muxc_status.3 \
	client/man/muxc_table_new.3 client/man/muxc_tx_select.3
dist_man_MANS += $(MUXC_PAGES)

# PAGE NAME of each function that has no page of its own
muxc_links = for page in $(MUXC_PAGES); do \
	page=`basename $$page .3`; \
	$(SED) -n '/^\.SH NAME/{n;s/ \\-.*//;s/, /\n/g;p;}' $(top_srcdir)/client/man/$$page.3 | \
	$(SED) "/^$$page$$/d;s/^/$$page /"; done
install-data-local: install-muxc-links
uninstall-local: uninstall-muxc-links
install-muxc-links:
	@$(MKDIR_P) "$(DESTDIR)$(man3dir)"
	@$(muxc_links) | while read page name; do \
		echo ".so man3/$$page.3" >"$(DESTDIR)$(man3dir)/$$name.3"; done
uninstall-muxc-links:
	@$(muxc_links) | while read page name; do rm -f "$(DESTDIR)$(man3dir)/$$name.3"; done
.PHONY: install-muxc-links uninstall-muxc-links
