#include "daemon/base/log.h"
#include "daemon/mux/recorder.h"
#include "tests/unit/mux-rig.h"

#include <stdio.h>

static struct rig rig;
static struct record_info record;

/* The entry behind the last one looked at; from == NULL: go on. */
static const char *next(struct rig_session *from)
{
	static struct rig_session *session;

	if (from) {
		session = from;
		record.serial = 0;
	}
	return session_next_record(session->session, record.serial, &record) ? record.operation : NULL;
}

/* The last one that there is. */
static const char *newest(struct rig_session *session)
{
	struct record_info info;
	bool any = false;

	record.serial = 0;
	while (session_next_record(session->session, record.serial, &info)) {
		record = info;
		any = true;
	}
	return any ? record.operation : NULL;
}

static uint64_t memory_of(struct rig_session *session)
{
	struct session_info info;

	ck_assert(mux_next_session(rig.mux, session_id(session->session) - 1, &info));
	return info.memory_used;
}

static struct rig_session *ready(void)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 7);
	return session;
}

START_TEST(idle__session_has_none_and_pays_nothing)
{
	struct rig_session *session;
	uint64_t before, with_first, channel;

	rig_up(&rig);
	session = rig_session(&rig);
	before = memory_of(session);
	ck_assert_ptr_null(next(session));
	session_open_channel(session->session, 1, 1);
	ck_assert_str_eq(next(session), "channel.open");
	ck_assert_uint_eq(record.end, RECORD_ANSWERED);
	ck_assert_ptr_null(next(NULL));
	/* The second channel pays for itself, the first for the recorder, too. */
	with_first = memory_of(session);
	session_open_channel(session->session, 2, 2);
	channel = memory_of(session) - with_first;
	ck_assert_uint_gt(channel, 0);
	ck_assert_uint_le(with_first - before, channel + 1024);
	rig_free(&rig);
}
END_TEST

START_TEST(request__is_there_with_its_channel_its_arguments_and_its_end)
{
	struct rig_session *session = ready();
	struct amqc_method method = {.id = AMQC_QUEUE_BIND};

	rig_declare(session, 1, "mine", true);
	ck_assert_str_eq(newest(session), "queue.declare queue='mine' exclusive");
	ck_assert_uint_eq(record.end, RECORD_UNANSWERED);
	ck_assert_uint_eq(record.unanswered, 1);
	ck_assert_uint_eq(record.channel.number, 1);
	ck_assert_uint_eq(record.channel.generation, 7);
	rig_serve(&rig);
	ck_assert_str_eq(newest(session), "queue.declare queue='mine' exclusive");
	ck_assert_uint_eq(record.end, RECORD_ANSWERED);
	ck_assert_uint_eq(record.unanswered, 0);
	rig_pass(&rig, 2500000);
	method.queue_bind.queue = SPAN_LITERAL("mine");
	method.queue_bind.exchange = SPAN_LITERAL("events");
	method.queue_bind.routing_key = SPAN_LITERAL("#");
	rig_request(session, 1, &method, 0);
	ck_assert_str_eq(next(session), "channel.open");
	ck_assert_uint_eq(record.age_usec / 100000, 25);
	ck_assert_ptr_nonnull(next(NULL));
	ck_assert_str_eq(next(NULL), "queue.bind queue='mine' exchange='events' routing_key='#'");
	ck_assert_uint_eq(record.age_usec, 0);
	rig_free(&rig);
}
END_TEST

START_TEST(request__that_is_refused_has_the_code)
{
	struct rig_session *owner = ready(), *other = rig_session(&rig);
	uint16_t lane;

	session_open_channel(other->session, 1, 1);
	rig_declare(owner, 1, "mine", true);
	/* By muxd at once, on a channel that is not open, and by the broker. */
	rig_declare(other, 1, "mine", true);
	ck_assert_str_eq(newest(other), "queue.declare queue='mine' exclusive");
	ck_assert_uint_eq(record.end, RECORD_REFUSED);
	ck_assert_uint_eq(record.code, AMQC_RESOURCE_LOCKED);
	rig_get(other, 9, "nothing");
	ck_assert_str_eq(newest(other), "basic.get queue='nothing'");
	ck_assert_uint_eq(record.code, AMQC_CHANNEL_ERROR);
	rig_serve(&rig);
	rig_get(owner, 1, "theirs");
	rig_turn(&rig);
	lane = rig_expect(&rig, AMQC_BASIC_GET, &(struct rig_frame){0});
	rig_close_lane(&rig, lane, 404, "NOT_FOUND");
	rig_turn(&rig);
	ck_assert_str_eq(newest(owner), "basic.get queue='theirs'");
	ck_assert_uint_eq(record.end, RECORD_REFUSED);
	ck_assert_uint_eq(record.code, 404);
	rig_free(&rig);
}
END_TEST

