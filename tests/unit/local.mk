# One program per module, on check; each links its own floor and those below.
# unit_TESTS collects them; every program prints check's totals.
UNIT_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(PROTOBUF_C_CFLAGS)
UNIT_PROTO = proto/libproto.la
UNIT_BASE = daemon/base/libbase.a $(UNIT_PROTO)
UNIT_AMQP = daemon/amqp/libamqp.a $(UNIT_BASE)
UNIT_POLICY = daemon/policy/libpolicy.a $(UNIT_BASE) $(PCRE2_LIBS)
UNIT_CONF = daemon/conf/libconf.a $(UNIT_BASE) $(CONFUSE_LIBS)


# base
BASE_TESTS = tests/unit/test-base-timerq tests/unit/test-base-charge tests/unit/test-base-list \
	tests/unit/test-base-log-fault tests/unit/test-base-duration tests/unit/test-base-bits
check_PROGRAMS += $(BASE_TESTS)
TESTS += $(BASE_TESTS)
tests_unit_test_base_timerq_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_timerq_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_charge_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_charge_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_list_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_list_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_bits_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_bits_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_log_fault_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_log_fault_LDADD = $(UNIT_BASE) $(CHECK_LIBS)
tests_unit_test_base_duration_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base_duration_LDADD = $(UNIT_BASE) $(CHECK_LIBS)

# conf
check_PROGRAMS += tests/unit/test-conf
TESTS += tests/unit/test-conf
tests_unit_test_conf_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_conf_LDADD = $(UNIT_CONF) $(CHECK_LIBS)

# policy
check_PROGRAMS += tests/unit/test-policy
TESTS += tests/unit/test-policy
tests_unit_test_policy_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pcre2_match_data_create_8
tests_unit_test_policy_LDADD = $(UNIT_POLICY) $(CHECK_LIBS)

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

# amqp: the codec. The same tests run 32-bit and on musl, without check.
AMQP_TESTS = tests/unit/test-amqp-frame tests/unit/test-amqp-table tests/unit/test-amqp-method \
	tests/unit/test-amqp-content tests/unit/test-amqp-describe tests/unit/test-amqp-captured
AMQP_GEN = tests/unit/codec-gen.c tests/unit/codec-gen.h
check_PROGRAMS += $(AMQP_TESTS)
TESTS += $(AMQP_TESTS) tests/unit/codec-m32 tests/unit/codec-musl
dist_check_SCRIPTS += tests/unit/codec-m32 tests/unit/codec-musl
EXTRA_DIST += tests/unit/codec-foreign.sh tests/unit/shim/check.h tests/unit/captured tests/unit/codec-without-oracle
tests_unit_test_amqp_frame_SOURCES = tests/unit/test-amqp-frame.c $(AMQP_GEN)
tests_unit_test_amqp_frame_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_amqp_frame_LDADD = $(UNIT_AMQP) $(CHECK_LIBS)
tests_unit_test_amqp_table_SOURCES = tests/unit/test-amqp-table.c $(AMQP_GEN)
tests_unit_test_amqp_table_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_amqp_table_LDADD = $(UNIT_AMQP) $(CHECK_LIBS)
tests_unit_test_amqp_method_SOURCES = tests/unit/test-amqp-method.c $(AMQP_GEN)
tests_unit_test_amqp_method_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_amqp_method_LDADD = $(UNIT_AMQP) $(CHECK_LIBS)
tests_unit_test_amqp_content_SOURCES = tests/unit/test-amqp-content.c $(AMQP_GEN)
tests_unit_test_amqp_content_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_amqp_content_LDADD = $(UNIT_AMQP) $(CHECK_LIBS)
tests_unit_test_amqp_describe_SOURCES = tests/unit/test-amqp-describe.c $(AMQP_GEN)
tests_unit_test_amqp_describe_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_amqp_describe_LDADD = $(UNIT_AMQP) $(CHECK_LIBS)
tests_unit_test_amqp_captured_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_amqp_captured_LDADD = $(UNIT_AMQP) $(CHECK_LIBS)
if HAVE_RABBITMQ
check_PROGRAMS += tests/unit/test-amqp-oracle
TESTS += tests/unit/test-amqp-oracle
else
TESTS += tests/unit/codec-without-oracle
endif
tests_unit_test_amqp_oracle_SOURCES = tests/unit/test-amqp-oracle.c $(AMQP_GEN)
tests_unit_test_amqp_oracle_CPPFLAGS = $(UNIT_CPPFLAGS) $(RABBITMQ_CFLAGS)
tests_unit_test_amqp_oracle_LDADD = $(UNIT_AMQP) $(RABBITMQ_LIBS) $(CHECK_LIBS)

