#include "tests/unit/client-fake.h"

#include "proto/frame.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static ProtobufCBinaryData binary(const char *text)
{
	ProtobufCBinaryData data = {strlen(text), (uint8_t *)(uintptr_t)text};

	return data;
}

uint64_t clock_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	ck_assert_ptr_nonnull(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* ------------------------------------------------------------------- sending */

void fake_send_raw(struct fake *fake, const void *data, size_t len)
{
	const uint8_t *at = data;
	ssize_t n;

	while (len > 0) {
		n = send(fake->fd, at, len, MSG_NOSIGNAL);
		if (n < 0)
			return; /* the client may have gone */
		at += n;
		len -= (size_t)n;
	}
}

void fake_send(struct fake *fake, Muxd__V1__ServerFrame *frame, struct span payload)
{
	struct buf out = BUF_INIT;
	size_t size = muxd__v1__server_frame__get_packed_size(frame);
	uint8_t *room;

	ipc_frame_prefix(&out, size, payload.len);
	room = buf_reserve(&out, size);
	ck_assert_ptr_nonnull(room);
	muxd__v1__server_frame__pack(frame, room);
	buf_commit(&out, size);
	buf_append_span(&out, payload);
	pthread_mutex_lock(&fake->lock);
	fake_send_raw(fake, buf_span(&out).data, buf_len(&out));
	pthread_mutex_unlock(&fake->lock);
	buf_deinit(&out);
}

void fake_welcome(struct fake *fake)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Welcome welcome = MUXD__V1__WELCOME__INIT;
	Muxd__V1__Credit credit = MUXD__V1__CREDIT__INIT;
	Muxd__V1__UpstreamChanged upstream = MUXD__V1__UPSTREAM_CHANGED__INIT;

	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_WELCOME;
	frame.welcome = &welcome;
	welcome.has_version = welcome.has_session = welcome.has_channels_max = 1;
	welcome.has_requests_max = welcome.has_message_max = 1;
	welcome.version = 1;
	welcome.session = 7;
	welcome.channels_max = fake->channels_max;
	welcome.requests_max = fake->requests_max;
	welcome.message_max = 16 * 1024 * 1024;
	welcome.credit = &credit;
	credit.has_messages = credit.has_bytes = 1;
	credit.messages = fake->welcome_messages;
	credit.bytes = fake->welcome_bytes;
	welcome.upstream = &upstream;
	upstream.has_name = upstream.has_state = upstream.has_epoch = 1;
	upstream.name = binary("default");
	upstream.state = MUXD__V1__UPSTREAM_STATE__UP;
	upstream.epoch = 3;
	fake_send(fake, &frame, SPAN_NULL);
}

static void frame_init(struct fake *fake, Muxd__V1__ServerFrame *frame, uint32_t request, uint32_t channel)
{
	muxd__v1__server_frame__init(frame);
	frame->has_request = request != 0;
	frame->request = request;
	frame->has_channel = channel != 0;
	frame->channel = channel;
	if (channel == 0 || channel >= FAKE_CHANNELS)
		return;
	frame->has_generation = 1;
	frame->generation = fake->generation[channel];
}

void fake_frame(struct fake *fake, Muxd__V1__ServerFrame *frame, uint32_t request, uint32_t channel)
{
	frame_init(fake, frame, request, channel);
}

void fake_done(struct fake *fake, const Muxd__V1__ClientFrame *request)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Done done = MUXD__V1__DONE__INIT;

	frame_init(fake, &frame, request->request, request->channel);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_DONE;
	frame.done = &done;
	fake_send(fake, &frame, SPAN_NULL);
}

void fake_credit(struct fake *fake, uint64_t messages, uint64_t bytes)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Credit credit = MUXD__V1__CREDIT__INIT;

	frame_init(fake, &frame, 0, 0);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CREDIT;
	frame.credit = &credit;
	credit.has_messages = credit.has_bytes = 1;
	credit.messages = messages;
	credit.bytes = bytes;
	fake_send(fake, &frame, SPAN_NULL);
}

void fake_go_away(struct fake *fake, uint32_t deadline_ms)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__GoAway away = MUXD__V1__GO_AWAY__INIT;

	frame_init(fake, &frame, 0, 0);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY;
	frame.go_away = &away;
	away.has_deadline_ms = away.has_text = 1;
	away.deadline_ms = deadline_ms;
	away.text = binary("maintenance");
	fake_send(fake, &frame, SPAN_NULL);
}

