/*
 * Programs built with another version of muxclient.h: their structs are shorter
 * or longer than the library's own.
 */
#include "tests/unit/client-fake.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define TAIL 64u

/*
 * A copy of the struct with `size` bytes of its own behind it, of the heap and
 * no longer than it says, so that reading beyond is found.
 */
static void *longer(const void *from, size_t own, size_t tail)
{
	size_t size = own + tail;
	char *copy = calloc(1, size);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, from, own);
	memcpy(copy, &size, sizeof(size));
	return copy;
}

/* The compiler is not to know how long it is: it would rightly find the struct cut. */
static void *blank(volatile size_t size)
{
	return calloc(1, size);
}

/* As a header knew it whose last field was the one before this. */
static void *shorter(const void *from, size_t size)
{
	char *copy = malloc(size);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, from, size);
	memcpy(copy, &size, sizeof(size));
	return copy;
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
}

struct world {
	struct fake fake;
	struct muxc *c;
	struct muxc_channel *channel;
	struct muxc_error error;
};

static int connect_with(struct world *w, const void *options)
{
	struct muxc *c = NULL;
	int r = muxc_connect(options, &c, &w->error);

	if (r < 0)
		ck_assert_ptr_null(c);
	else
		muxc_free(c);
	return r;
}

static int open_with(struct world *w, const void *options)
{
	struct muxc_channel *channel = NULL;
	int r = muxc_channel_open(w->c, options, &channel);

	muxc_channel_free(channel);
	return r;
}

static int publish_with(struct world *w, const void *publication)
{
	return muxc_publish_full(w->channel, publication, 0, NULL, &w->error);
}

static int consume_with(struct world *w, const void *options)
{
	return muxc_consume(w->channel, options, NULL, 0, &w->error);
}

static int declare_queue(struct world *w, const void *queue)
{
	return muxc_queue_declare(w->channel, queue, NULL, 0, &w->error);
}

static int declare_exchange(struct world *w, const void *exchange)
{
	return muxc_exchange_declare(w->channel, exchange, 0, &w->error);
}

static int bind_queue(struct world *w, const void *binding)
{
	return muxc_queue_bind(w->channel, binding, 0, &w->error);
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->error = (struct muxc_error)MUXC_ERROR_INIT;
	fake_init(&w->fake);
	fake_start(&w->fake);
	w->c = fake_connect(&w->fake, 1);
	ck_assert_int_eq(muxc_channel_open(w->c, NULL, &w->channel), 0);
}

static void world_deinit(struct world *w)
{
	muxc_channel_free(w->channel);
	muxc_free(w->c);
	fake_stop(&w->fake);
}

/* Zero behind what is known is fine, anything else is refused; so is no size at all. */
static void try_lengths(struct world *w, int (*call)(struct world *w, const void *arg), const void *own,
			size_t size, size_t first_size)
{
	char *copy = longer(own, size, TAIL);
	size_t none = 0;

	ck_assert_int_eq(call(w, copy), 0);
	copy[size + TAIL - 1] = 1;
	ck_assert_int_eq(call(w, copy), -EINVAL);
	memcpy(copy, &none, sizeof(none));
	ck_assert_int_eq(call(w, copy), -EINVAL);
	free(copy);
	copy = shorter(own, first_size);
	ck_assert_int_eq(call(w, copy), 0);
	free(copy);
}

START_TEST(sizes__of_options_may_be_another_headers)
{
	struct muxc_channel_options channel = {.size = sizeof(channel)};
	struct muxc_consumer_options consumer = {
	    .size = sizeof(consumer), .queue = "q", .on_message = on_message};
	struct world w;

	world_init(&w);
	try_lengths(&w, open_with, &channel, sizeof(channel),
		    offsetof(struct muxc_channel_options, on_destroy));
	try_lengths(&w, consume_with, &consumer, sizeof(consumer),
		    offsetof(struct muxc_consumer_options, on_cancelled));
	world_deinit(&w);
}
END_TEST

START_TEST(sizes__of_connect_options_may_be_another_headers)
{
	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
	struct world w;
	char *copy;

	world_init(&w);
	options.socket_path = w.fake.path;
	/* The fake accepts one session; this one is accepted by its backlog, which is all that is needed. */
	try_lengths(&w, connect_with, &options, sizeof(options), offsetof(struct muxc_options, on_link));
	copy = longer(&options, sizeof(options), TAIL);
	copy[sizeof(options)] = 1;
	ck_assert_int_eq(connect_with(&w, copy), -EINVAL);
	ck_assert_int_eq(w.error.error, -EINVAL);
	ck_assert_ptr_nonnull(strstr(w.error.text, "muxc_options"));
	free(copy);
	world_deinit(&w);
}
END_TEST

