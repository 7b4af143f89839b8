#include "tests/unit/client-scene.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

void note(struct trace *trace, char *text, size_t size, const char *format, ...)
{
	va_list args;
	size_t len;

	pthread_mutex_lock(&trace->lock);
	len = strlen(text);
	va_start(args, format);
	(void)vsnprintf(text + len, size - len, format, args);
	va_end(args);
	pthread_mutex_unlock(&trace->lock);
}

static void note_publish(struct trace *trace, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	NOTE(trace, "publish %u %.*s%s%s|", frame->channel, (int)payload.len, (const char *)payload.data,
	     frame->publish->resent ? " resent" : "",
	     trace->ages && frame->publish->age_ms >= 20 ? " old" : "");
}

static void note_settle(struct trace *trace, const Muxd__V1__Settle *settle)
{
	char tags[256] = "";
	size_t i, len = 0;

	for (i = 0; i < settle->n_tags && len < sizeof(tags); i++)
		len += (size_t)snprintf(tags + len, sizeof(tags) - len, " %d-%d", (int)settle->tags[i]->first,
					(int)settle->tags[i]->last);
	NOTE(trace, "settle%s|", tags); /* at once: who waits for it sees all of it */
}

static void note_name(struct trace *trace, const char *what, uint32_t channel,
		      const ProtobufCBinaryData *name)
{
	NOTE(trace, "%s %u %.*s|", what, channel, (int)name->len, (const char *)name->data);
}

void note_frame(struct trace *trace, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	switch (frame->op_case) {
	case OP(HELLO):
		NOTE(trace, "hello|");
		break;
	case OP(CHANNEL_OPEN):
		NOTE(trace, "open %u|", frame->channel);
		break;
	case OP(CHANNEL_CLOSE):
		NOTE(trace, "close %u|", frame->channel);
		break;
	case OP(PUBLISH):
		note_publish(trace, frame, payload);
		break;
	case OP(SETTLE):
		note_settle(trace, frame->settle);
		break;
	case OP(QUEUE_DECLARE):
		note_name(trace, frame->queue_declare->resume.len ? "resume" : "declare", frame->channel,
			  &frame->queue_declare->queue);
		break;
	case OP(QUEUE_BIND):
		note_name(trace, "bind", frame->channel, &frame->queue_bind->queue);
		break;
	case OP(EXCHANGE_DECLARE):
		note_name(trace, "exchange", frame->channel, &frame->exchange_declare->exchange);
		break;
	case OP(QOS):
		NOTE(trace, "qos %u%s|", frame->qos->prefetch_count, frame->qos->global ? " global" : "");
		break;
	case OP(CONSUME):
		NOTE(trace, "consume %u %.*s as %u %.*s|", frame->channel, (int)frame->consume->queue.len,
		     (const char *)frame->consume->queue.data, frame->consume->consumer,
		     (int)frame->consume->consumer_tag.len, (const char *)frame->consume->consumer_tag.data);
		break;
	case OP(CANCEL):
		NOTE(trace, "cancel %u %u|", frame->channel, frame->cancel->consumer);
		break;
	case OP(TX_SELECT):
		NOTE(trace, "select %u|", frame->channel);
		break;
	case OP(TX_COMMIT):
		NOTE(trace, "commit %u|", frame->channel);
		break;
	case OP(TX_ROLLBACK):
		NOTE(trace, "rollback %u|", frame->channel);
		break;
	case OP(GET_CREDIT):
	case OP(WANT):
	case OP(CONSUMER_CREDIT):
		break;
	default:
		NOTE(trace, "op %d|", (int)frame->op_case);
	}
}

bool trace_all(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	note_frame(fake->context, frame, payload);
	return false;
}

/* ----------------------------------------------------------------- handlers */

static void on_link(struct muxc *c, const struct muxc_link *link, void *userdata)
{
	static const char *const names[] = {"?", "lost", "moving", "back"};
	struct trace *trace = userdata;

	ck_assert_ptr_nonnull(link->error);
	ck_assert_int_eq(link->error->error != 0, link->state == MUXC_LINK_LOST);
	ck_assert_int_eq(link->session != 0, link->state != MUXC_LINK_LOST);
	trace->resent = link->resent;
	trace->attempts = link->attempts;
	TELL(trace, "%s|", names[link->state]);
	flag_add(&trace->link[link->state], 1);
}

static void on_closed(struct muxc *c, const struct muxc_error *error, void *userdata)
{
	struct trace *trace = userdata;

	trace->error = *error;
	TELL(trace, "closed|");
	flag_add(&trace->closed, 1);
}

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct trace *trace = userdata;

	TELL(trace, "%d-%d %s|", (int)outcome->first, (int)outcome->last, muxc_outcome_name(outcome->kind));
	flag_add(&trace->outcomes, (int)(outcome->last - outcome->first + 1));
}

static void on_channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct trace *trace = userdata;

	trace->error = *error;
	TELL(trace, "channel closed %u|", error->code);
	flag_add(&trace->channel_closed, 1);
}

/* -------------------------------------------------------------------- scenes */

struct muxc_channel *scene_channel(struct scene *scene)
{
	struct muxc_channel_options options = {.size = sizeof(options),
					       .on_outcome = on_outcome,
					       .on_closed = on_channel_closed,
					       .userdata = &scene->trace};
	struct muxc_channel *channel;

