/*
 * What goes wrong: faults of the connection, of the broker, and of others who
 * work at the broker. Those of clients are in client.c and ops.c.
 */
#include "tests/sim/sim.h"

/* Sometimes a fault is left out altogether, so that others are seen alone. */
static unsigned int maybe(struct world *world, unsigned int most)
{
	return chance(world, 550) ? 1 + below(world, most) : 0;
}

void faults_plan(struct world *world)
{
	struct plan *plan = &world->plan;

	plan->cut = maybe(world, 20);
	plan->stall = maybe(world, 15);
	plan->freeze = maybe(world, 6);
	plan->dial_fails = maybe(world, 500);
	plan->kill = maybe(world, 20);
	plan->breach = maybe(world, 6);
	plan->block = maybe(world, 15);
	plan->restart = maybe(world, 8);
	plan->close_all = maybe(world, 5);
	plan->endpoint = chance(world, 250) ? 5 : 0;
	plan->throttle = maybe(world, 20);
	plan->outside = chance(world, 300) ? 20 : 0;
	plan->ack_timeout = chance(world, 700) ? 1 + below(world, 100) : 0;
	plan->deaf = maybe(world, 10);
	plan->wipe = chance(world, 600) ? 30 : 0;
	plan->slow_reader = maybe(world, 900);
	plan->inexpressible = chance(world, 100) ? 20 : 0;
	plan->traps = chance(world, 250) ? 1 + below(world, 8) : 0;
}

/* ------------------------------------------------------------------ the broker */

/* Its connections are gone without a word, and it takes none for a while. */
static void go_down(struct world *world, bool keeping)
{
	struct link *link = &world->link;
	uint64_t usec = chance(world, 500) ? below(world, 3000000) : 0;

	trace(world, "the broker goes down%s, for %llu us", keeping ? ", keeps all" : "",
	      (unsigned long long)usec);
	happened(world, keeping ? FAULT_RESTART_KEEPING : FAULT_RESTART);
	link->close_expected = true;
	link->dead = true;
	link->down_until[0] = link->down_until[1] = mono_add_usec(world->now, usec);
	if (!keeping) {
		world->restarted = ++world->events;
		broker_restart(world->broker, world->now);
		world->blocked = false;
		return;
	}
	if (link->conn)
		broker_conn_kill(link->conn, world->now);
	link_bury(world, true);
}

static void endpoint_down(struct world *world)
{
	struct link *link = &world->link;
	size_t endpoint = below(world, 2);

	happened(world, FAULT_ENDPOINT_DOWN);
	trace(world, "endpoint %zu is down", endpoint);
	link->down_until[endpoint] = mono_add_usec(world->now, below(world, 20) * USEC_PER_SEC);
	if (link->conn && link->endpoint == endpoint)
		link_cut(world, "its endpoint is down");
}

static void close_all(struct world *world)
{
	trace(world, "an operator closes all connections");
	happened(world, FAULT_CLOSE_ALL);
	world->link.close_expected = true;
	broker_close_all(world->broker, AMQC_CONNECTION_FORCED, "CONNECTION_FORCED - closed", world->now);
}

/* Confirms come late, in any order, alone or many at once; or as they like. */
static void throttle(struct world *world)
{
	world->throttled = !world->throttled;
	trace(world, "the broker %s", world->throttled ? "holds back confirms" : "confirms at once");
	if (world->throttled)
		happened(world, FAULT_THROTTLE);
	broker_set_manual_confirms(world->broker, world->throttled);
}

static void release_confirms(struct world *world)
{
	size_t held = broker_held_confirms(world->broker);
	uint32_t some;

	if (held == 0 || (!world->calm && !chance(world, 300)))
		return;
	some = world->calm ? (uint32_t)held : 1 + below(world, (uint32_t)held);
	if (world->calm || chance(world, 500)) {
		broker_release_confirms(world->broker, some, world->now);
	} else if (chance(world, 200)) {
		happened(world, FAULT_REFUSED);
		broker_refuse_confirms(world->broker, some, world->now);
	} else {
		broker_release_one_confirm(world->broker, some - 1, chance(world, 100), world->now);
	}
}

