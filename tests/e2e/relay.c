/*
 * relay: hands bytes on between muxd and a broker, and does to them what
 * networks do. It listens on one or more ports of 127.0.0.1 that all lead to
 * the same broker; so one broker can be several endpoints.
 *
 *	relay BROKER-PORT [PORT...]      0 or none: any free port
 *
 * The first line on stdout is `listening PORT...`. Each line on stdin is a
 * command, answered with `ok ...` or `error ...`:
 *
 *	cut, reset         every link ends, by FIN or by RST on both sides
 *	half up|down       the next frame to or from the broker is handed on in
 *	                   part, then the link ends
 *	stumble TIMES      of so many new links the k-th ends when k times 200
 *	                   bytes have come from the broker
 *	orphan             muxd's sides are reset, the broker's stay open,
 *	                   silent
 *	hold, drop-held    the same, and heartbeats go to the broker; for links
 *	                   that are idle. Its sides are closed
 *	stall              nothing moves any more on the links there are, and no
 *	                   end is heard; new ones work
 *	freeze, thaw       nothing moves, and nobody is accepted
 *	delay MSEC         each way, for what comes from now on
 *	slice BYTES        what is written at a time; 0: all
 *	rate BYTES         a second, each way of a link; 0: any
 *	refuse I, accept I the I-th port, from 0, takes no connections, or does
 *	links              `ok links N`: those with both ends
 *
 * A link is two flows. What a flow has read waits in chunks, each with the
 * time it is due, up to HELD_MAX; then the flow reads no more, as a network
 * would not. The end of stdin changes nothing; SIGTERM ends it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORTS_MAX 8u
#define LINKS_MAX 256u
#define READ_SIZE 65536u
#define HELD_MAX (1024u * 1024u)
#define WRITES_MAX 64u		   /* of one flow in one turn */
#define RECEIVE_BUFFER_SIZE 262144 /* small, so that muxd's window can be full */
#define BEAT_USEC 300000u
#define STUMBLE_BYTES 200u
#define FRAME_HEADER_SIZE 7u
#define PROTOCOL_HEADER_SIZE 8u

enum side {
	MUXD,
	BROKER
};

struct chunk {
	struct chunk *next;
	uint64_t due_usec;
	size_t len, done;
	uint8_t data[];
};

/* From one side of a link to the other; named by the side it reads. */
struct flow {
	struct chunk *first, *last;
	size_t held;
	uint64_t paid_usec; /* with a rate: nothing is written before */
	bool ended;	    /* the reading side said FIN */
	bool told;	    /* and the writing side was told */
	bool halve;	    /* the next frame ends the link in its middle, */
	bool halved;	    /* as soon as this is written */
	size_t frame_left;  /* bytes to the end of the frame that is being read */
	uint8_t header[FRAME_HEADER_SIZE];
	size_t header_len;
};

struct link {
	int fd[2]; /* by side; -1: gone */
	struct flow flow[2];
	size_t stumble; /* ends when so many bytes have come from the broker; 0: does not */
	bool stalled, orphan, held;
};

struct relay {
	uint16_t broker_port;
	unsigned int port_count;
	uint16_t ports[PORTS_MAX];
	int listeners[PORTS_MAX]; /* -1: refuses */
	struct link links[LINKS_MAX];
	unsigned int link_count;
	bool frozen, input_ended;
	uint64_t beat_usec; /* the next time for heartbeats on links that are held */
	uint64_t delay_usec, rate;
	unsigned long stumbles, stumbled; /* how many links shall end early, and did or will */
	size_t slice;
	char line[128];
	size_t line_len;
};

