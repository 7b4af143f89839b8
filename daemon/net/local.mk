# Floor 3: the loop, the sockets and TLS; the only users of libevent and libssl.
noinst_LIBRARIES += daemon/net/libnet.a
daemon_net_libnet_a_SOURCES = \
	daemon/net/loop.c daemon/net/loop.h daemon/net/loop-net.h \
	daemon/net/stream.c daemon/net/stream.h \
	daemon/net/ahead.c daemon/net/ahead.h \
	daemon/net/listener.c daemon/net/listener.h \
	daemon/net/peer.c daemon/net/peer.h \
	daemon/net/job.c daemon/net/job.h \
	daemon/net/resolver.c daemon/net/resolver.h \
	daemon/net/dial.c daemon/net/dial.h \
	daemon/net/tls.c daemon/net/tls.h daemon/net/tls-net.h daemon/net/tls-reason.c \
	daemon/net/tls-wire.c daemon/net/tls-wire.h \
	daemon/net/secure.c daemon/net/secure.h
daemon_net_libnet_a_CFLAGS = $(AM_CFLAGS) $(EVENT_CFLAGS) $(SSL_CFLAGS) -pthread