# client: a muxd of their own, in a thread, on a Unix socket
CLIENT_TESTS = tests/unit/test-client-session tests/unit/test-client-publish tests/unit/test-client-channel \
	tests/unit/test-client-consume tests/unit/test-client-table tests/unit/test-client-reconnect \
	tests/unit/test-client-restore tests/unit/test-client-edges tests/unit/test-client-lost \
	tests/unit/test-client-move tests/unit/test-client-declared tests/unit/test-client-threads tests/unit/test-client-fork \
	tests/unit/test-client-handlers
check_PROGRAMS += $(CLIENT_TESTS)
TESTS += $(CLIENT_TESTS) tests/unit/client-tsan
dist_check_SCRIPTS += tests/unit/client-tsan
CLIENT_FAKE = tests/unit/client-fake.c tests/unit/client-fake.h
FORKED = tests/unit/forked.c tests/unit/forked.h
CLIENT_LIBS = client/libmuxclient.la $(UNIT_PROTO) $(PROTOBUF_C_LIBS) $(CHECK_LIBS) -lpthread
tests_unit_test_client_consume_SOURCES = tests/unit/test-client-consume.c $(CLIENT_FAKE)
tests_unit_test_client_consume_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_consume_LDADD = $(CLIENT_LIBS)
CLIENT_SCENE = tests/unit/client-scene.c tests/unit/client-scene.h
tests_unit_test_client_restore_SOURCES = tests/unit/test-client-restore.c $(CLIENT_SCENE) $(CLIENT_FAKE)
tests_unit_test_client_restore_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_restore_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_move_SOURCES = tests/unit/test-client-move.c $(CLIENT_SCENE) $(CLIENT_FAKE)
tests_unit_test_client_move_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_move_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_declared_SOURCES = tests/unit/test-client-declared.c $(CLIENT_SCENE) $(CLIENT_FAKE)
tests_unit_test_client_declared_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_declared_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_handlers_SOURCES = tests/unit/test-client-handlers.c $(CLIENT_SCENE) $(CLIENT_FAKE)
tests_unit_test_client_handlers_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_handlers_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_edges_SOURCES = tests/unit/test-client-edges.c $(CLIENT_SCENE) $(CLIENT_FAKE)
tests_unit_test_client_edges_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_edges_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_lost_SOURCES = tests/unit/test-client-lost.c $(CLIENT_SCENE) $(CLIENT_FAKE)
tests_unit_test_client_lost_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_lost_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_fork_SOURCES = tests/unit/test-client-fork.c $(FORKED) $(CLIENT_SCENE) $(CLIENT_FAKE)
tests_unit_test_client_fork_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_fork_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_reconnect_SOURCES = tests/unit/test-client-reconnect.c $(CLIENT_SCENE) $(CLIENT_FAKE)
tests_unit_test_client_reconnect_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_reconnect_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_threads_SOURCES = tests/unit/test-client-threads.c $(FORKED) $(CLIENT_FAKE)
tests_unit_test_client_threads_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_threads_LDADD = $(CLIENT_LIBS) -ldl
tests_unit_test_client_table_SOURCES = tests/unit/test-client-table.c
tests_unit_test_client_table_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_table_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_session_SOURCES = tests/unit/test-client-session.c $(FORKED) $(CLIENT_FAKE)
tests_unit_test_client_session_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_session_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_publish_SOURCES = tests/unit/test-client-publish.c $(CLIENT_FAKE)
tests_unit_test_client_publish_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_publish_LDADD = $(CLIENT_LIBS)
tests_unit_test_client_channel_SOURCES = tests/unit/test-client-channel.c $(CLIENT_FAKE)
tests_unit_test_client_channel_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_channel_LDADD = $(CLIENT_LIBS)