void fake_outcome(struct fake *fake, uint32_t channel, int kind, uint64_t first, uint64_t last)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Outcome outcome = MUXD__V1__OUTCOME__INIT;
	Muxd__V1__Range range = MUXD__V1__RANGE__INIT, *ranges[1] = {&range};
	Muxd__V1__Error error = MUXD__V1__ERROR__INIT;

	frame_init(fake, &frame, 0, channel);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_OUTCOME;
	frame.outcome = &outcome;
	outcome.has_kind = 1;
	outcome.kind = (Muxd__V1__OutcomeKind)kind;
	outcome.n_numbers = 1;
	outcome.numbers = ranges;
	range.has_first = range.has_last = 1;
	range.first = first;
	range.last = last;
	if (kind >= MUXD__V1__OUTCOME_KIND__NACKED) {
		outcome.error = &error;
		error.has_code = error.has_text = error.has_scope = 1;
		error.code = 408;
		error.text = binary("too late");
		error.scope = MUXD__V1__SCOPE__REQUEST;
	}
	fake_send(fake, &frame, SPAN_NULL);
}

static void send_error(struct fake *fake, uint32_t request, uint32_t channel, int scope, uint32_t code,
		       bool retryable)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Error error = MUXD__V1__ERROR__INIT;

	frame_init(fake, &frame, request, channel);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_ERROR;
	frame.error = &error;
	error.has_scope = error.has_code = error.has_text = error.has_origin = 1;
	error.scope = (Muxd__V1__Scope)scope;
	error.code = code;
	error.origin = MUXD__V1__ORIGIN__BROKER;
	error.text = binary("the fake refuses");
	error.has_retryable = retryable;
	error.retryable = retryable;
	fake_send(fake, &frame, SPAN_NULL);
}

void fake_error(struct fake *fake, uint32_t request, uint32_t channel, int scope, uint32_t code)
{
	send_error(fake, request, channel, scope, code, false);
}

void fake_error_retryable(struct fake *fake, uint32_t request, uint32_t channel, int scope, uint32_t code)
{
	send_error(fake, request, channel, scope, code, true);
}

void fake_deliver(struct fake *fake, uint32_t channel, uint32_t consumer, uint64_t tag, const char *body)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Delivery delivery = MUXD__V1__DELIVERY__INIT;
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;

	frame_init(fake, &frame, 0, channel);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_DELIVERY;
	frame.delivery = &delivery;
	delivery.has_consumer = delivery.has_tag = delivery.has_exchange = delivery.has_routing_key = 1;
	delivery.consumer = consumer;
	delivery.tag = tag;
	delivery.exchange = binary("ex");
	delivery.routing_key = binary("key");
	delivery.properties = &properties;
	properties.has_content_type = 1;
	properties.content_type = binary("text/plain");
	fake_send(fake, &frame, span_str(body));
}

/* ------------------------------------------------------------------ answering */

void fake_queue_declared(struct fake *fake, const Muxd__V1__ClientFrame *request, const char *name,
			 const char *resume)
{
	Muxd__V1__ServerFrame answer;
	Muxd__V1__QueueDeclared declared = MUXD__V1__QUEUE_DECLARED__INIT;

	frame_init(fake, &answer, request->request, request->channel);
	answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_QUEUE_DECLARED;
	answer.queue_declared = &declared;
	declared.has_queue = declared.has_message_count = declared.has_consumer_count = 1;
	declared.queue = name ? binary(name) : request->queue_declare->queue;
	declared.has_resume = resume != NULL;
	if (resume)
		declared.resume = binary(resume);
	declared.message_count = 4;
	declared.consumer_count = 2;
	fake_send(fake, &answer, SPAN_NULL);
}

static void answer_queue_declare(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	fake_queue_declared(fake, frame, frame->queue_declare->queue.len ? NULL : "muxd.gen-1", NULL);
}

static void answer_counted(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	Muxd__V1__ServerFrame answer;
	Muxd__V1__Counted counted = MUXD__V1__COUNTED__INIT;

	frame_init(fake, &answer, frame->request, frame->channel);
	answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_COUNTED;
	answer.counted = &counted;
	counted.has_message_count = 1;
	counted.message_count = 5;
	fake_send(fake, &answer, SPAN_NULL);
}

static void answer_consume(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	Muxd__V1__ServerFrame answer;
	Muxd__V1__Consuming consuming = MUXD__V1__CONSUMING__INIT;

	frame_init(fake, &answer, frame->request, frame->channel);
	answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMING;
	answer.consuming = &consuming;
	consuming.has_consumer_tag = 1;
	consuming.consumer_tag = binary("muxd.ctag-1");
	fake_send(fake, &answer, SPAN_NULL);
}

static void answer_get(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	Muxd__V1__ServerFrame answer;
	Muxd__V1__GotNothing nothing = MUXD__V1__GOT_NOTHING__INIT;

	frame_init(fake, &answer, frame->request, frame->channel);
	answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_GOT_NOTHING;
	answer.got_nothing = &nothing;
	fake_send(fake, &answer, SPAN_NULL);
}