START_TEST(close__is_answered_when_what_came_before_is)
{
	struct rig_session *session = ready();

	rig_get(session, 1, "q");
	session_close_channel(session->session, 77, 1);
	ck_assert_str_eq(newest(session), "channel.close");
	ck_assert_uint_eq(record.end, RECORD_UNANSWERED);
	rig_serve(&rig);
	ck_assert_str_eq(newest(session), "channel.close");
	ck_assert_uint_eq(record.end, RECORD_ANSWERED);
	rig_free(&rig);
}
END_TEST

static void publish(struct rig_session *session, const char *key, const struct amqc_properties *properties,
		    const char *body)
{
	session_publish(session->session, &(struct mux_publish){.channel = 1,
								.cost_bytes = 100,
								.exchange = SPAN_LITERAL("events"),
								.routing_key = span_str(key),
								.properties = properties,
								.body = span_str(body)});
}

START_TEST(publishes__that_are_alike_count_in_one_entry)
{
	struct amqc_properties plain = {0}, typed = {.present = AMQC_PROP_DELIVERY_MODE, .delivery_mode = 2};
	struct rig_session *session = ready();

	publish(session, "a", &plain, "secret");
	ck_assert_str_eq(newest(session), "basic.publish exchange='events' routing_key='a' body of 6 bytes");
	for (int i = 0; i < 9; i++) {
		publish(session, "a", &plain, i == 4 ? "secret..." : "");
		session_settle(session->session, 1, SETTLE_ACK, 0, 0);
		publish(session, "b", &typed, "");
	}
	ck_assert_str_eq(next(session), "channel.open");
	ck_assert_str_eq(next(NULL), "basic.publish exchange='events' routing_key='a' body of up to 9 bytes");
	ck_assert_uint_eq(record.count, 10);
	ck_assert_uint_eq(record.unanswered, 10);
	ck_assert_uint_eq(record.end, RECORD_UNANSWERED);
	ck_assert_str_eq(next(NULL), "settle ack all");
	ck_assert_uint_eq(record.count, 9);
	ck_assert_uint_eq(record.end, RECORD_ANSWERED);
	ck_assert_str_eq(next(NULL), "basic.publish exchange='events' routing_key='b' body of up to 0 bytes "
				     "delivery_mode=2");
	ck_assert_ptr_null(next(NULL));
	rig_serve(&rig);
	ck_assert_ptr_nonnull(next(session));
	ck_assert_ptr_nonnull(next(NULL));
	ck_assert_uint_eq(record.unanswered, 0);
	ck_assert_uint_eq(record.end, RECORD_ANSWERED);
	/* What was answered counts on, too. */
	publish(session, "b", &typed, "");
	ck_assert_ptr_nonnull(newest(session));
	ck_assert_uint_eq(record.count, 10);
	ck_assert_uint_eq(record.unanswered, 1);
	rig_free(&rig);
}
END_TEST

START_TEST(publishes__that_differ_do_not)
{
	struct amqc_properties plain = {0}, typed = {.present = AMQC_PROP_DELIVERY_MODE, .delivery_mode = 2};
	struct amqc_properties headed = {.present = AMQC_PROP_HEADERS};
	struct rig_session *session = ready();
	struct buf table = BUF_INIT;

	publish(session, "a", &plain, "");
	publish(session, "a", &typed, "");
	publish(session, "a", &headed, "");
	amqc_field_append_str(&table, "odd", SPAN_LITERAL("value"));
	headed.headers = buf_span(&table);
	publish(session, "a", &headed, "");
	session_open_channel(session->session, 1 + 1, 1);
	ck_assert_ptr_nonnull(next(session));
	for (int i = 0; i < 4; i++) {
		ck_assert_ptr_nonnull(next(NULL));
		ck_assert_uint_eq(record.count, 1);
	}
	ck_assert_str_eq(record.operation,
			 "basic.publish exchange='events' routing_key='a' body of 0 bytes {odd='value'}");
	ck_assert_str_eq(next(NULL), "channel.open");
	buf_deinit(&table);
	rig_free(&rig);
}
END_TEST

START_TEST(publishes__that_were_refused_tell_so)
{
	static const struct amqc_properties plain;
	struct rig_session *session = ready();
	uint16_t lane;

	publish(session, "a", &plain, "");
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &(struct rig_frame){0});
	rig_close_lane(&rig, lane, 404, "NOT_FOUND");
	rig_turn(&rig);
	ck_assert_ptr_nonnull(newest(session));
	ck_assert_uint_eq(record.end, RECORD_REFUSED);
	ck_assert_uint_eq(record.code, 404);
	/* The channel has ended: all that comes behind it counts in one. */
	publish(session, "b", &plain, "");
	publish(session, "c", &plain, "");
	ck_assert_str_eq(newest(session),
			 "basic.publish exchange='events' routing_key='b' body of up to 0 bytes");
	ck_assert_uint_eq(record.count, 2);
	ck_assert_uint_eq(record.unanswered, 0);
	ck_assert_uint_eq(record.code, 404);
	rig_free(&rig);
}
END_TEST