# The adapters to event loops: the same tests for each that there is.
LOOP_SOURCES = tests/unit/test-loop.c tests/unit/loop-fake.c tests/unit/loop-fake.h
LOOP_CPPFLAGS = $(UNIT_CPPFLAGS) -I$(top_srcdir)/client -I$(top_srcdir)/client/loop
LOOP_TESTS = tests/unit/test-loop-libevent
tests_unit_test_loop_libevent_SOURCES = $(LOOP_SOURCES) tests/unit/loop-libevent.c
tests_unit_test_loop_libevent_CPPFLAGS = $(LOOP_CPPFLAGS) $(EVENT_CFLAGS) -DLOOP='"libevent"'
tests_unit_test_loop_libevent_LDADD = $(EVENT_LIBS) $(CHECK_LIBS)
if HAVE_LIBUV
LOOP_TESTS += tests/unit/test-loop-libuv
endif
tests_unit_test_loop_libuv_SOURCES = $(LOOP_SOURCES) tests/unit/loop-libuv.c
tests_unit_test_loop_libuv_CPPFLAGS = $(LOOP_CPPFLAGS) $(LIBUV_CFLAGS) -DLOOP='"libuv"'
tests_unit_test_loop_libuv_LDADD = $(LIBUV_LIBS) $(CHECK_LIBS)
if HAVE_GLIB
LOOP_TESTS += tests/unit/test-loop-glib
endif
tests_unit_test_loop_glib_SOURCES = $(LOOP_SOURCES) tests/unit/loop-glib.c
tests_unit_test_loop_glib_CPPFLAGS = $(LOOP_CPPFLAGS) $(GLIB_CFLAGS) -DLOOP='"glib"'
tests_unit_test_loop_glib_LDADD = $(GLIB_LIBS) $(CHECK_LIBS)
if HAVE_SDEVENT
LOOP_TESTS += tests/unit/test-loop-sdevent
endif
tests_unit_test_loop_sdevent_SOURCES = $(LOOP_SOURCES) tests/unit/loop-sdevent.c
tests_unit_test_loop_sdevent_CPPFLAGS = $(LOOP_CPPFLAGS) $(SDEVENT_CFLAGS) -DLOOP='"sdevent"'
tests_unit_test_loop_sdevent_LDADD = $(SDEVENT_LIBS) $(CHECK_LIBS)
check_PROGRAMS += $(LOOP_TESTS)
TESTS += $(LOOP_TESTS)

check_PROGRAMS += tests/unit/test-client-sizes
TESTS += tests/unit/test-client-sizes
tests_unit_test_client_sizes_SOURCES = tests/unit/test-client-sizes.c $(CLIENT_FAKE)
tests_unit_test_client_sizes_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_sizes_LDADD = $(CLIENT_LIBS)
# The library once more, with allocations and system calls that can be made to fail.
check_LIBRARIES += tests/unit/libfailing.a
tests_unit_libfailing_a_SOURCES = $(client_libmuxclient_la_SOURCES) $(proto_libproto_la_SOURCES) \
	tests/unit/failing.c tests/unit/failing.h tests/unit/failing-redirect.h
nodist_tests_unit_libfailing_a_SOURCES = proto/muxd.pb-c.c
tests_unit_libfailing_a_CPPFLAGS = $(UNIT_CPPFLAGS) -include $(top_srcdir)/tests/unit/failing-redirect.h
check_PROGRAMS += tests/unit/test-client-oom tests/unit/test-client-child
TESTS += tests/unit/test-client-oom tests/unit/test-client-child
tests_unit_test_client_child_SOURCES = tests/unit/test-client-child.c $(FORKED) $(CLIENT_FAKE)
tests_unit_test_client_child_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_child_LDADD = tests/unit/libfailing.a $(PROTOBUF_C_LIBS) $(CHECK_LIBS) -lpthread
tests_unit_test_client_oom_SOURCES = tests/unit/test-client-oom.c tests/unit/oom-world.c tests/unit/oom-world.h \
	tests/unit/oom-muxd.c tests/unit/oom-muxd.h $(CLIENT_FAKE)