static void die(const char *what)
{
	fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* -------------------------------------------------------------------- sockets */

static struct sockaddr_in address_of(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static int listen_on(uint16_t port, uint16_t *ret_port)
{
	struct sockaddr_in address = address_of(port);
	socklen_t len = sizeof(address);
	int on = 1, size = RECEIVE_BUFFER_SIZE;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 64) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		die("listen");
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void prepare(int fd)
{
	int on = 1;

	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		die("socket");
}

static int reach_broker(const struct relay *relay)
{
	struct sockaddr_in address = address_of(relay->broker_port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void close_side(struct link *link, enum side side, bool hard)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	if (link->fd[side] < 0)
		return;
	if (hard)
		setsockopt(link->fd[side], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(link->fd[side]);
	link->fd[side] = -1;
}

static void drop_chunks(struct flow *flow)
{
	struct chunk *next;

	for (; flow->first; flow->first = next) {
		next = flow->first->next;
		free(flow->first);
	}
	flow->last = NULL;
	flow->held = 0;
}

static void end_link(struct link *link, bool hard)
{
	close_side(link, MUXD, hard);
	close_side(link, BROKER, hard);
	drop_chunks(&link->flow[MUXD]);
	drop_chunks(&link->flow[BROKER]);
}

static bool is_over(const struct link *link)
{
	return link->fd[MUXD] < 0 && link->fd[BROKER] < 0;
}

static void take_connection(struct relay *relay, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), broker;

	if (fd < 0)
		return;
	broker = reach_broker(relay);
	if (broker < 0 || relay->link_count == LINKS_MAX) {
		close(fd);
		if (broker >= 0)
			close(broker);
		return;
	}
	prepare(fd);
	prepare(broker);
	relay->links[relay->link_count++] = (struct link){
	    .fd = {fd, broker}, .flow[MUXD].frame_left = PROTOCOL_HEADER_SIZE /* muxd's stream begins so */};
	if (relay->stumbled < relay->stumbles)
		relay->links[relay->link_count - 1].stumble = ++relay->stumbled * STUMBLE_BYTES;
}

/* --------------------------------------------------------------------- frames */

/* Follows the frames in `data`; returns how many bytes of it end in the middle of one, 0 for none. */
static size_t follow_frames(struct flow *flow, const uint8_t *data, size_t len)
{
	size_t inside = 0, take;

	for (size_t at = 0; at < len; at += take) {
		if (flow->frame_left == 0) {
			flow->header[flow->header_len++] = data[at];
			take = 1;
			if (flow->header_len == FRAME_HEADER_SIZE) {
				flow->frame_left = (size_t)flow->header[3] << 24 |
						   (size_t)flow->header[4] << 16 |
						   (size_t)flow->header[5] << 8 | flow->header[6];
				flow->frame_left++; /* the end octet */
				flow->header_len = 0;
			}
			continue;
		}
		take = flow->frame_left < len - at ? flow->frame_left : len - at;
		if (take > 1)
			inside = at + take / 2;
		flow->frame_left -= take;
	}
	return inside;
}

/* ---------------------------------------------------------------------- flows */

static void keep(struct relay *relay, struct flow *flow, const uint8_t *data, size_t len)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + len);

	if (!chunk)
		die("memory");
	*chunk = (struct chunk){.due_usec = now_usec() + relay->delay_usec, .len = len};
	memcpy(chunk->data, data, len);
	if (flow->last)
		flow->last->next = chunk;
	else
		flow->first = chunk;
	flow->last = chunk;
	flow->held += len;
}

/* How many of `got` bytes are still handed on. */
static size_t until_stumble(struct link *link, enum side side, size_t got)
{
	if (side != BROKER || link->stumble == 0)
		return got;
	if (got >= link->stumble) {
		got = link->stumble;
		link->flow[side].halved = true;
	}
	link->stumble -= got;
	return got;
}

static void read_flow(struct relay *relay, struct link *link, enum side side)
{
	struct flow *flow = &link->flow[side];
	uint8_t data[READ_SIZE];
	ssize_t got = read(link->fd[side], data, sizeof(data));
	size_t inside;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (link->orphan) {
		if (got <= 0)
			end_link(link, false);
		return;
	}
	if (got < 0) {
		end_link(link, true);
		return;
	}
	flow->ended = got == 0;
	got = (ssize_t)until_stumble(link, side, (size_t)got);
	inside = follow_frames(flow, data, (size_t)got);
	if (flow->halve && inside) {
		flow->halved = true;
		got = (ssize_t)inside;
	}
	flow->ended |= flow->halved;
	if (got > 0)
		keep(relay, flow, data, (size_t)got);
}

/* How much of the chunk may be written now, and when the next after it. */
static size_t allowance(const struct relay *relay, struct flow *flow, size_t len, uint64_t now)
{
	size_t slice = relay->rate / 100 + 1; /* ten milliseconds' worth */

	if (relay->slice && len > relay->slice)
		len = relay->slice;
	if (!relay->rate)
		return len;
	if (flow->paid_usec > now)
		return 0;
	return len < slice ? len : slice;
}

static void pay(const struct relay *relay, struct flow *flow, size_t len, uint64_t now)
{
	if (relay->rate)
		flow->paid_usec = now + (uint64_t)len * 1000000u / relay->rate;
}

static void write_flow(struct relay *relay, struct link *link, enum side side, uint64_t now)
{
	struct flow *flow = &link->flow[side];
	struct chunk *chunk;

	for (unsigned int i = 0; i < WRITES_MAX && (chunk = flow->first) && chunk->due_usec <= now; i++) {
		size_t len = allowance(relay, flow, chunk->len - chunk->done, now);
		ssize_t put = len ? write(link->fd[!side], chunk->data + chunk->done, len) : 0;

		if (put < 0 && errno != EAGAIN && errno != EINTR)
			end_link(link, true);
		if (put <= 0)
			return;
		pay(relay, flow, (size_t)put, now);
		chunk->done += (size_t)put;
		flow->held -= (size_t)put;
		if (chunk->done < chunk->len)
			continue;
		flow->first = chunk->next;
		if (!flow->first)
			flow->last = NULL;
		free(chunk);
	}
	if (!flow->first && flow->halved) {
		end_link(link, false);
	} else if (!flow->first && flow->ended && !flow->told) {
		shutdown(link->fd[!side], SHUT_WR);
		flow->told = true;
		if (link->flow[!side].told)
			end_link(link, false);
	}
}

/* ------------------------------------------------------------------- commands */

static void for_links(struct relay *relay, void (*act)(struct link *link))
{
	for (unsigned int i = 0; i < relay->link_count; i++)
		act(&relay->links[i]);
}

static void act_cut(struct link *link)
{
	end_link(link, false);
}

static void act_reset(struct link *link)
{
	end_link(link, true);
}

static void act_half_up(struct link *link)
{
	link->flow[MUXD].halve = true;
}

static void act_half_down(struct link *link)
{
	link->flow[BROKER].halve = true;
}

static void act_orphan(struct link *link)
{
	close_side(link, MUXD, true);
	drop_chunks(&link->flow[MUXD]);
	drop_chunks(&link->flow[BROKER]);
	link->orphan = true;
}

static void act_hold(struct link *link)
{
	if (link->orphan)
		return;
	act_orphan(link);
	link->held = true;
}

static void act_drop_held(struct link *link)
{
	if (link->held)
		end_link(link, false);
}

static void act_stall(struct link *link)
{
	link->stalled = true;
}

static const struct action {
	const char *line;
	void (*act)(struct link *link);
} actions[] = {
    {"cut", act_cut},	    {"reset", act_reset}, {"half up", act_half_up},	{"half down", act_half_down},
    {"orphan", act_orphan}, {"hold", act_hold},	  {"drop-held", act_drop_held}, {"stall", act_stall},
};

static unsigned int count_links(const struct relay *relay)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < relay->link_count; i++)
		count += relay->links[i].fd[MUXD] >= 0 && relay->links[i].fd[BROKER] >= 0;
	return count;
}

