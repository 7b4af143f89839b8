#include "daemon/up/uplink.h"

#include "daemon/net/dial.h"
#include "daemon/net/secure.h"
#include "daemon/net/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Of the time that mux gives to dialling and handshake together: the dialler is done first, and says why. */
#define DIAL_SHARE_NUM 9u
#define DIAL_SHARE_DEN 10u
/* Beyond any sensible frame_max: what claims to be larger is left to mux to refuse. */
#define FRAME_BYTES_MAX (16u * 1024u * 1024u)

struct endpoint {
	char *host; /* owned */
	char *port; /* owned */
	bool tls;
	size_t address; /* to begin with: the one that was good last, or the one behind that which was not */
};

/* Where a transport's events go. */
struct link_ops {
	void (*dialled)(struct upstream *upstream);
	void (*dial_failed)(struct upstream *upstream, const char *reason);
	void (*lost)(struct upstream *upstream, const char *reason);
	size_t (*feed)(struct upstream *upstream, struct span bytes);
	struct buf *(*output)(struct upstream *upstream);
	void (*pump)(struct upstream *upstream); /* NULL: all its output is there */
};

/* One transport: the upstream's own, or its scout's. */
struct link {
	struct uplink *uplink;
	const struct link_ops *ops;
	size_t endpoint;       /* dialled last */
	struct mono deadline;  /* of what is before the AMQP handshake */
	struct dial *dial;     /* while dialling */
	struct secure *secure; /* then, during a TLS handshake */
	struct stream *stream; /* then; only one of the three is there */
	bool silent;	       /* nothing was read yet */
};

struct uplink {
	struct loop *loop;
	struct resolver *resolver;
	struct upstream *upstream; /* mux's */
	struct endpoint *endpoints;
	size_t endpoint_count;
	struct tls_context *tls; /* owned; may be NULL */
	uint64_t epoch;		 /* of the upstream, when it was dialled */
	bool connected;		 /* to the main link's endpoint, at its address */
	uint64_t dial_timeout_usec;
	void (*changed)(void *context);
	void *context;
	struct link main, scout;
};

static const struct link_ops main_ops = {upstream_dialled, upstream_dial_failed, upstream_lost,
					 upstream_feed,	   upstream_output,	 upstream_pump};
static const struct link_ops scout_ops = {upstream_scout_dialled, upstream_scout_dial_failed,
					  upstream_scout_lost,	  upstream_scout_feed,
					  upstream_scout_output,  NULL};

static bool is_main(const struct link *link)
{
	return link == &link->uplink->main;
}

/* ------------------------------------------------------------------ the stream */

/* What the frame at the front takes in all, so that it is read in one go. 0: not known yet. */
static size_t frame_need(struct span rest)
{
	uint32_t size;

	if (rest.len < AMQC_FRAME_OVERHEAD - 1)
		return AMQC_FRAME_OVERHEAD;
	size = load_be32(rest.data + 3);
	return size <= FRAME_BYTES_MAX ? (size_t)size + AMQC_FRAME_OVERHEAD : 0;
}

static void on_low(void *context)
{
	struct link *link = context;

	if (link->ops->pump)
		link->ops->pump(link->uplink->upstream);
}

/* A TLS server that is spoken to in the clear sends an alert, which no frame of AMQP looks like. */
static bool is_tls_alert(struct span bytes)
{
	return bytes.len >= 2 && bytes.data[0] == 0x15 && bytes.data[1] == 0x03;
}

static uint64_t epoch_of(const struct uplink *uplink)
{
	struct upstream_info info;

	upstream_get_info(uplink->upstream, &info);
	return info.epoch;
}

/* Something listens at the address, but it did not finish the handshake: another one may. */
static void judge_address(struct uplink *uplink)
{
	if (uplink->connected && epoch_of(uplink) == uplink->epoch)
		uplink->endpoints[uplink->main.endpoint].address++;
	uplink->connected = false;
}

static void on_closed(void *context, const char *reason)
{
	struct link *link = context;

	if (is_main(link))
		judge_address(link->uplink);
	stream_close(link->stream, 0);
	link->stream = NULL;
	link->ops->lost(link->uplink->upstream, reason);
}