tests_unit_test_client_oom_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_oom_LDADD = tests/unit/libfailing.a $(PROTOBUF_C_LIBS) $(CHECK_LIBS) -lpthread
# net
UNIT_NET = daemon/net/libnet.a $(UNIT_BASE) $(EVENT_LIBS) $(SSL_LIBS) $(CRYPTO_LIBS) -lpthread
NET_TESTS = tests/unit/test-net-stream tests/unit/test-net-listener tests/unit/test-net-dial tests/unit/test-net-ahead \
	tests/unit/test-net-tls tests/unit/test-net-tls-oom tests/unit/test-net-tls-reason tests/unit/test-net-job \
	tests/unit/test-net-peer
check_PROGRAMS += $(NET_TESTS)
TESTS += $(NET_TESTS)
tests_unit_test_net_peer_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_net_peer_LDADD = $(UNIT_NET) $(CHECK_LIBS)
tests_unit_test_net_peer_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getsockopt -Wl,--wrap=realloc
tests_unit_test_net_tls_reason_SOURCES = tests/unit/test-net-tls-reason.c tests/unit/tls-cert.c tests/unit/tls-cert.h
tests_unit_test_net_tls_reason_CPPFLAGS = $(UNIT_CPPFLAGS) $(SSL_CFLAGS)
tests_unit_test_net_tls_reason_LDADD = $(UNIT_NET) $(CHECK_LIBS)
tests_unit_test_net_job_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_net_job_LDADD = $(UNIT_NET) $(CHECK_LIBS)
tests_unit_test_net_ahead_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_net_ahead_LDADD = $(UNIT_NET) $(CHECK_LIBS)
tests_unit_test_net_stream_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_net_stream_LDADD = $(UNIT_NET) $(CHECK_LIBS)
tests_unit_test_net_dial_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_net_dial_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo
tests_unit_test_net_dial_LDADD = $(UNIT_NET) $(CHECK_LIBS)
TLS_PEER = tests/unit/tls-peer.c tests/unit/tls-peer.h tests/unit/tls-cert.c tests/unit/tls-cert.h
tests_unit_test_net_tls_oom_SOURCES = tests/unit/test-net-tls-oom.c $(TLS_PEER)
tests_unit_test_net_tls_oom_CPPFLAGS = $(UNIT_CPPFLAGS) $(SSL_CFLAGS)
tests_unit_test_net_tls_oom_LDADD = $(UNIT_NET) $(CHECK_LIBS)
tests_unit_test_net_tls_SOURCES = tests/unit/test-net-tls.c $(TLS_PEER)
tests_unit_test_net_tls_CPPFLAGS = $(UNIT_CPPFLAGS) $(SSL_CFLAGS)
tests_unit_test_net_tls_LDADD = $(UNIT_NET) $(CHECK_LIBS)
tests_unit_test_net_listener_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_net_listener_LDADD = $(UNIT_NET) $(CHECK_LIBS)

# up
check_PROGRAMS += tests/unit/test-up-uplink
TESTS += tests/unit/test-up-uplink
tests_unit_test_up_uplink_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_up_uplink_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo
tests_unit_test_up_uplink_LDADD = daemon/up/libup.a daemon/mux/libmux.a daemon/amqp/libamqp.a $(UNIT_NET) \
	-lm $(CHECK_LIBS)

# front
UNIT_FRONT = tests/rig/librig.a daemon/front/libfront.a daemon/net/libnet.a daemon/mux/libmux.a $(UNIT_AMQP) \
	$(PROTOBUF_C_LIBS) $(EVENT_LIBS) $(SSL_LIBS) $(CRYPTO_LIBS) -lpthread
