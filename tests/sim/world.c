/*
 * A run: how it begins, its turns, and its parts.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define CALM_TURNS 60000u /* far more than any run needs */
#define PROBE_TURNS 40u

/* ------------------------------------------------------------------ memory and chance */

struct arena_block {
	struct arena_block *next;
	size_t used, size;
	max_align_t data[];
};

void *world_alloc(struct world *world, size_t size)
{
	struct arena_block *block = world->blocks;
	void *memory;

	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (!block || block->size - block->used < size) {
		size_t bytes = size > 65536 ? size : 65536;

		block = calloc(1, sizeof(*block) + bytes);
		if (!block)
			abort();
		block->size = bytes;
		block->next = world->blocks;
		world->blocks = block;
	}
	memory = (char *)block->data + block->used;
	block->used += size;
	return memory;
}

void *world_grow(struct world *world, void *array, size_t count, size_t *capacity)
{
	size_t slots = *capacity ? *capacity * 2 : 16;
	void *grown;

	if (count < *capacity)
		return array;
	grown = world_alloc(world, slots * sizeof(void *));
	if (count > 0)
		memcpy(grown, array, count * sizeof(void *));
	*capacity = slots;
	return grown;
}

uint32_t below(struct world *world, uint32_t bound)
{
	return random_below(&world->random, bound);
}

bool chance(struct world *world, unsigned int of_1000)
{
	return of_1000 > 0 && random_below(&world->random, 1000) < of_1000;
}

void happened(struct world *world, enum cover_event event)
{
	world->cover->events[event]++;
	world->size.faults += event < FAULT_LAST;
}

static void mux_random(void *context, void *out, size_t count)
{
	struct world *world = context;

	random_bytes(&world->mux_random, out, count);
}

/* ------------------------------------------------------------------ the beginning */

static void make_plan(struct world *world)
{
	struct plan *plan = &world->plan;

	plan->turns = 50 + below(world, 200);
	faults_plan(world);
	plan->delay_msec = chance(world, 300) ? 300 : 1 + below(world, 40);
	plan->chunk = chance(world, 300) ? 1 + below(world, 200) : 1 + below(world, 65536);
	plan->body_max = chance(world, 250) ? BODY_MAX : 1 + below(world, 6000);
	plan->small_memory = chance(world, 200);
	world->prefetch = 1 + below(world, 64);
	world->unconfirmed_messages =
	    chance(world, 500) ? 1 + below(world, chance(world, 500) ? 2 : 10) : 4096;
	plan->adaptive = chance(world, 500);
	plan->bulky = plan->adaptive && chance(world, 150);
	world->unconfirmed_bytes = chance(world, 500) ? 20000u << below(world, 5) : 64u << 20;
	if (plan->bulky) {
		world->unconfirmed_messages = 4096;
		world->unconfirmed_bytes = 64u << 20;
	}
	plan->reader_usec = chance(world, 400) ? 1 + below(world, 3000) : 0;
	plan->heartbeat_sec = (uint16_t)(1 + below(world, 10));
	plan->prepared = chance(world, 930);
	plan->few_lanes = chance(world, 300);
	plan->shuffle = chance(world, 500);
	plan->overtake = chance(world, 500);
	plan->short_deadlines = chance(world, 500);
	plan->wrong_password = plan->endpoint > 0 && chance(world, 500);
	plan->asking = chance(world, 450) ? 500 : 0;
	plan->abrupt_end = chance(world, 100);
}

static void make_broker(struct world *world)
{
	static const uint32_t frame_max[] = {4096, 8192, 131072};
	struct broker_options options = BROKER_OPTIONS_INIT;

	options.channel_max = (uint16_t)(world->plan.few_lanes ? 5 + below(world, 8) : LANES_MAX);
	options.frame_max = frame_max[below(world, 3)];
	options.heartbeat_sec = world->plan.heartbeat_sec;
	options.seed = world->seed;
	options.deliveries = below(world, 4);
	world->broker = broker_new(&options);
}

static void make_mux(struct world *world)
{
	const struct upstream_endpoint endpoints[] = {
	    {"one:1", "/", "guest", "guest"},
	    {"two:2", "/", "guest", world->plan.wrong_password ? "wrong" : "guest"}};
	struct mux_options options = {.limits = {.total_memory = 64u << 20,
						 .session_memory = 8u << 20,
						 .message_max = BODY_MAX,
						 .sessions = 16,
						 .channels_per_session = 16,
						 .prefetch = world->prefetch,
						 .request_timeout_usec = 20 * USEC_PER_SEC,
						 .publish_timeout_usec = 40 * USEC_PER_SEC},
				      .random = mux_random,
				      .context = world};
	struct upstream_options upstream = {
	    .name = "default",
	    .endpoints = endpoints,
	    .endpoint_count = world->plan.endpoint > 0 ? 2 : 1,
	    .sasl = "PLAIN",
	    .heartbeat_sec = 20,
	    .connect_timeout_usec = 5 * USEC_PER_SEC,
	    .reconnect_min_usec = 100 * USEC_PER_MSEC,
	    .reconnect_max_usec = 5 * USEC_PER_SEC,
	    .warm_lanes = below(world, 5),
	    .unconfirmed_messages = world->unconfirmed_messages,
	    .unconfirmed_bytes = world->unconfirmed_bytes,
	    .adaptive_window = world->plan.adaptive,
	    .queue_prefix = "muxd.gen-",
	};

	/* Small enough that consumers must shrink. */
	if (world->plan.small_memory)
		options.limits.session_memory = 300000;
	if (mux_new(&options, &world->mux) < 0)
		abort();
	mux_set_now(world->mux, world->now);
	if (upstream_new(world->mux, &upstream, &link_ops, world, &world->upstream) < 0)
		abort();
	upstream_start(world->upstream);
}

