# Floor 1: the configuration file, by libConfuse.
noinst_LIBRARIES += daemon/conf/libconf.a
daemon_conf_libconf_a_SOURCES = \
	daemon/conf/conf.c daemon/conf/conf.h daemon/conf/internal.h \
	daemon/conf/scan.c \
	daemon/conf/file.c daemon/conf/file.h \
	daemon/conf/keys.c daemon/conf/keys.h \
	daemon/conf/parse.c \
	daemon/conf/uri.c \
	daemon/conf/secret.c \
	daemon/conf/check.c
daemon_conf_libconf_a_CFLAGS = $(AM_CFLAGS) $(CONFUSE_CFLAGS)

dist_man_MANS += daemon/muxd.conf.5
dist_doc_DATA += daemon/muxd.conf.example