FRONT_TESTS = tests/unit/test-front-table tests/unit/test-front-unpack tests/unit/test-front-ipc
check_PROGRAMS += $(FRONT_TESTS)
TESTS += $(FRONT_TESTS)
tests_unit_test_front_table_SOURCES = tests/unit/test-front-table.c $(AMQP_GEN)
tests_unit_test_front_table_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_front_table_LDADD = $(UNIT_FRONT) $(CHECK_LIBS)
tests_unit_test_front_unpack_SOURCES = tests/unit/test-front-unpack.c $(AMQP_GEN)
tests_unit_test_front_unpack_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_front_unpack_LDADD = $(UNIT_FRONT) $(CHECK_LIBS)
tests_unit_test_front_ipc_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_front_ipc_LDADD = $(UNIT_FRONT) $(CHECK_LIBS)

# The broker of the tests itself: its pure engine, fed with frames.
BROKER_TESTS = tests/unit/test-broker-handshake tests/unit/test-broker-queue tests/unit/test-broker-exchange \
	tests/unit/test-broker-publish tests/unit/test-broker-consume tests/unit/test-broker-error \
	tests/unit/test-broker-control
BROKER_CLIENT = tests/unit/broker-client.c tests/unit/broker-client.h
UNIT_BROKER = tests/broker/libbroker.a $(UNIT_AMQP)
check_PROGRAMS += $(BROKER_TESTS)
TESTS += $(BROKER_TESTS)
tests_unit_test_broker_handshake_SOURCES = tests/unit/test-broker-handshake.c $(BROKER_CLIENT)
tests_unit_test_broker_handshake_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_broker_handshake_LDADD = $(UNIT_BROKER) $(CHECK_LIBS)
tests_unit_test_broker_queue_SOURCES = tests/unit/test-broker-queue.c $(BROKER_CLIENT)
tests_unit_test_broker_queue_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_broker_queue_LDADD = $(UNIT_BROKER) $(CHECK_LIBS)
tests_unit_test_broker_exchange_SOURCES = tests/unit/test-broker-exchange.c $(BROKER_CLIENT)
tests_unit_test_broker_exchange_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_broker_exchange_LDADD = $(UNIT_BROKER) $(CHECK_LIBS)
tests_unit_test_broker_publish_SOURCES = tests/unit/test-broker-publish.c $(BROKER_CLIENT)
tests_unit_test_broker_publish_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_broker_publish_LDADD = $(UNIT_BROKER) $(CHECK_LIBS)
tests_unit_test_broker_consume_SOURCES = tests/unit/test-broker-consume.c $(BROKER_CLIENT)
tests_unit_test_broker_consume_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_broker_consume_LDADD = $(UNIT_BROKER) $(CHECK_LIBS)
tests_unit_test_broker_error_SOURCES = tests/unit/test-broker-error.c $(BROKER_CLIENT)
tests_unit_test_broker_error_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_broker_error_LDADD = $(UNIT_BROKER) $(CHECK_LIBS)
tests_unit_test_broker_control_SOURCES = tests/unit/test-broker-control.c $(BROKER_CLIENT)
tests_unit_test_broker_control_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_broker_control_LDADD = $(UNIT_BROKER) $(CHECK_LIBS)

# mux
check_LIBRARIES += tests/unit/libmuxrig.a
tests_unit_libmuxrig_a_SOURCES = tests/unit/mux-rig.c tests/unit/mux-rig.h tests/unit/mux-world.c tests/unit/mux-world.h
tests_unit_libmuxrig_a_CPPFLAGS = $(UNIT_CPPFLAGS)
UNIT_MUX = tests/unit/libmuxrig.a tests/rig/librig.a daemon/mux/libmux.a $(UNIT_AMQP) -lm
MUX_WORLD_TESTS = tests/unit/test-mux-clash tests/unit/test-mux-edges tests/unit/test-mux-credit tests/unit/test-mux-tx \
	tests/unit/test-mux-quirks
