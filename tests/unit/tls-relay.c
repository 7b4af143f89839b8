#include "tests/unit/tls-relay.h"

#include "tests/unit/tls-cert.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 16384

_Noreturn static void give_up(const char *what)
{
	perror(what);
	exit(1);
}

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0 || chmod(path, 0600) < 0)
		give_up(path);
}

static bool write_all(int fd, const char *bytes, ssize_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, bytes, (size_t)len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		len -= n;
	}
	return true;
}

/* One connection, to its end. */
static void carry(SSL *ssl, int secured, int plain)
{
	struct pollfd fds[] = {{.fd = secured, .events = POLLIN}, {.fd = plain, .events = POLLIN}};
	char bytes[CHUNK];
	bool goes_on = SSL_accept(ssl) == 1;

	while (goes_on) {
		if (SSL_pending(ssl) == 0 && poll(fds, 2, -1) < 0)
			return;
		if (SSL_pending(ssl) > 0 || fds[0].revents) {
			int n = SSL_read(ssl, bytes, CHUNK);

			goes_on = n > 0 && write_all(plain, bytes, n);
		}
		if (goes_on && fds[1].revents) {
			ssize_t n = read(plain, bytes, CHUNK);

			goes_on = n > 0 && SSL_write(ssl, bytes, (int)n) == n;
		}
		fds[0].revents = fds[1].revents = 0;
	}
}

static int connect_to(unsigned int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

/* A process each, so that none waits for another. */
_Noreturn static void serve(SSL_CTX *ctx, int listener, unsigned int broker_port)
{
	for (;;) {
		int secured = accept(listener, NULL, NULL);

		if (secured >= 0 && fork() == 0) {
			int plain = connect_to(broker_port);
			SSL *ssl = SSL_new(ctx);

			if (plain >= 0 && ssl && SSL_set_fd(ssl, secured) == 1)
				carry(ssl, secured, plain);
			_exit(0);
		}
		(void)close(secured);
	}
}

static SSL_CTX *make_context(const struct cert *own, const struct cert *ca)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx || SSL_CTX_use_certificate(ctx, own->x509) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, own->key) != 1 ||
	    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca->x509) != 1)
		give_up("TLS");
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return ctx;
}

pid_t tls_relay_start(unsigned int broker_port, const char *folder, unsigned int *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct cert ca, own, client;
	pid_t child;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) < 0 ||
	    listen(listener, 50) < 0 || getsockname(listener, (struct sockaddr *)&address, &len) < 0)
		give_up("the relay's socket");
	*ret_port = ntohs(address.sin_port);
	cert_make(&ca, &(struct cert_options){.name = "ca", .is_ca = true});
	cert_make(&own, &(struct cert_options){.name = "broker", .san = "DNS:localhost", .issuer = &ca});
	cert_make(&client, &(struct cert_options){.name = "muxd", .issuer = &ca});
	write_file(folder, "ca.pem", ca.cert_pem);
	write_file(folder, "cert.pem", client.cert_pem);
	write_file(folder, "key.pem", client.key_pem);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that gives up ends it, too */
		(void)signal(SIGCHLD, SIG_IGN);
		(void)signal(SIGPIPE, SIG_IGN);
		serve(make_context(&own, &ca), listener, broker_port);
	}
	(void)close(listener);
	cert_deinit(&ca);
	cert_deinit(&own);
	cert_deinit(&client);
	if (child < 0)
		give_up("fork");
	return child;
}