static void begin(struct world *world)
{
	world->random = random_make(world->seed);
	world->mux_random = random_make(world->seed ^ 0xabcdef);
	world->now = (struct mono){1000 * USEC_PER_SEC};
	world->calm_since = MONO_NEVER;
	make_plan(world);
	link_init(world);
	topology_begin(world);
	wire_begin(world);
	make_broker(world);
	make_mux(world);
	world->client_count = 2 + below(world, CLIENTS_MAX - 1);
	for (unsigned int i = 0; i < world->client_count; i++)
		world->clients[i] = (struct client){.world = world, .index = i};
}

/* ------------------------------------------------------------------ a turn */

/* In the storm time goes by in all kinds of steps; in the calm, to what is due next. */
static void advance(struct world *world)
{
	struct mono due = mono_min(mono_min(mux_next_deadline(world->mux), broker_deadline(world->broker)),
				   link_deadline(world));
	uint64_t step = 1 + below(world, 20000);

	if (!world->calm && chance(world, 30))
		step = below(world, 4000000);
	if (world->calm)
		step = 200000;
	if (mono_before(due, world->now))
		due = world->now;
	due = mono_min(due, mono_add_usec(world->now, step));
	world->now = mono_add_usec(due, world->calm ? 1 : 0);
	if (!world->calm && step < 20000 && chance(world, 300))
		world->now = mono_add_usec(world->now, step);
	mux_set_now(world->mux, world->now);
}

static void client_turn(struct client *client)
{
	struct world *world = client->world;
	uint32_t operations = chance(world, 600) ? below(world, 6) : 0;

	if (!client->life || !client->life->session) {
		if (chance(world, 300))
			client_begin(client);
		if (client->life && client->life->session && world->last_serial == 1 && world->plan.prepared)
			ops_prepare(client);
		return;
	}
	if (chance(world, world->plan.deaf))
		client_deafen(client);
	if (!client->life->ended && !chance(world, world->plan.slow_reader) &&
	    !mono_before(world->now, client->deaf_until))
		client_read(client, false);
	for (; operations > 0 && !client->life->ended && !world->failed; operations--) {
		ops_one(client);
		if (chance(world, world->plan.kill)) {
			ops_exit(client);
			return;
		}
	}
	if (!client->life->ended && chance(world, world->plan.breach)) {
		happened(world, FAULT_BREACH);
		ops_breach(client);
	}
	if (client->life->ended && chance(world, 500))
		client_end(client);
}

/* Everything but the clients. */
void world_turn(struct world *world)
{
	struct upstream_info info;

	if (!mono_before(world->now, mux_next_deadline(world->mux)))
		mux_run_timers(world->mux);
	if (!mono_before(world->now, broker_deadline(world->broker)))
		broker_tick(world->broker, world->now);
	link_move(world);
	faults_broker(world);
	mux_turn(world->mux);
	link_take(world);
	check_turn(world);
	look_turn(world);
	shares_turn(world);
	world->events++;
	upstream_get_info(world->upstream, &info);
	if (!world->calm || info.state != UPSTREAM_UP || look_is_recovering(world))
		world->calm_since = MONO_NEVER;
	else if (mono_is_never(world->calm_since))
		world->calm_since = world->now;
}

/* ------------------------------------------------------------------ the parts */

static void storm(struct world *world, unsigned int turns)
{
	for (unsigned int turn = 0; turn < turns && !world->failed; turn++) {
		advance(world);
		if (!world->calm)
			faults_turn(world);
		for (unsigned int i = 0; i < world->client_count && !world->failed; i++)
			client_turn(&world->clients[i]);
		world_turn(world);
	}
}

static bool everybody_is_idle(struct world *world)
{
	bool idle = link_is_quiet(world) && !mono_is_never(world->calm_since) &&
		    broker_held_confirms(world->broker) == 0 && !look_is_recovering(world);

	for (unsigned int i = 0; i < world->client_count; i++) {
		struct client *client = &world->clients[i];

		if (!client->life || !client->life->session)
			continue;
		if (client->life->ended)
			client_end(client);
		else
			client_read(client, true);
		idle = idle && client_is_idle(client);
	}
	return idle;
}