check_PROGRAMS += $(MUX_WORLD_TESTS)
TESTS += $(MUX_WORLD_TESTS)
tests_unit_test_mux_clash_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_clash_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_tx_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_tx_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_credit_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_credit_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_quirks_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_quirks_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_edges_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_edges_LDADD = $(UNIT_MUX) $(CHECK_LIBS)

# mux on the test broker, with each allocation failing.
check_PROGRAMS += tests/unit/test-mux-oom
TESTS += tests/unit/test-mux-oom
tests_unit_test_mux_oom_LDADD = tests/broker/libbroker.a $(UNIT_MUX)
tests_unit_test_mux_oom_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc \
	-Wl,--wrap=strdup -Wl,--wrap=free

# mux: its engines alone, and the whole with a scripted broker (mux-rig).
MUX_ENGINE_TESTS = tests/unit/test-mux-redial tests/unit/test-mux-handshake tests/unit/test-mux-conn \
	tests/unit/test-mux-assemble tests/unit/test-mux-window
MUX_RIG_TESTS = tests/unit/test-mux-lane tests/unit/test-mux-limit tests/unit/test-mux-publish \
	tests/unit/test-mux-delivery tests/unit/test-mux-reader tests/unit/test-mux-request \
	tests/unit/test-mux-session tests/unit/test-mux-upstream tests/unit/test-mux-recovery \
	tests/unit/test-mux-blame tests/unit/test-mux-flow tests/unit/test-mux-recorder \
	tests/unit/test-mux-subscribe tests/unit/test-mux-alter
check_PROGRAMS += $(MUX_ENGINE_TESTS) $(MUX_RIG_TESTS)
TESTS += $(MUX_ENGINE_TESTS) $(MUX_RIG_TESTS)
tests_unit_test_mux_redial_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_redial_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_handshake_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_handshake_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_conn_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_conn_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_assemble_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_assemble_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_window_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_window_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_recorder_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_recorder_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_subscribe_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_subscribe_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_flow_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_flow_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_lane_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_lane_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_limit_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_limit_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_publish_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_publish_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_delivery_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_delivery_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_reader_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_reader_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_request_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_request_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_session_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_session_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_alter_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_alter_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_upstream_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_upstream_LDADD = $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_blame_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_blame_LDADD = tests/broker/libbroker.a $(UNIT_MUX) $(CHECK_LIBS)
tests_unit_test_mux_recovery_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_recovery_LDADD = $(UNIT_MUX) $(CHECK_LIBS)

# muxctl's own parts, and muxctl with a fake of muxd. What takes no muxd: test-muxctl-usage; a real one:
# ../integration/muxctl.sh.
MUXCTL_TESTS = tests/unit/test-muxctl-json tests/unit/test-muxctl-lost tests/unit/test-muxctl-output \
	tests/unit/test-muxctl-signals tests/unit/test-muxctl-run