static void answer(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	switch (frame->op_case) {
	case MUXD__V1__CLIENT_FRAME__OP_HELLO:
		if (!fake->no_welcome)
			fake_welcome(fake);
		break;
	case MUXD__V1__CLIENT_FRAME__OP_PUBLISH:
		if (fake->auto_confirm)
			fake_outcome(fake, frame->channel, MUXD__V1__OUTCOME_KIND__CONFIRMED,
				     fake->published[frame->channel], fake->published[frame->channel]);
		break;
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE:
		answer_queue_declare(fake, frame);
		break;
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_PURGE:
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_DELETE:
		answer_counted(fake, frame);
		break;
	case MUXD__V1__CLIENT_FRAME__OP_CONSUME:
		answer_consume(fake, frame);
		break;
	case MUXD__V1__CLIENT_FRAME__OP_GET:
		answer_get(fake, frame);
		break;
	default:
		if (frame->request)
			fake_done(fake, frame);
		break;
	}
}

static void on_whole_frame(struct fake *fake, const struct ipc_frame *ipc)
{
	Muxd__V1__ClientFrame *frame;
	bool handled;
	int op;

	frame = muxd__v1__client_frame__unpack(NULL, ipc->header.len, ipc->header.data);
	ck_assert_msg(frame != NULL, "the client has sent a header that does not unpack");
	op = (int)frame->op_case;
	ck_assert_int_gt(op, 0);
	if (op == MUXD__V1__CLIENT_FRAME__OP_CHANNEL_OPEN) {
		ck_assert_uint_lt(frame->channel, FAKE_CHANNELS);
		ck_assert_uint_gt(frame->channel_open->generation, fake->generation[frame->channel]);
		fake->generation[frame->channel] = frame->channel_open->generation;
		fake->published[frame->channel] = 0;
	}
	if (op == MUXD__V1__CLIENT_FRAME__OP_PUBLISH)
		fake->published[frame->channel]++;
	/* Recorded first: who has the answer may look. */
	pthread_mutex_lock(&fake->lock);
	if (fake->last[op])
		muxd__v1__client_frame__free_unpacked(fake->last[op], NULL);
	fake->last[op] = frame;
	fake->count[op]++;
	if (op == MUXD__V1__CLIENT_FRAME__OP_PUBLISH)
		fake->published_bytes += ipc->header.len + ipc->payload.len;
	pthread_cond_broadcast(&fake->cond);
	pthread_mutex_unlock(&fake->lock);
	handled = fake->on_frame && fake->on_frame(fake, frame, ipc->payload);
	if (!handled)
		answer(fake, frame);
}

static void fake_serve(struct fake *fake, int fd)
{
	struct buf in = BUF_INIT;
	struct ipc_frame frame;
	uint8_t *room;
	size_t needed;
	ssize_t n;

	for (;;) {
		room = buf_reserve(&in, 65536);
		ck_assert_ptr_nonnull(room);
		n = recv(fd, room, 65536, 0);
		if (n <= 0)
			break;
		buf_commit(&in, (size_t)n);
		while (ipc_frame_parse(buf_span(&in), IPC_PAYLOAD_MAX, &frame, &needed) == IPC_FRAME_OK) {
			on_whole_frame(fake, &frame);
			buf_consume(&in, needed);
		}
	}
	buf_deinit(&in);
}

/* Its descriptor, or -1: no more. */
static int fake_accept(struct fake *fake)
{
	int fd = accept(fake->listen_fd, NULL, NULL), old;

	pthread_mutex_lock(&fake->lock);
	old = fake->fd;
	fake->fd = fd;
	fake->sessions += fd >= 0;
	memset(fake->generation, 0, sizeof(fake->generation));
	pthread_cond_broadcast(&fake->cond);
	pthread_mutex_unlock(&fake->lock);
	if (old >= 0)
		close(old);
	return fd;
}

static void *fake_main(void *arg)
{
	struct fake *fake = arg;
	bool again = true;
	int fd;

	while (again) {
		fd = fake_accept(fake);
		if (fd >= 0)
			fake_serve(fake, fd);
		pthread_mutex_lock(&fake->lock);
		fake->ended = true;
		/* The client sees the end of it, whoever has ended it. */
		if (fd >= 0)
			shutdown(fd, SHUT_RDWR);
		again = fake->comes_back && !fake->stopping && fd >= 0;
		pthread_cond_broadcast(&fake->cond);
		pthread_mutex_unlock(&fake->lock);
	}
	return NULL;
}

/* ------------------------------------------------------------------- its life */