static size_t on_bytes(void *context, struct span bytes, size_t *ret_need)
{
	struct link *link = context;
	bool first = link->silent;
	size_t used;

	link->silent = false;
	if (first && !link->uplink->endpoints[link->endpoint].tls && is_tls_alert(bytes)) {
		on_closed(link, "the peer speaks TLS at this port: write amqps:// in uri");
		return bytes.len;
	}
	used = link->ops->feed(link->uplink->upstream, bytes);
	if (link->stream && used < bytes.len)
		*ret_need = frame_need(span_skip(bytes, used));
	return used;
}

static const struct stream_ops stream_ops = {on_bytes, NULL, on_low, on_closed};

/* ------------------------------------------------------------------ dialling */

static void dial_failed(struct link *link, const char *reason)
{
	if (is_main(link))
		judge_address(link->uplink);
	link->ops->dial_failed(link->uplink->upstream, reason);
}

/* There is a way for bytes; wire: TLS over the socket, or NULL. */
static void begin_stream(struct link *link, int fd, struct tls_wire *wire)
{
	struct uplink *uplink = link->uplink;
	struct stream_options options = {.fd = fd,
					 .transport = wire ? &tls_wire_transport : NULL,
					 .transport_context = wire,
					 .out = link->ops->output(uplink->upstream),
					 .keeps_little = true,
					 .ops = &stream_ops,
					 .context = link};

	if (stream_new(uplink->loop, &options, &link->stream) < 0) {
		(void)tls_wire_free(wire);
		(void)close(fd);
		dial_failed(link, "out of memory");
		return;
	}
	link->silent = true;
	link->ops->dialled(uplink->upstream);
}

static void on_secured(void *owner, int fd, struct tls_wire *wire)
{
	struct link *link = owner;

	link->secure = NULL;
	begin_stream(link, fd, wire);
}

static void on_secure_failed(void *owner, const char *reason)
{
	struct link *link = owner;

	link->secure = NULL;
	dial_failed(link, reason);
}

static void begin_secure(struct link *link, int fd)
{
	struct uplink *uplink = link->uplink;
	struct secure_options options = {.loop = uplink->loop,
					 .context = uplink->tls,
					 .host = uplink->endpoints[link->endpoint].host,
					 .fd = fd,
					 .deadline = link->deadline,
					 .on_secured = on_secured,
					 .on_failed = on_secure_failed,
					 .owner = link};

	if (secure_start(&options, &link->secure) == 0)
		return;
	(void)close(fd);
	dial_failed(link, "out of memory");
}

static void on_connected(void *context, int fd, size_t number)
{
	struct link *link = context;
	struct uplink *uplink = link->uplink;

	link->dial = NULL;
	if (is_main(link)) {
		uplink->endpoints[link->endpoint].address = number;
		uplink->connected = true;
	}
	if (uplink->endpoints[link->endpoint].tls)
		begin_secure(link, fd);
	else
		begin_stream(link, fd, NULL);
}

static void on_failed(void *context, const char *reason)
{
	struct link *link = context;

	link->dial = NULL;
	link->ops->dial_failed(link->uplink->upstream, reason);
}

static void start_dial(struct link *link, size_t index)
{
	struct uplink *uplink = link->uplink;
	struct dial_options options = {.loop = uplink->loop,
				       .resolver = uplink->resolver,
				       .host = uplink->endpoints[index].host,
				       .port = uplink->endpoints[index].port,
				       .first = uplink->endpoints[index].address,
				       .timeout_usec = uplink->dial_timeout_usec,
				       .on_connected = on_connected,
				       .on_failed = on_failed,
				       .context = link};

	link->endpoint = index;
	link->deadline = mono_add_usec(loop_now(uplink->loop), uplink->dial_timeout_usec);
	/* Without memory nothing is dialled, and mux's own deadline ends the attempt. */
	if (dial_start(&options, &link->dial) < 0)
		link->dial = NULL;
}