START_TEST(sizes__of_what_is_published_and_declared_may_be_another_headers)
{
	struct muxc_publication publication = {.size = sizeof(publication), .routing_key = "q"};
	struct muxc_queue queue = {.size = sizeof(queue), .name = "q"};
	struct muxc_exchange exchange = {.size = sizeof(exchange), .name = "e", .type = "fanout"};
	struct muxc_binding binding = {.size = sizeof(binding), .destination = "q", .source = "e"};
	struct world w;

	world_init(&w);
	try_lengths(&w, publish_with, &publication, sizeof(publication),
		    offsetof(struct muxc_publication, outcome_timeout_usec));
	try_lengths(&w, declare_queue, &queue, sizeof(queue), offsetof(struct muxc_queue, arguments));
	try_lengths(&w, declare_exchange, &exchange, sizeof(exchange),
		    offsetof(struct muxc_exchange, arguments));
	try_lengths(&w, bind_queue, &binding, sizeof(binding), offsetof(struct muxc_binding, arguments));
	world_deinit(&w);
}
END_TEST

/* What is filled in is filled in as far as both know it, and not beyond. */
START_TEST(sizes__of_answers_may_be_another_headers)
{
	struct {
		struct muxc_totals totals;
		unsigned char tail[TAIL];
	} longer_totals;
	struct muxc_totals *shorter_totals = blank(offsetof(struct muxc_totals, returned));
	struct {
		struct muxc_queue_info info;
		unsigned char tail[TAIL];
	} longer_info;
	struct muxc_queue queue = {.size = sizeof(queue)};
	struct world w;
	size_t i;

	world_init(&w);
	memset(&longer_totals, 0xee, sizeof(longer_totals));
	longer_totals.totals.size = sizeof(longer_totals);
	ck_assert_int_eq(muxc_publish(w.channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_channel_get_totals(w.channel, &longer_totals.totals), 0);
	ck_assert_uint_eq(longer_totals.totals.size, sizeof(longer_totals));
	ck_assert_uint_eq(longer_totals.totals.published, 1);
	ck_assert_uint_eq(longer_totals.totals.unknown, 0);
	ck_assert_ptr_nonnull(shorter_totals);
	shorter_totals->size = offsetof(struct muxc_totals, returned);
	ck_assert_int_eq(muxc_channel_get_totals(w.channel, shorter_totals), 0);
	ck_assert_uint_eq(shorter_totals->published, 1);
	free(shorter_totals);
	memset(&longer_info, 0xee, sizeof(longer_info));
	longer_info.info.size = sizeof(longer_info);
	ck_assert_int_eq(muxc_queue_declare(w.channel, &queue, &longer_info.info, 0, NULL), 0);
	ck_assert_str_eq(longer_info.info.name, "muxd.gen-1");
	for (i = 0; i < TAIL; i++)
		ck_assert(longer_totals.tail[i] == 0xee && longer_info.tail[i] == 0xee);
	world_deinit(&w);
}
END_TEST

/* An error of a program whose struct has less text, or more behind it. */
START_TEST(sizes__of_errors_may_be_another_headers)
{
	struct muxc_error *error = calloc(1, sizeof(*error) + TAIL);
	size_t size = offsetof(struct muxc_error, text) + 16;

	ck_assert_ptr_nonnull(error);
	error->size = sizeof(*error) + TAIL;
	ck_assert_int_eq(muxc_connect(NULL, NULL, error), -EINVAL);
	ck_assert_int_eq(error->error, -EINVAL);
	free(error);
	error = blank(size);
	ck_assert_ptr_nonnull(error);
	error->size = size;
	ck_assert_int_eq(muxc_connect(NULL, NULL, error), -EINVAL);
	ck_assert_int_eq(error->error, -EINVAL);
	ck_assert_uint_eq(strnlen(error->text, 16), 15);
	free(error);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client-sizes");
	TCase *tests = tcase_create("sizes");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, sizes__of_options_may_be_another_headers);
	tcase_add_test(tests, sizes__of_connect_options_may_be_another_headers);
	tcase_add_test(tests, sizes__of_what_is_published_and_declared_may_be_another_headers);
	tcase_add_test(tests, sizes__of_answers_may_be_another_headers);
	tcase_add_test(tests, sizes__of_errors_may_be_another_headers);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