	ck_assert_int_eq(muxc_channel_open(scene->c, &options, &channel), 0);
	return channel;
}

void scene_init(struct scene *scene, int mode)
{
	memset(scene, 0, sizeof(*scene));
	scene->mode = mode;
	pthread_mutex_init(&scene->trace.lock, NULL);
	fake_init(&scene->fake);
	scene->fake.comes_back = true;
	scene->fake.on_frame = trace_all;
	scene->fake.context = &scene->trace;
}

void scene_connect(struct scene *scene, struct muxc_options *options)
{
	options->on_link = on_link;
	options->on_closed = on_closed;
	options->userdata = &scene->trace;
	scene->c = fake_connect_with(&scene->fake, scene->mode, options);
	scene->channel = scene_channel(scene);
}

void scene_begin(struct scene *scene, int mode)
{
	struct muxc_options options = {0};

	scene_init(scene, mode);
	fake_start(&scene->fake);
	scene_connect(scene, &options);
}

void scene_end(struct scene *scene)
{
	muxc_channel_free(scene->channel);
	muxc_free(scene->c);
	fake_stop(&scene->fake);
	pthread_mutex_destroy(&scene->trace.lock);
}

void step(struct scene *scene)
{
	if (scene->mode) {
		(void)muxc_wait(scene->c, 2000);
		(void)muxc_process(scene->c);
	} else {
		poll(NULL, 0, 1);
	}
}

static bool text_has(struct trace *trace, const char *text, const char *what)
{
	bool has;

	pthread_mutex_lock(&trace->lock);
	has = strstr(text, what) != NULL;
	pthread_mutex_unlock(&trace->lock);
	return has;
}

void until_text(struct scene *scene, const char *what)
{
	uint64_t deadline = clock_usec() + FAKE_WAIT_USEC;

	while (!text_has(&scene->trace, scene->trace.text, what)) {
		if (clock_usec() >= deadline)
			ck_abort_msg("'%s' has not come: %s", what, scene->trace.text);
		step(scene);
	}
}

void until_told(struct scene *scene, const char *what)
{
	uint64_t deadline = clock_usec() + FAKE_WAIT_USEC;

	while (!text_has(&scene->trace, scene->trace.told, what)) {
		if (clock_usec() >= deadline)
			ck_abort_msg("'%s' was not told: %s", what, scene->trace.told);
		step(scene);
	}
}

void until_link(struct scene *scene, int state, int count)
{
	drive_until(scene->c, scene->mode, &scene->trace.link[state], count);
}

void forget(struct scene *scene)
{
	pthread_mutex_lock(&scene->trace.lock);
	scene->trace.text[0] = '\0';
	scene->trace.told[0] = '\0';
	pthread_mutex_unlock(&scene->trace.lock);
}

void expect_text(struct scene *scene, const char *text)
{
	pthread_mutex_lock(&scene->trace.lock);
	ck_assert_str_eq(scene->trace.text, text);
	pthread_mutex_unlock(&scene->trace.lock);
}

void expect_text_before(struct scene *scene, const char *text, uint64_t usec)
{
	char seen[sizeof(scene->trace.text)];

	pthread_mutex_lock(&scene->trace.lock);
	memcpy(seen, scene->trace.text, sizeof(seen));
	pthread_mutex_unlock(&scene->trace.lock);
	if (clock_usec() < usec)
		ck_assert_str_eq(seen, text);
}

uint64_t publish(struct scene *scene, const char *body)
{
	struct muxc_publication publication = {
	    .size = sizeof(publication), .routing_key = "q", .body = body, .body_len = strlen(body)};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t number = 0;
	int r;

	r = muxc_publish_full(scene->channel, &publication, 0, &number, &error);
	ck_assert_msg(r == 0, "publish: %d %s", r, error.text);
	return number;
}

void ready(struct scene *scene)
{
	ck_assert_int_eq(muxc_ping(scene->c, 0, NULL), 0);
	until_text(scene, "open 1|");
}

void scene_lose(struct scene *scene)
{
	char gone[128];

	(void)snprintf(gone, sizeof(gone), "%s.gone", scene->fake.path);
	ck_assert_int_eq(rename(scene->fake.path, gone), 0);
	fake_hang_up(&scene->fake);
	until_link(scene, MUXC_LINK_LOST, 1);
}

void scene_revive(struct scene *scene)
{
	char gone[128];

	(void)snprintf(gone, sizeof(gone), "%s.gone", scene->fake.path);
	ck_assert_int_eq(rename(gone, scene->fake.path), 0);
}

void scene_replace(struct scene *scene)
{
	int before = flag_get(&scene->trace.link[MUXC_LINK_BACK]);

	forget(scene);
	fake_hang_up(&scene->fake);
	until_link(scene, MUXC_LINK_BACK, before + 1);
}

void expect_told(struct scene *scene, const char *text)
{
	pthread_mutex_lock(&scene->trace.lock);
	ck_assert_str_eq(scene->trace.told, text);
	pthread_mutex_unlock(&scene->trace.lock);
}

void go_away(struct scene *scene, uint32_t deadline_ms)
{
	fake_go_away(&scene->fake, deadline_ms);
}
