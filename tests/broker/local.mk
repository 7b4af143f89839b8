# A small broker in memory: the engine, pure, and the program on libevent.
noinst_LIBRARIES += tests/broker/libbroker.a
tests_broker_libbroker_a_SOURCES = \
	tests/broker/broker.c tests/broker/broker.h tests/broker/model.h tests/broker/engine.h \
	tests/broker/connection.c tests/broker/frames.c tests/broker/handshake.c \
	tests/broker/channel.c tests/broker/publish.c tests/broker/confirm.c \
	tests/broker/consume.c tests/broker/settle.c tests/broker/tx.c tests/broker/reply.c \
	tests/broker/declare.c tests/broker/bind.c tests/broker/arguments.c \
	tests/broker/exchange.c tests/broker/topic.c tests/broker/headers.c \
	tests/broker/queue.c tests/broker/message.c tests/broker/names.c \
	tests/broker/outside.c tests/broker/trap.c

noinst_PROGRAMS += tests/broker/testbroker
tests_broker_testbroker_SOURCES = \
	tests/broker/main.c tests/broker/command.c \
	tests/broker/server.c tests/broker/server.h tests/broker/server_private.h
tests_broker_testbroker_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
tests_broker_testbroker_LDADD = \
	tests/broker/libbroker.a daemon/amqp/libamqp.a daemon/base/libbase.a proto/libproto.la $(EVENT_LIBS)
