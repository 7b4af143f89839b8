/*
 * The connection between mux and the broker engine: bytes that take time, are
 * cut anywhere into pieces, get stuck, or are lost with the connection. It is
 * also what mux knows as the upstream's body: it dials, and hangs up.
 */
#include "tests/sim/sim.h"

#include <stdio.h>

#define SOCKET_BYTES 65536u /* what lies in a kernel's buffer at most */

void link_init(struct world *world)
{
	world->link = (struct link){.up = {BUF_INIT, {0}}, .down = {BUF_INIT, {0}}, .in = BUF_INIT};
	world->link.batches_end = &world->link.batches;
}

void link_deinit(struct world *world)
{
	buf_deinit(&world->link.up.bytes);
	buf_deinit(&world->link.down.bytes);
	buf_deinit(&world->link.in);
}

static void delay(struct world *world, struct pipe *pipe)
{
	unsigned int most = world->calm ? 3 : world->plan.delay_msec;

	pipe->next = mono_add_usec(world->now, below(world, most * 1000 + 1));
}

static uint32_t chunk_of(struct world *world, size_t len)
{
	uint32_t most = world->calm ? SOCKET_BYTES : world->plan.chunk;
	uint32_t chunk = 1 + below(world, most);

	return chunk < len ? chunk : (uint32_t)len;
}

/* ------------------------------------------------------------------ mux's output */

static void forget_output(struct link *link)
{
	link->batches = NULL;
	link->batches_end = &link->batches;
	link->batch_bytes = 0;
}

/* What mux has written since the last time. */
static void note_output(struct world *world)
{
	struct link *link = &world->link;
	size_t len = buf_len(upstream_output(world->upstream));
	struct batch *batch;

	if (!link->conn || len <= link->batch_bytes)
		return;
	batch = world_alloc(world, sizeof(*batch));
	batch->bytes = len - link->batch_bytes;
	batch->made = world->now;
	*link->batches_end = batch;
	link->batches_end = &batch->next;
	link->batch_bytes = len;
}

/* The first bytes of mux's output are on their way. */
static void take_output(struct world *world, size_t len)
{
	struct link *link = &world->link;
	struct buf *out = upstream_output(world->upstream);

	while (len > 0) {
		struct batch *batch = link->batches;
		size_t part = batch->bytes < len ? batch->bytes : len;

		world->wire.made = batch->made;
		wire_up(world, span_first(buf_span(out), part));
		buf_append_span(&link->up.bytes, span_first(buf_span(out), part));
		buf_consume(out, part);
		batch->bytes -= part;
		link->batch_bytes -= part;
		len -= part;
		if (batch->bytes > 0)
			continue;
		link->batches = batch->next;
		if (!link->batches)
			link->batches_end = &link->batches;
	}
}

/* ------------------------------------------------------------------ the end of a connection */

static struct zombie *free_zombie(struct link *link)
{
	for (size_t i = 0; i < ZOMBIES_MAX; i++) {
		if (!link->zombies[i].conn)
			return &link->zombies[i];
	}
	return NULL;
}

/* The broker learns it at once, having read all, some, or none of what was on the way; or learns it later. */
static void drop(struct world *world)
{
	struct link *link = &world->link;
	struct zombie *zombie = free_zombie(link);
	size_t arrived = below(world, (uint32_t)buf_len(&link->up.bytes) + 1);

	if (chance(world, 400))
		arrived = buf_len(&link->up.bytes);
	if (link->conn && arrived > 0)
		broker_conn_feed(link->conn, span_first(buf_span(&link->up.bytes), arrived), world->now);
	if (link->conn && (buf_len(&world->wire.down) > 0 || buf_len(&world->wire.up) > 0))
		happened(world, FAULT_CUT_IN_FRAME);
	if (link->conn && zombie && !world->calm && !link->dead && chance(world, 300)) {
		happened(world, FAULT_CUT_UNNOTICED);
		zombie->conn = link->conn;
		zombie->until = mono_add_usec(world->now, below(world, 20) * USEC_PER_SEC);
	} else {
		broker_conn_free(link->conn, world->now);
	}
	link->conn = NULL;
	buf_truncate(&link->up.bytes, 0);
	buf_truncate(&link->down.bytes, 0);
	buf_truncate(&link->in, 0);
	doubt_lost(world);
	forget_output(link);
	link->dialling = false;
	/* What was delivered last may have been lost in a restart already. */
	if (link->close_expected)
		world->restarted = ++world->events;
	link->close_expected = false;
	link->dead = false;
	wire_begin(world);
}

