include $(top_srcdir)/daemon/base/local.mk
include $(top_srcdir)/daemon/amqp/local.mk
include $(top_srcdir)/daemon/conf/local.mk
include $(top_srcdir)/daemon/policy/local.mk
include $(top_srcdir)/daemon/mux/local.mk
include $(top_srcdir)/daemon/net/local.mk
include $(top_srcdir)/daemon/up/local.mk
include $(top_srcdir)/daemon/front/local.mk

# Floor 5: the daemon itself.
sbin_PROGRAMS += daemon/muxd
daemon_muxd_SOURCES = \
	daemon/main.c daemon/muxd.c daemon/muxd.h daemon/muxd-private.h \
	daemon/drain.c daemon/reload.c daemon/report.c daemon/retire.c daemon/watch.c \
	daemon/audit.c daemon/audit.h \
	daemon/gate.c daemon/gate.h \
	daemon/plan.c daemon/plan.h \
	daemon/translate.c daemon/translate.h \
	daemon/notify.c daemon/notify.h \
	daemon/sink.c daemon/sink.h
daemon_muxd_CFLAGS = $(AM_CFLAGS) $(PCRE2_CFLAGS) $(CRYPTO_CFLAGS) $(SYSTEMD_CFLAGS) -pthread
daemon_muxd_LDADD = \
	daemon/front/libfront.a daemon/up/libup.a daemon/net/libnet.a daemon/mux/libmux.a \
	daemon/policy/libpolicy.a daemon/conf/libconf.a daemon/amqp/libamqp.a daemon/base/libbase.a \
	proto/libproto.la \
	$(EVENT_LIBS) $(PROTOBUF_C_LIBS) $(CONFUSE_LIBS) $(PCRE2_LIBS) $(SSL_LIBS) $(CRYPTO_LIBS) $(SYSTEMD_LIBS) -lpthread
dist_man_MANS += daemon/muxd.8