void fake_init(struct fake *fake)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	pthread_condattr_t attr;

	memset(fake, 0, sizeof(*fake));
	fake->fd = -1;
	fake->welcome_messages = 1000;
	fake->welcome_bytes = 1024 * 1024;
	fake->channels_max = FAKE_CHANNELS - 1;
	fake->requests_max = 256;
	snprintf(fake->directory, sizeof(fake->directory), "/tmp/muxclient-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fake->directory));
	snprintf(fake->path, sizeof(fake->path), "%s/sock", fake->directory);
	memcpy(address.sun_path, fake->path, strlen(fake->path) + 1);
	fake->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fake->listen_fd, 0);
	ck_assert_int_eq(bind(fake->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fake->listen_fd, 5), 0);
	pthread_mutex_init(&fake->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&fake->cond, &attr);
	pthread_condattr_destroy(&attr);
}

void fake_start(struct fake *fake)
{
	ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
}

void fake_hang_up(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	if (fake->fd >= 0)
		shutdown(fake->fd, SHUT_RD);
	pthread_mutex_unlock(&fake->lock);
}

void fake_stop(struct fake *fake)
{
	int i;

	pthread_mutex_lock(&fake->lock);
	fake->stopping = true;
	pthread_mutex_unlock(&fake->lock);
	shutdown(fake->listen_fd, SHUT_RDWR); /* ends an accept that nobody came for */
	fake_hang_up(fake);
	pthread_join(fake->thread, NULL);
	if (fake->fd >= 0)
		close(fake->fd);
	close(fake->listen_fd);
	unlink(fake->path);
	rmdir(fake->directory);
	for (i = 0; i < FAKE_OPS; i++) {
		if (fake->last[i])
			muxd__v1__client_frame__free_unpacked(fake->last[i], NULL);
	}
	pthread_cond_destroy(&fake->cond);
	pthread_mutex_destroy(&fake->lock);
}

static void wait_cond(struct fake *fake, const struct timespec *until, const char *what)
{
	int r = pthread_cond_timedwait(&fake->cond, &fake->lock, until);

	if (r == ETIMEDOUT) {
		pthread_mutex_unlock(&fake->lock);
		ck_abort_msg("waited too long for %s", what);
	}
}

static struct timespec fake_deadline(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += FAKE_WAIT_USEC / 1000000;
	return until;
}

void fake_expect(struct fake *fake, int op, unsigned int count)
{
	struct timespec until = fake_deadline();
	char what[64];

	snprintf(what, sizeof(what), "%u frames of operation %d", count, op);
	pthread_mutex_lock(&fake->lock);
	while (fake->count[op] < count)
		wait_cond(fake, &until, what);
	pthread_mutex_unlock(&fake->lock);
}

unsigned int fake_count(struct fake *fake, int op)
{
	unsigned int count;

	pthread_mutex_lock(&fake->lock);
	count = fake->count[op];
	pthread_mutex_unlock(&fake->lock);
	return count;
}

unsigned int fake_sessions(struct fake *fake)
{
	unsigned int count;

	pthread_mutex_lock(&fake->lock);
	count = fake->sessions;
	pthread_mutex_unlock(&fake->lock);
	return count;
}

void fake_expect_end(struct fake *fake)
{
	struct timespec until = fake_deadline();

	pthread_mutex_lock(&fake->lock);
	while (!fake->ended)
		wait_cond(fake, &until, "the client to close");
	pthread_mutex_unlock(&fake->lock);
}

/* ------------------------------------------------------------------ the client */

struct muxc *fake_connect_with(struct fake *fake, int mode, struct muxc_options *options)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c = NULL;
	int r;

	options->size = sizeof(*options);
	options->socket_path = fake->path;
	options->flags |= mode ? MUXC_LOOP : 0;
	r = muxc_connect(options, &c, &error);
	ck_assert_msg(r == 0, "connect: %d %s", r, error.text);
	return c;
}

struct muxc *fake_connect(struct fake *fake, int mode)
{
	struct muxc_options options = {0};

	return fake_connect_with(fake, mode, &options);
}

int flag_get(const int *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

void flag_add(int *flag, int value)
{
	__atomic_add_fetch(flag, value, __ATOMIC_ACQ_REL);
}

void drive_until(struct muxc *c, int mode, const int *flag, int value)
{
	uint64_t deadline = clock_usec() + FAKE_WAIT_USEC;

	while (flag_get(flag) < value) {
		/* Not an assertion in each turn, which takes a lock of check: see forked.h. */
		if (clock_usec() >= deadline)
			ck_abort_msg("waited too long for a handler");
		if (mode) {
			(void)muxc_wait(c, 100000);
			(void)muxc_process(c);
		} else {
			poll(NULL, 0, 1);
		}
	}
}
