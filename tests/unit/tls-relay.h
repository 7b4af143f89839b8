/*
 * A process between muxd and the broker, which speaks TLS to the one and
 * nothing of it to the other. It wants a certificate of its client.
 */
#pragma once

#include <sys/types.h>

/*
 * Listens on a port of its own, and writes to the folder what its client needs:
 * ca.pem, cert.pem, key.pem. It is ended by a signal; its connections end by
 * themselves.
 */
pid_t tls_relay_start(unsigned int broker_port, const char *folder, unsigned int *ret_port);