static void drop(struct link *link)
{
	link->dial = dial_cancel(link->dial);
	link->secure = secure_cancel(link->secure);
	stream_close(link->stream, 0);
	link->stream = NULL;
}

static void hang_up(struct link *link)
{
	/* A close or close-ok may be the last that was written. */
	if (link->stream)
		stream_write_now(link->stream);
	drop(link);
}

static void op_dial(void *context, size_t index)
{
	struct uplink *uplink = context;

	uplink->epoch = epoch_of(uplink);
	start_dial(&uplink->main, index);
}

static void op_hang_up(void *context)
{
	struct uplink *uplink = context;

	judge_address(uplink);
	hang_up(&uplink->main);
}

static void op_changed(void *context)
{
	struct uplink *uplink = context;

	if (uplink->changed)
		uplink->changed(uplink->context);
}

static void op_scout_dial(void *context, size_t index)
{
	struct uplink *uplink = context;

	start_dial(&uplink->scout, index);
}

static void op_scout_hang_up(void *context)
{
	struct uplink *uplink = context;

	hang_up(&uplink->scout);
}

static const struct upstream_ops upstream_ops = {op_dial, op_hang_up, op_changed, op_scout_dial,
						 op_scout_hang_up};

/* ------------------------------------------------------------------ the object */

static int copy_endpoints(struct uplink *uplink, const struct uplink_options *options)
{
	uplink->endpoints = calloc(options->upstream->endpoint_count, sizeof(*uplink->endpoints));
	if (!uplink->endpoints)
		return -ENOMEM;
	uplink->endpoint_count = options->upstream->endpoint_count;
	for (size_t i = 0; i < uplink->endpoint_count; i++) {
		uplink->endpoints[i].host = strdup(options->endpoints[i].host);
		uplink->endpoints[i].port = strdup(options->endpoints[i].port);
		uplink->endpoints[i].tls = options->endpoints[i].tls;
		assert(options->tls || !options->endpoints[i].tls);
		if (!uplink->endpoints[i].host || !uplink->endpoints[i].port)
			return -ENOMEM;
	}
	return 0;
}

int uplink_new(const struct uplink_options *options, struct uplink **ret)
{
	struct uplink *uplink = calloc(1, sizeof(*uplink));
	int r;

	if (!uplink)
		return -ENOMEM;
	uplink->main = (struct link){.uplink = uplink, .ops = &main_ops};
	uplink->scout = (struct link){.uplink = uplink, .ops = &scout_ops};
	uplink->loop = options->loop;
	uplink->resolver = options->resolver;
	uplink->changed = options->changed;
	uplink->context = options->context;
	uplink->dial_timeout_usec = options->upstream->connect_timeout_usec / DIAL_SHARE_DEN * DIAL_SHARE_NUM;
	r = copy_endpoints(uplink, options);
	if (r == 0)
		r = upstream_new(options->mux, options->upstream, &upstream_ops, uplink, &uplink->upstream);
	if (r < 0) {
		uplink_free(uplink);
		return r;
	}
	uplink->tls = options->tls;
	*ret = uplink;
	return 0;
}

struct uplink *uplink_free(struct uplink *uplink)
{
	if (!uplink)
		return NULL;
	drop(&uplink->main);
	drop(&uplink->scout);
	for (size_t i = 0; i < uplink->endpoint_count; i++) {
		free(uplink->endpoints[i].host);
		free(uplink->endpoints[i].port);
	}
	free(uplink->endpoints);
	(void)tls_context_free(uplink->tls);
	free(uplink);
	return NULL;
}

void uplink_set_tls(struct uplink *uplink, struct tls_context *tls)
{
	(void)tls_context_free(uplink->tls);
	uplink->tls = tls;
}

struct upstream *uplink_upstream(const struct uplink *uplink)
{
	return uplink->upstream;
}

static void write_output(struct link *link)
{
	if (link->stream && buf_len(link->ops->output(link->uplink->upstream)) > 0)
		stream_mark(link->stream);
}

void uplink_turn(struct uplink *uplink)
{
	write_output(&uplink->main);
	write_output(&uplink->scout);
}