/* False: unknown. */
static bool set_number(struct relay *relay, const char *word, unsigned long number)
{
	if (strcmp(word, "delay") == 0) {
		relay->delay_usec = (uint64_t)number * 1000u;
	} else if (strcmp(word, "slice") == 0) {
		relay->slice = number;
	} else if (strcmp(word, "rate") == 0) {
		relay->rate = number;
	} else if (strcmp(word, "stumble") == 0) {
		relay->stumbles = number;
		relay->stumbled = 0;
	} else if (strcmp(word, "refuse") == 0 && number < relay->port_count) {
		if (relay->listeners[number] >= 0)
			close(relay->listeners[number]);
		relay->listeners[number] = -1;
	} else if (strcmp(word, "accept") == 0 && number < relay->port_count) {
		if (relay->listeners[number] < 0)
			relay->listeners[number] = listen_on(relay->ports[number], &relay->ports[number]);
	} else {
		return false;
	}
	return true;
}

static bool run_line(struct relay *relay)
{
	char word[16] = "";
	unsigned long number;

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(relay->line, actions[i].line) == 0) {
			for_links(relay, actions[i].act);
			return true;
		}
	}
	if (strcmp(relay->line, "freeze") == 0 || strcmp(relay->line, "thaw") == 0) {
		relay->frozen = relay->line[0] == 'f';
		return true;
	}
	return sscanf(relay->line, "%15s %lu", word, &number) == 2 && set_number(relay, word, number);
}

static void take_line(struct relay *relay)
{
	if (strcmp(relay->line, "links") == 0)
		printf("ok links %u\n", count_links(relay));
	else
		printf("%s %s\n", run_line(relay) ? "ok" : "error", relay->line);
	fflush(stdout);
}

static void read_commands(struct relay *relay)
{
	char data[256];
	ssize_t got = read(STDIN_FILENO, data, sizeof(data));

	relay->input_ended = got == 0;
	for (ssize_t i = 0; i < got; i++) {
		if (data[i] != '\n') {
			if (relay->line_len + 1 < sizeof(relay->line))
				relay->line[relay->line_len++] = data[i];
			continue;
		}
		relay->line[relay->line_len] = '\0';
		relay->line_len = 0;
		take_line(relay);
	}
}

/* ----------------------------------------------------------------------- turn */

static bool moves(const struct relay *relay, const struct link *link)
{
	return !relay->frozen && !is_over(link);
}