/* Turns until nothing moves any more. */
static void settle(struct world *world, const char *when)
{
	unsigned int still = 0;

	for (unsigned int turn = 0; turn < CALM_TURNS && !world->failed; turn++) {
		advance(world);
		world_turn(world);
		still = everybody_is_idle(world) ? still + 1 : 0;
		if (still == 3)
			return;
	}
	violate(world, "everything comes to rest",
		"%s: %zu bytes up, %zu down, %zu out, %zu confirms held, upstream %s since %llu; due: mux "
		"%llu, broker %llu, link %llu",
		when, buf_len(&world->link.up.bytes), buf_len(&world->link.down.bytes),
		buf_len(upstream_output(world->upstream)), broker_held_confirms(world->broker),
		world->wire.running ? "runs" : "does not run", (unsigned long long)world->calm_since.usec,
		(unsigned long long)mux_next_deadline(world->mux).usec,
		(unsigned long long)broker_deadline(world->broker).usec,
		(unsigned long long)link_deadline(world).usec);
}

static void calm(struct world *world)
{
	trace(world, "---- calm");
	world->calm = true;
	faults_end(world);
	for (unsigned int i = 0; i < world->client_count; i++) {
		struct life *life = world->clients[i].life;

		if (!life || !life->session || life->ended)
			continue;
		life->get_credit = UINT64_MAX / 2;
		life->gets_over = 0;
		session_get_credit(life->session, life->get_credit);
		replies_let_through(life);
	}
	settle(world, "after the storm");
	check_calm(world);
	/* And it still works. */
	trace(world, "---- probe");
	storm(world, world->failed ? 0 : PROBE_TURNS);
	settle(world, "after the probe");
	check_calm(world);
}

static bool lanes_are_back(struct world *world)
{
	struct upstream_info info;

	upstream_get_info(world->upstream, &info);
	return info.lanes_leased == 0 && info.lanes_open == info.lanes_warm &&
	       upstream_is_drained(world->upstream);
}

static void end_sessions(struct world *world)
{
	trace(world, "---- all sessions end");
	for (unsigned int i = 0; i < world->client_count; i++)
		client_end(&world->clients[i]);
	for (unsigned int turn = 0; turn < CALM_TURNS && !world->failed && !lanes_are_back(world); turn++) {
		advance(world);
		world_turn(world);
	}
	settle(world, "after the sessions");
	if (!world->failed)
		check_no_sessions(world);
}

/* What is left in the queues that everybody uses. */
static void audit(struct world *world)
{
	struct amqc_method qos = {.id = AMQC_BASIC_QOS};
	struct client *client = &world->clients[0];

	trace(world, "---- audit");
	world->auditing = true;
	world->plan.short_deadlines = false;
	qos.basic_qos.prefetch_count = 60000;
	client_begin(client);
	for (uint32_t number = 1; number <= CHANNELS_MAX && !world->failed; number++) {
		struct chan *chan = client_open(client, number);
		struct consumer_record *consumer;
		char name[8];

		snprintf(name, sizeof(name), "q%u", number - 1);
		(void)client_call(client, chan, &qos, NULL);
		consumer = world_alloc(world, sizeof(*consumer));
		consumer->number = 1;
		consumer->credit_messages = consumer->credit_bytes = UINT64_MAX / 2;
		client_consume(client, chan, consumer, name);
	}
	settle(world, "in the audit");
	if (!world->failed)
		check_audit(world);
	client_end(client);
	settle(world, "after the audit");
}

static void close_upstream(struct world *world)
{
	trace(world, "---- the upstream closes");
	world->closing = true;
	upstream_close(world->upstream, 5 * USEC_PER_SEC);
	for (unsigned int turn = 0; turn < 1000 && !world->failed; turn++) {
		if (upstream_is_closed(world->upstream))
			return;
		advance(world);
		world_turn(world);
	}
	violate(world, "an upstream closes in order", "%s", "it does not");
}

static void end(struct world *world)
{
	struct arena_block *next;

	mux_free(world->mux);
	broker_free(world->broker);
	link_deinit(world);
	wire_end(world);
	for (struct arena_block *block = world->blocks; block; block = next) {
		next = block->next;
		free(block);
	}
}

bool world_run(uint64_t seed, bool verbose, struct cover *cover, struct run_size *ret_size)
{
	struct world *world = calloc(1, sizeof(*world));
	bool passed;

	if (!world)
		abort();
	world->seed = seed;
	world->verbose = verbose;
	world->cover = cover;
	begin(world);
	storm(world, world->plan.turns);
	if (!world->plan.abrupt_end && !world->failed) {
		calm(world);
		if (!world->failed)
			end_sessions(world);
		if (!world->failed)
			audit(world);
		if (!world->failed)
			close_upstream(world);
	}
	end(world);
	passed = !world->failed;
	*ret_size = world->size;
	free(world);
	return passed;
}