START_TEST(ring__keeps_the_last_ones_within_its_bounds)
{
	struct rig_session *session = ready();
	uint64_t before = memory_of(session);
	char name[220], expected[260];
	unsigned int count = 0, whole = 0;

	for (unsigned int i = 0; i < 500; i++) {
		memset(name, 'n', sizeof(name));
		(void)snprintf(name, sizeof(name), "%03u", i);
		name[3] = i % 2 ? '-' : 0;
		name[i % 2 ? 199 : 3] = 0;
		rig_get(session, 1, name);
		if (i % 16 == 15)
			rig_serve(&rig);
		(void)snprintf(expected, sizeof(expected), "basic.get queue='%.98s%s", name,
			       i % 2 ? "" : "'");
		ck_assert_msg(strncmp(newest(session), expected, 100) == 0, "%s\n%s", newest(session),
			      expected);
	}
	rig_serve(&rig);
	record.serial = 0;
	while (session_next_record(session->session, record.serial, &record)) {
		whole += strstr(record.operation, "queue='") != NULL;
		ck_assert_uint_eq(record.end, RECORD_ANSWERED);
		count++;
	}
	ck_assert_uint_eq(count, RECORDER_ENTRIES);
	ck_assert_uint_ge(whole, RECORDER_BYTES / 224);
	ck_assert_uint_le(memory_of(session) - before, 9000);
	printf("a full recorder takes %u bytes\n", (unsigned int)(memory_of(session) - before));
	rig_free(&rig);
}
END_TEST

static struct rig_session *with_channel(uint64_t session_memory)
{
	struct rig_session *session;

	rig_init(&rig);
	rig.options.limits.session_memory = session_memory;
	rig.upstream_options.warm_lanes = 0;
	rig_start(&rig);
	rig_connect(&rig, 100, 131072);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	return session;
}

START_TEST(memory__that_is_not_there_costs_entries_and_nothing_else)
{
	static const uint64_t left[] = {3616, 616, 16, 0};
	uint64_t least = memory_of(with_channel(1u << 20));

	rig_free(&rig);
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		struct rig_session *session = with_channel(least + left[i]);
		const struct rig_event *event;

		for (unsigned int j = 0; j < 100; j++) {
			char name[32];

			(void)snprintf(name, sizeof(name), "queue-%u", j);
			rig_declare(session, 1, name, false);
			rig_serve(&rig);
			event = rig_event(session);
			ck_assert(event->kind == RIG_REPLY ||
				  (event->kind == RIG_REFUSED && event->retryable));
			(void)newest(session);
		}
		rig_free(&rig);
	}
}
END_TEST

static char logged[65536];

static void sink(void *context, enum log_level level, const char *text, const struct log_field *fields,
		 size_t field_count)
{
	size_t len = strlen(logged);

	(void)context;
	(void)fields;
	(void)field_count;
	ck_assert_int_eq(level, LOG_LEVEL_NOTICE);
	(void)snprintf(logged + len, sizeof(logged) - len, "%s\n", text);
}

START_TEST(log__has_a_line_for_each)
{
	static const struct amqc_properties plain;
	struct rig_session *session = ready();

	publish(session, "a\nb", &plain, "");
	publish(session, "a\nb", &plain, "");
	rig_serve(&rig);
	rig_get(session, 1, "q");
	rig_get(session, 9, "q");
	log_set_level(LOG_LEVEL_NOTICE);
	log_set_sink(sink, NULL);
	recorder_log(session->session);
	log_set_sink(NULL, NULL);
	ck_assert_ptr_nonnull(strstr(logged, "session 1 (pid "));
	ck_assert_ptr_nonnull(strstr(logged,
				     "channel 1: basic.publish exchange='events' routing_key='a\\x0ab' "
				     "body of up to 0 bytes, 2 times: answered\n"));
	ck_assert_ptr_nonnull(strstr(logged, "channel 1: basic.get queue='q': 1 unanswered\n"));
	ck_assert_ptr_nonnull(strstr(logged, "channel 9: basic.get queue='q': refused with 504\n"));
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux/recorder");
	TCase *tests = tcase_create("recorder");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, idle__session_has_none_and_pays_nothing);
	tcase_add_test(tests, request__is_there_with_its_channel_its_arguments_and_its_end);
	tcase_add_test(tests, request__that_is_refused_has_the_code);
	tcase_add_test(tests, close__is_answered_when_what_came_before_is);
	tcase_add_test(tests, publishes__that_are_alike_count_in_one_entry);
	tcase_add_test(tests, publishes__that_differ_do_not);
	tcase_add_test(tests, publishes__that_were_refused_tell_so);
	tcase_add_test(tests, ring__keeps_the_last_ones_within_its_bounds);
	tcase_add_test(tests, memory__that_is_not_there_costs_entries_and_nothing_else);
	tcase_add_test(tests, log__has_a_line_for_each);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