void link_cut(struct world *world, const char *why)
{
	if (!world->link.conn)
		return;
	trace(world, "the connection is cut: %s", why);
	drop(world);
	upstream_lost(world->upstream, why);
}

void link_freeze(struct world *world, uint64_t usec)
{
	trace(world, "the connection freezes for %llu us", (unsigned long long)usec);
	world->link.frozen_until = mono_add_usec(world->now, usec);
}

void link_bury(struct world *world, bool all)
{
	for (size_t i = 0; i < ZOMBIES_MAX; i++) {
		struct zombie *zombie = &world->link.zombies[i];

		if (!zombie->conn || (!all && mono_before(world->now, zombie->until)))
			continue;
		zombie->conn = broker_conn_free(zombie->conn, world->now);
		world->link.buried = world->now;
	}
}

bool link_had_zombies(const struct world *world, struct mono since)
{
	if (!mono_before(world->link.buried, since))
		return true;
	for (size_t i = 0; i < ZOMBIES_MAX; i++) {
		if (world->link.zombies[i].conn)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ what mux asks */

static void op_dial(void *context, size_t index)
{
	struct world *world = context;
	struct link *link = &world->link;

	trace(world, "mux dials endpoint %zu", index);
	if (link->conn || link->dialling)
		violate(world, "one connection at a time", "endpoint %zu", index);
	link->dialling = true;
	link->endpoint = index;
	link->dial_done = mono_add_usec(world->now, below(world, world->calm ? 3000 : 200000));
}

/* Mux gives up a connection: only for reasons that a fault of ours explains. */
static void check_reason(struct world *world)
{
	static const char *const reasons[] = {"broker sent nothing for two heartbeat intervals",
					      "no connection within connect-timeout", "ACCESS_REFUSED",
					      "CONNECTION_FORCED"};
	struct upstream_info info;

	upstream_get_info(world->upstream, &info);
	trace(world, "mux hangs up: %s", info.last_error);
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (strncmp(info.last_error, reasons[i], strlen(reasons[i])) == 0)
			return;
	}
	if (world->link.conn && !world->closing && !traps_explain(span_str(info.last_error)))
		violate(world, "mux does not give up a good connection", "%s", info.last_error);
}

static void op_hang_up(void *context)
{
	struct world *world = context;
	struct buf *out = upstream_output(world->upstream);

	if (world->link.conn || world->link.dialling)
		check_reason(world);
	note_output(world);
	if (world->link.conn && chance(world, 700))
		take_output(world, buf_len(out));
	drop(world);
}

static void op_changed(void *context)
{
	struct world *world = context;
	struct upstream_info info;

	upstream_get_info(world->upstream, &info);
	trace(world, "upstream is %s", upstream_state_name(info.state));
	look_upstream(world, info.state);
}

static void op_scout_dial(void *context, size_t index)
{
	traps_dial(context);
}

static void op_scout_hang_up(void *context)
{
	traps_hang_up(context);
}

const struct upstream_ops link_ops = {.dial = op_dial,
				      .hang_up = op_hang_up,
				      .changed = op_changed,
				      .scout_dial = op_scout_dial,
				      .scout_hang_up = op_scout_hang_up};

/* ------------------------------------------------------------------ bytes */

static void end_dial(struct world *world)
{
	struct link *link = &world->link;

	link->dialling = false;
	if (mono_before(world->now, link->down_until[link->endpoint]) ||
	    (!world->calm && chance(world, world->plan.dial_fails))) {
		happened(world, FAULT_DIAL);
		trace(world, "the dial fails");
		upstream_dial_failed(world->upstream, "connection refused");
		return;
	}
	wire_begin(world);
	link->close_expected = false;
	link->dead = false;
	link->conn = broker_conn_new(world->broker, NULL, world->now);
	link->heard = world->now;
	upstream_dialled(world->upstream);
}

void link_take(struct world *world)
{
	struct link *link = &world->link;
	struct buf *out = upstream_output(world->upstream);
	size_t room = SOCKET_BYTES - buf_len(&link->up.bytes), len = buf_len(out);

	note_output(world);
	if (!link->conn || len == 0 || buf_len(&link->up.bytes) >= SOCKET_BYTES)
		return;
	if (!world->calm && chance(world, 100))
		len = chunk_of(world, len);
	len = len < room ? len : room;
	if (buf_len(&link->up.bytes) == 0)
		delay(world, &link->up);
	take_output(world, len);
	if (buf_len(out) < SOCKET_BYTES / 4)
		upstream_pump(world->upstream);
	note_output(world);
}

static void move_up(struct world *world)
{
	struct link *link = &world->link;
	size_t len = buf_len(&link->up.bytes);
	struct mono read;

	if (len == 0 || mono_before(world->now, link->up.next) || !broker_conn_wants_input(link->conn))
		return;
	len = chunk_of(world, len);
	broker_conn_feed(link->conn, span_first(buf_span(&link->up.bytes), len), world->now);
	buf_consume(&link->up.bytes, len);
	delay(world, &link->up);
	read = mono_add_usec(world->now, world->plan.reader_usec * len / 1024);
	if (mono_before(link->up.next, read))
		link->up.next = read;
}

/* Whole frames at the front of the broker's output, as many as there is room for; one at least. */
static size_t whole_frames(struct span output, size_t room)
{
	size_t len = 0;

	while (output.len - len >= 7) {
		size_t size = load_be32(output.data + len + 3) + AMQC_FRAME_OVERHEAD;

		if (size > output.len - len || (len > 0 && len + size > room))
			break;
		len += size;
	}
	return len;
}

#define WINDOW 8u

/* Sent again because of something that was sent before, perhaps to another channel. */
static bool is_redelivery(struct span frame)
{
	struct span payload = span_skip(frame, 7);
	uint32_t id;
	size_t flag;

	if (frame.data[0] != AMQC_FRAME_METHOD || payload.len < 14)
		return false;
	id = load_be32(payload.data);
	if (id != AMQC_BASIC_DELIVER && id != AMQC_BASIC_GET_OK)
		return false;
	flag = 4 + 8 + (id == AMQC_BASIC_DELIVER ? 1u + payload.data[4] : 0);
	return flag < payload.len && payload.data[flag] != 0;
}

/* Nothing that came before it may come after it. */
static bool is_barrier(struct span frame)
{
	return load_be16(frame.data + 1) == 0 || is_redelivery(frame);
}

/* Frames that come next; a barrier is the last of them. */
static size_t fill_window(struct span *window, size_t count, struct span *rest)
{
	while (count < WINDOW && rest->len > 0 && (count == 0 || !is_barrier(window[count - 1]))) {
		window[count] = span_first(*rest, load_be32(rest->data + 3) + AMQC_FRAME_OVERHEAD);
		*rest = span_skip(*rest, window[count].len);
		count++;
	}
	return count;
}

/* Those of a channel stay in order; those of different ones overtake each other. */
static void append_shuffled(struct world *world, struct buf *out, struct span frames)
{
	struct span window[WINDOW];
	size_t count = 0, drawn, at;

	while ((count = fill_window(window, count, &frames)) > 0) {
		drawn = below(world, (uint32_t)count);
		if (is_barrier(window[drawn]))
			drawn = 0;
		for (at = 0; load_be16(window[at].data + 1) != load_be16(window[drawn].data + 1);)
			at++;
		buf_append_span(out, window[at]);
		count--;
		memmove(window + at, window + at + 1, (count - at) * sizeof(window[0]));
	}
}

static void collect(struct world *world)
{
	struct link *link = &world->link;
	struct span output = broker_conn_output(link->conn);
	size_t have = buf_len(&link->down.bytes);
	struct buf late = BUF_INIT;

	if (link->dead || output.len == 0 || have >= SOCKET_BYTES)
		return;
	if (have == 0)
		delay(world, &link->down);
	output = span_first(output, whole_frames(output, SOCKET_BYTES - have));
	if (world->plan.overtake)
		overtake(world, &late, output);
	else
		buf_append_span(&late, output);
	if (world->plan.shuffle)
		append_shuffled(world, &link->down.bytes, buf_span(&late));
	else
		buf_append_span(&link->down.bytes, buf_span(&late));
	buf_deinit(&late);
	broker_conn_sent(link->conn, output.len, world->now);
}

/* Mux gets what it did not consume before again, with more. False: it has hung up. */
static bool feed_mux(struct world *world, struct span bytes)
{
	struct link *link = &world->link;
	size_t used;

	wire_down(world, bytes);
	link->heard = world->now;
	buf_append_span(&link->in, bytes);
	used = upstream_feed(world->upstream, buf_span(&link->in));
	if (!link->conn)
		return false;
	buf_consume(&link->in, used);
	return true;
}

/* The wire must not be ahead of mux: so what has arrived is fed frame by frame. */
static void move_down(struct world *world)
{
	struct link *link = &world->link;
	size_t len = buf_len(&link->down.bytes);

	if (len == 0 || mono_before(world->now, link->down.next))
		return;
	len = chunk_of(world, len);
	delay(world, &link->down);
	while (len > 0) {
		size_t frame = wire_rest(world, span_first(buf_span(&link->down.bytes), len));
		struct buf part = BUF_INIT;
		bool goes_on;

		buf_append_span(&part, span_first(buf_span(&link->down.bytes), frame));
		buf_consume(&link->down.bytes, frame);
		len -= frame;
		goes_on = feed_mux(world, buf_span(&part));
		buf_deinit(&part);
		if (!goes_on)
			return;
	}
}

/* The broker has shut the connection: explained by a fault of ours, or a violation. */
static void check_shut(struct world *world)
{
	struct link *link = &world->link;
	const char *reason = broker_conn_reason(link->conn);

	if (!broker_conn_closed(link->conn) || (!link->dead && broker_conn_output(link->conn).len > 0) ||
	    buf_len(&link->down.bytes) > 0)
		return;
	if (world->wire.running && !world->closing && !link->close_expected &&
	    !traps_explain(span_str(reason)) && strncmp(reason, "missed heartbeats", 17) != 0)
		violate(world, "nothing makes the broker drop the connection", "%s", reason);
	link_cut(world, "the broker closed it");
}

void link_move(struct world *world)
{
	struct link *link = &world->link;

	link_bury(world, world->calm);
	traps_move(world);
	if (link->dialling && !mono_before(world->now, link->dial_done))
		end_dial(world);
	if (!link->conn || mono_before(world->now, link->frozen_until))
		return;
	move_up(world);
	collect(world);
	move_down(world);
	if (link->conn)
		check_shut(world);
}

static struct mono arrival(const struct pipe *pipe)
{
	return buf_len(&pipe->bytes) > 0 ? pipe->next : MONO_NEVER;
}

struct mono link_deadline(const struct world *world)
{
	const struct link *link = &world->link;
	struct mono next = arrival(&link->down);

	if (link->conn && broker_conn_wants_input(link->conn))
		next = mono_min(next, arrival(&link->up));
	/* What a dead one had left to say is never taken. */
	if (link->conn && !link->dead && broker_conn_output(link->conn).len > 0 &&
	    buf_len(&link->down.bytes) < SOCKET_BYTES)
		next = mono_min(next, mono_add_usec(world->now, 1));
	if (mono_before(next, link->frozen_until))
		next = link->frozen_until;
	return link->dialling ? mono_min(next, link->dial_done) : next;
}

bool link_is_quiet(const struct world *world)
{
	const struct link *link = &world->link;

	return traps_are_quiet(world) && link->conn && world->wire.running && buf_len(&link->up.bytes) == 0 &&
	       buf_len(&link->down.bytes) == 0 && broker_conn_output(link->conn).len == 0 &&
	       buf_len(upstream_output(world->upstream)) == 0;
}