static void block_or_unblock(struct world *world)
{
	if (world->blocked && (world->calm || chance(world, world->long_alarm ? 4 : 100))) {
		trace(world, "the broker's alarm ends");
		broker_unblock(world->broker, world->now);
		world->blocked = false;
	} else if (!world->blocked && !world->calm && chance(world, world->plan.block)) {
		trace(world, "the broker has an alarm");
		happened(world, FAULT_ALARM);
		broker_block(world->broker, "low on memory", world->now);
		world->blocked = true;
		world->long_alarm = chance(world, 300);
	}
}

static void time_out_delivery(struct world *world, uint16_t number)
{
	if (broker_time_out_delivery(world->link.conn, number, world->now))
		happened(world, FAULT_ACK_TIMEOUT);
}

/* Above all when the ack is on its way, and the lane has been left by who had the message. */
static void time_out_deliveries(struct world *world)
{
	if (!world->link.conn || world->link.dead)
		return;
	for (uint16_t i = 1; i <= LANES_MAX && world->plan.ack_timeout > 0; i++) {
		const struct wire_lane *lane = &world->wire.lanes[i];

		if (lane->delivered_count > 0 && lane->delivered_first == lane->delivered_count &&
		    look_is_resting(world, i) && chance(world, 500))
			time_out_delivery(world, i);
	}
	if (chance(world, world->plan.ack_timeout))
		time_out_delivery(world, (uint16_t)(1 + below(world, LANES_MAX)));
}

/* ------------------------------------------------------------------ others at the broker */

static void from_outside(struct world *world)
{
	static const char *const queues[] = {"q3", "t0", "n0"};
	static const char *const exchanges[] = {"f0", "fa"};
	const char *name = queues[below(world, 3)];

	if (chance(world, 250)) {
		name = exchanges[below(world, 2)];
		if (!broker_delete_exchange(world->broker, "/", span_str(name), world->now))
			return;
		exchange_named(world, span_str(name))->deleted = ++world->events;
		happened(world, FAULT_OUTSIDE_UNBIND);
	} else {
		if (!broker_delete_queue(world->broker, "/", span_str(name), world->now))
			return;
		queue_named(world, span_str(name))->wiped = true;
		queue_named(world, span_str(name))->deleted = ++world->events;
		topology_shrank(world);
		happened(world, FAULT_OUTSIDE_DELETE);
	}
	trace(world, "somebody deletes %s at the broker", name);
}

/* ------------------------------------------------------------------ a turn */

void faults_turn(struct world *world)
{
	const struct plan *plan = &world->plan;
	bool running = world->link.conn && !world->link.dead;

	if (running && chance(world, plan->cut)) {
		happened(world, FAULT_CUT);
		link_cut(world, "cut");
	}
	if (running && chance(world, plan->stall)) {
		happened(world, FAULT_SLOW_LINK);
		link_freeze(world, below(world, 1000000));
	}
	if (running && chance(world, plan->freeze)) {
		happened(world, FAULT_FROZEN);
		link_freeze(world, below(world, 40) * USEC_PER_SEC);
	}
	if (chance(world, plan->restart))
		go_down(world, chance(world, 400));
	if (world->link.conn && world->wire.running && chance(world, plan->close_all))
		close_all(world);
	if (chance(world, plan->endpoint))
		endpoint_down(world);
	if (chance(world, plan->throttle))
		throttle(world);
	time_out_deliveries(world);
	if (chance(world, plan->outside))
		from_outside(world);
}

/* What the broker does by itself, also in the calm. */
void faults_broker(struct world *world)
{
	release_confirms(world);
	block_or_unblock(world);
}

void faults_end(struct world *world)
{
	world->throttled = false;
	broker_set_manual_confirms(world->broker, false);
	world->link.frozen_until = world->now;
	world->link.down_until[0] = world->link.down_until[1] = world->now;
	world->plan.inexpressible = 0;
	world->plan.kill = 0;
	world->plan.breach = 0;
	world->plan.reader_usec = 0;
	for (unsigned int i = 0; i < world->client_count; i++)
		world->clients[i].deaf_until = world->now;
}