check_PROGRAMS += $(MUXCTL_TESTS)
TESTS += $(MUXCTL_TESTS)
tests_unit_test_muxctl_signals_SOURCES = tests/unit/test-muxctl-signals.c client/tool/signals.c
tests_unit_test_muxctl_signals_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_muxctl_signals_LDADD = $(CHECK_LIBS)
tests_unit_test_muxctl_run_SOURCES = tests/unit/test-muxctl-run.c client/tool/run.c client/tool/json.c
tests_unit_test_muxctl_run_CPPFLAGS = $(UNIT_CPPFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_muxctl_run_LDADD = client/libmuxclient.la $(JANSSON_LIBS) $(CHECK_LIBS)
tests_unit_test_muxctl_run_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=realloc \
	-Wl,--wrap=posix_spawnattr_init -Wl,--wrap=posix_spawn_file_actions_init
tests_unit_test_muxctl_output_SOURCES = tests/unit/test-muxctl-output.c $(CLIENT_FAKE)
tests_unit_test_muxctl_output_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_muxctl_output_LDADD = $(CLIENT_LIBS)
tests_unit_test_muxctl_lost_SOURCES = tests/unit/test-muxctl-lost.c $(CLIENT_FAKE)
tests_unit_test_muxctl_lost_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_muxctl_lost_LDADD = $(CLIENT_LIBS)
tests_unit_test_muxctl_json_SOURCES = tests/unit/test-muxctl-json.c client/tool/json.c
tests_unit_test_muxctl_json_CPPFLAGS = $(UNIT_CPPFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_muxctl_json_LDADD = client/libmuxclient.la $(JANSSON_LIBS) $(CHECK_LIBS)

# The daemon's own parts, and its command line.
dist_check_SCRIPTS += tests/unit/test-muxd-usage
TESTS += tests/unit/test-muxd-usage
check_PROGRAMS += tests/unit/test-muxd-sink
TESTS += tests/unit/test-muxd-sink
tests_unit_test_muxd_sink_SOURCES = tests/unit/test-muxd-sink.c daemon/sink.c
tests_unit_test_muxd_sink_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_muxd_sink_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS)
tests_unit_test_muxd_sink_LDADD = $(UNIT_BASE) $(CHECK_LIBS)

# The whole daemon, with what it calls put through wrap-failing.c by the linker.
check_LIBRARIES += tests/unit/libmuxdfailing.a
tests_unit_libmuxdfailing_a_SOURCES = $(daemon_muxd_SOURCES) tests/unit/muxd-cases.c tests/unit/muxd-cases.h \
	tests/unit/wrap-failing.c tests/unit/wrap-failing.h tests/unit/tls-cert.c tests/unit/tls-cert.h \
	tests/unit/tls-relay.c tests/unit/tls-relay.h
tests_unit_libmuxdfailing_a_CPPFLAGS = $(UNIT_CPPFLAGS) $(CONFUSE_CFLAGS) $(EVENT_CFLAGS) $(SSL_CFLAGS) -Dmain=muxd_main
tests_unit_libmuxdfailing_a_CFLAGS = $(daemon_muxd_CFLAGS) -Wno-missing-prototypes
MUXD_FAILING = tests/unit/libmuxdfailing.a $(daemon_muxd_LDADD) $(CHECK_LIBS)
WRAP = -Wl,--wrap=
MUXD_WRAPPED = \
	$(WRAP)malloc $(WRAP)calloc $(WRAP)realloc $(WRAP)reallocarray $(WRAP)strdup $(WRAP)asprintf $(WRAP)vasprintf \
	$(WRAP)event_config_new $(WRAP)event_base_new_with_config $(WRAP)event_new $(WRAP)event_add $(WRAP)cfg_init \
	$(WRAP)pcre2_match_context_create_8 $(WRAP)pcre2_compile_context_create_8 $(WRAP)pcre2_match_data_create_8 \
	$(WRAP)EVP_Digest $(WRAP)socket $(WRAP)bind $(WRAP)listen $(WRAP)accept4 $(WRAP)connect $(WRAP)getsockopt \
	$(WRAP)setsockopt $(WRAP)eventfd $(WRAP)fstat $(WRAP)chmod $(WRAP)read $(WRAP)readv $(WRAP)send $(WRAP)getaddrinfo \
	$(WRAP)pthread_create $(WRAP)open $(WRAP)fcntl $(WRAP)recv $(WRAP)getsockname \
	$(WRAP)lstat $(WRAP)unlink $(WRAP)getpwnam $(WRAP)getgrnam $(WRAP)sd_notify $(WRAP)sd_watchdog_enabled
MUXD_FAILING_TESTS = tests/unit/test-muxd-failing tests/unit/test-muxd-reload-failing
check_PROGRAMS += $(MUXD_FAILING_TESTS)
TESTS += $(MUXD_FAILING_TESTS)
tests_unit_test_muxd_failing_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_muxd_failing_LDADD = $(MUXD_FAILING)
tests_unit_test_muxd_failing_LDFLAGS = $(AM_LDFLAGS) $(WRAP)loop_run $(MUXD_WRAPPED)
tests_unit_test_muxd_reload_failing_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_muxd_reload_failing_LDADD = $(MUXD_FAILING)
tests_unit_test_muxd_reload_failing_LDFLAGS = $(AM_LDFLAGS) $(MUXD_WRAPPED)