/* What one side of a link is waited for; lowers *wait_usec to when something held is due. */
static short events_of(const struct relay *relay, const struct link *link, enum side side, uint64_t now,
		       uint64_t *wait_usec)
{
	const struct flow *in = &link->flow[side], *out = &link->flow[!side];
	short events = 0;

	if (link->stalled)
		return POLLRDHUP;
	if (!in->ended && (link->orphan || in->held < HELD_MAX))
		events |= POLLIN;
	if (out->first) {
		uint64_t due = out->first->due_usec;

		if (relay->rate && out->paid_usec > due)
			due = out->paid_usec;
		if (due <= now)
			events |= POLLOUT;
		else if (due - now < *wait_usec)
			*wait_usec = due - now;
	}
	return events;
}

static void serve_link(struct relay *relay, struct link *link, const struct pollfd *polled)
{
	if (link->stalled) {
		/* neither hears of the other's end */
		for (int side = MUXD; side <= BROKER; side++)
			if (polled[side].revents)
				close_side(link, (enum side)side, true);
		if (is_over(link))
			end_link(link, true);
		return;
	}
	for (int side = MUXD; side <= BROKER; side++)
		if (link->fd[side] >= 0 && polled[side].revents & (POLLIN | POLLHUP | POLLERR))
			read_flow(relay, link, (enum side)side);
	for (int side = MUXD; side <= BROKER; side++)
		if (!link->orphan && !is_over(link))
			write_flow(relay, link, (enum side)side, now_usec());
}

static void beat(struct relay *relay)
{
	static const uint8_t heartbeat[] = {8, 0, 0, 0, 0, 0, 0, 0xce};
	uint64_t now = now_usec();

	if (now < relay->beat_usec)
		return;
	relay->beat_usec = now + BEAT_USEC;
	for (unsigned int i = 0; i < relay->link_count; i++) {
		struct link *link = &relay->links[i];

		if (link->held && !is_over(link) && write(link->fd[BROKER], heartbeat, sizeof(heartbeat)) < 0)
			end_link(link, true);
	}
}

static void forget_links(struct relay *relay)
{
	for (unsigned int i = 0; i < relay->link_count;) {
		if (is_over(&relay->links[i]))
			relay->links[i] = relay->links[--relay->link_count];
		else
			i++;
	}
}

static void turn(struct relay *relay)
{
	struct pollfd polled[1 + PORTS_MAX + 2 * LINKS_MAX];
	struct pollfd *ports = &polled[1], *links = ports + relay->port_count;
	uint64_t now = now_usec(), wait_usec = BEAT_USEC;

	polled[0] = (struct pollfd){.fd = relay->input_ended ? -1 : STDIN_FILENO, .events = POLLIN};
	for (unsigned int i = 0; i < relay->port_count; i++)
		ports[i] = (struct pollfd){.fd = relay->frozen ? -1 : relay->listeners[i], .events = POLLIN};
	for (unsigned int i = 0; i < relay->link_count; i++) {
		const struct link *link = &relay->links[i];

		for (int side = MUXD; side <= BROKER; side++) {
			short events = 0;

			if (moves(relay, link))
				events = events_of(relay, link, (enum side)side, now, &wait_usec);
			links[2 * i + (unsigned int)side] =
			    (struct pollfd){.fd = events ? link->fd[side] : -1, .events = events};
		}
	}
	if (poll(polled, (nfds_t)(1 + relay->port_count + 2 * relay->link_count),
		 (int)(wait_usec / 1000 + 1)) < 0)
		return;
	for (unsigned int i = 0, count = relay->link_count; i < count; i++)
		if (moves(relay, &relay->links[i]))
			serve_link(relay, &relay->links[i], &links[(size_t)2 * i]);
	for (unsigned int i = 0; i < relay->port_count; i++)
		if (ports[i].fd >= 0 && ports[i].revents)
			take_connection(relay, ports[i].fd);
	if (polled[0].revents)
		read_commands(relay);
	beat(relay);
	forget_links(relay);
}

int main(int argc, char **argv)
{
	struct relay relay = {.broker_port = 0};

	if (argc < 2 || argc > 2 + (int)PORTS_MAX) {
		fputs("usage: relay BROKER-PORT [PORT...]\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	relay.broker_port = (uint16_t)strtoul(argv[1], NULL, 10);
	relay.port_count = argc > 2 ? (unsigned int)argc - 2 : 1;
	printf("listening");
	for (unsigned int i = 0; i < relay.port_count; i++) {
		uint16_t port = argc > 2 ? (uint16_t)strtoul(argv[2 + i], NULL, 10) : 0;

		relay.listeners[i] = listen_on(port, &relay.ports[i]);
		printf(" %u", relay.ports[i]);
	}
	printf("\n");
	fflush(stdout);
	for (;;)
		turn(&relay);
}
