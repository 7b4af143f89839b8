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
	struct stream *looked_at; /* by uplink_find_stall(), to compare it */
	struct stream_progress progress;
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

static void endpoint_deinit(struct endpoint *endpoint)
{
	free(endpoint->host);
	free(endpoint->port);
}

/* Of count endpoints and the one more; NULL is fine. */
static void endpoints_free(struct endpoint *endpoints, size_t count)
{
	for (size_t i = 0; endpoints && i <= count; i++)
		endpoint_deinit(&endpoints[i]);
	free(endpoints);
}

/* With room for one more, as mux has it: see upstream_alter(). NULL: no memory. */
static struct endpoint *endpoints_copy(const struct uplink_options *options)
{
	size_t count = options->upstream->endpoint_count;
	struct endpoint *endpoints = calloc(count + 1, sizeof(*endpoints));

	for (size_t i = 0; endpoints && i < count; i++) {
		endpoints[i].host = strdup(options->endpoints[i].host);
		endpoints[i].port = strdup(options->endpoints[i].port);
		endpoints[i].tls = options->endpoints[i].tls;
		assert(options->tls || !endpoints[i].tls);
		if (!endpoints[i].host || !endpoints[i].port) {
			endpoints_free(endpoints, count);
			return NULL;
		}
	}
	return endpoints;
}

static uint64_t dial_timeout_usec(const struct upstream_options *options)
{
	return options->connect_timeout_usec / DIAL_SHARE_DEN * DIAL_SHARE_NUM;
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
	uplink->dial_timeout_usec = dial_timeout_usec(options->upstream);
	uplink->endpoint_count = options->upstream->endpoint_count;
	uplink->endpoints = endpoints_copy(options);
	r = uplink->endpoints ? 0 : -ENOMEM;
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
	endpoints_free(uplink->endpoints, uplink->endpoint_count);
	(void)tls_context_free(uplink->tls);
	free(uplink);
	return NULL;
}

/* ------------------------------------------------------------------ other options */

struct uplink_change {
	struct upstream_change *upstream;
	struct endpoint *endpoints;
	size_t endpoint_count;
	struct tls_context *tls;
	uint64_t dial_timeout_usec;
};

int uplink_change_new(const struct uplink_options *options, struct uplink_change **ret)
{
	struct uplink_change *change = calloc(1, sizeof(*change));
	int r;

	if (!change)
		return -ENOMEM;
	change->endpoint_count = options->upstream->endpoint_count;
	change->dial_timeout_usec = dial_timeout_usec(options->upstream);
	change->endpoints = endpoints_copy(options);
	r = change->endpoints ? upstream_change_new(options->upstream, &change->upstream) : -ENOMEM;
	if (r < 0) {
		uplink_change_free(change);
		return r;
	}
	change->tls = options->tls;
	*ret = change;
	return 0;
}

struct uplink_change *uplink_change_free(struct uplink_change *change)
{
	if (!change)
		return NULL;
	endpoints_free(change->endpoints, change->endpoint_count);
	(void)upstream_change_free(change->upstream);
	(void)tls_context_free(change->tls);
	free(change);
	return NULL;
}

/* The addresses that were good stay the first ones of their hosts. */
static void keep_addresses(struct endpoint *to, size_t count, const struct uplink *from)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < from->endpoint_count; k++)
			if (strcmp(to[i].host, from->endpoints[k].host) == 0 &&
			    strcmp(to[i].port, from->endpoints[k].port) == 0)
				to[i].address = from->endpoints[k].address;
}

/* The scout may go to the endpoint in use, though it is no longer listed. */
static void set_tls(struct uplink *uplink, struct tls_context *tls, bool is_needed)
{
	if (!tls && is_needed)
		return;
	(void)tls_context_free(uplink->tls);
	uplink->tls = tls;
}

void uplink_alter(struct uplink *uplink, struct uplink_change *change)
{
	struct endpoint *old = uplink->endpoints;
	size_t old_count = uplink->endpoint_count, in_use;

	keep_addresses(change->endpoints, change->endpoint_count, uplink);
	in_use = upstream_alter(uplink->upstream, change->upstream);
	if (in_use == change->endpoint_count) {
		change->endpoints[in_use] = old[uplink->main.endpoint];
		old[uplink->main.endpoint] = (struct endpoint){0};
	}
	uplink->main.endpoint = in_use;
	/* A scout that is not connected has hung up; to one that is, it does not matter any more. */
	uplink->scout.endpoint = in_use;
	set_tls(uplink, change->tls, change->endpoints[in_use].tls);
	uplink->endpoints = change->endpoints;
	uplink->endpoint_count = change->endpoint_count;
	uplink->dial_timeout_usec = change->dial_timeout_usec;
	endpoints_free(old, old_count);
	free(change);
	upstream_try_anew(uplink->upstream);
}

struct upstream *uplink_upstream(const struct uplink *uplink)
{
	return uplink->upstream;
}

const char *uplink_find_stall(struct uplink *uplink)
{
	struct stream *stream = uplink->main.stream;
	struct stream_progress before = uplink->progress, now = {0};
	bool is_same = stream && uplink->looked_at == stream;

	if (stream)
		now = stream_look(stream);
	uplink->looked_at = stream;
	uplink->progress = now;
	if (is_same && before.may_read && now.may_read && before.reads == now.reads)
		return "what the broker has sent is not read";
	if (is_same && before.may_write && now.may_write && before.written == now.written)
		return "what is for the broker is not written";
	return NULL;
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
