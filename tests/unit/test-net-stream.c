/*
 * Streams on real socket pairs, turned by hand: what must happen in a turn is
 * looked at after it, and nothing sleeps.
 */
#include "daemon/net/stream.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS_MAX 10000
#define PREFIX 4u /* the test's frames: a big-endian length, and so many bytes */

/* One stream, its peer's end, and what was seen. */
struct end {
	struct loop *loop;
	struct stream *stream;
	int peer;
	struct buf received; /* the bodies of whole frames, one after another */
	size_t frames;
	size_t calls;
	uint64_t written;
	size_t low_left; /* bytes that on_low still adds */
	bool closed;
	bool closes_itself; /* at the first byte */
	char reason[128];
};

static size_t on_bytes(void *context, struct span bytes, size_t *ret_need)
{
	struct end *end = context;
	struct span rest = bytes;

	end->calls++;
	if (end->closes_itself) {
		stream_close(end->stream, 0);
		end->stream = NULL;
		return bytes.len;
	}
	while (rest.len >= PREFIX && rest.len - PREFIX >= load_be32(rest.data)) {
		uint32_t size = load_be32(rest.data);

		buf_append(&end->received, rest.data + PREFIX, size);
		rest = span_skip(rest, PREFIX + size);
		end->frames++;
	}
	*ret_need = rest.len < PREFIX ? PREFIX : PREFIX + (size_t)load_be32(rest.data);
	return bytes.len - rest.len;
}

static void on_written(void *context, uint64_t total)
{
	struct end *end = context;

	ck_assert_uint_gt(total, end->written);
	end->written = total;
}

static void on_low(void *context)
{
	static const uint8_t more[1000];
	struct end *end = context;
	size_t count = end->low_left < sizeof(more) ? end->low_left : sizeof(more);

	buf_append(stream_out(end->stream), more, count);
	end->low_left -= count;
}

static void on_closed(void *context, const char *reason)
{
	struct end *end = context;

	ck_assert(!end->closed);
	end->closed = true;
	(void)snprintf(end->reason, sizeof(end->reason), "%s", reason);
	stream_close(end->stream, 0);
	end->stream = NULL;
}

static const struct stream_ops ops = {on_bytes, on_written, on_low, on_closed};

static void end_init(struct end *end)
{
	int fds[2];
	struct stream_options options = {.ops = &ops, .context = end};

	*end = (struct end){.received = BUF_INIT};
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	ck_assert_int_eq(loop_new(&end->loop), 0);
	options.fd = fds[0];
	end->peer = fds[1];
	ck_assert_int_eq(stream_new(end->loop, &options, &end->stream), 0);
}

static void end_deinit(struct end *end)
{
	stream_close(end->stream, 0);
	(void)loop_free(end->loop);
	if (end->peer >= 0)
		(void)close(end->peer);
	buf_deinit(&end->received);
}

static void turn(struct end *end, bool wait)
{
	ck_assert_int_eq(loop_turn(end->loop, wait), 0);
}

/* Turns until so many frames have come. */
static void turn_until(struct end *end, size_t frames)
{
	for (int i = 0; i < TURNS_MAX && end->frames < frames; i++)
		turn(end, true);
	ck_assert_uint_eq(end->frames, frames);
}

/* The peer writes all of it, while the stream reads. */
static void peer_write(struct end *end, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = write(end->peer, at, len);

		if (n < 0) {
			ck_assert_int_eq(errno, EAGAIN);
			turn(end, false);
			continue;
		}
		at += n;
		len -= (size_t)n;
	}
}

/* A frame of size bytes, each its index's low bits. */
static uint8_t *make_frame(size_t size)
{
	uint8_t *frame = malloc(PREFIX + size);

	ck_assert_ptr_nonnull(frame);
	store_be32(frame, (uint32_t)size);
	for (size_t i = 0; i < size; i++)
		frame[PREFIX + i] = (uint8_t)(i * 7);
	return frame;
}

static void assert_received(const struct end *end, const uint8_t *frame, size_t size, size_t count)
{
	ck_assert_uint_eq(end->frames, count);
	ck_assert_uint_eq(buf_len(&end->received), size * count);
	for (size_t i = 0; i < count; i++)
		ck_assert_mem_eq(end->received.data + end->received.start + i * size, frame + PREFIX, size);
}

START_TEST(stream__parses_frames_whatever_the_pieces_they_come_in)
{
	static const size_t pieces[] = {1, 2, 3, 5, 7, 64, 103, 104, 105, 1000};
	struct end end;
	uint8_t *frame = make_frame(100);
	uint8_t stream[20 * 104];

	for (size_t i = 0; i < 20; i++)
		memcpy(stream + i * 104, frame, 104);
	for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
		end_init(&end);
		for (size_t at = 0; at < sizeof(stream); at += pieces[p]) {
			size_t left = sizeof(stream) - at;

			peer_write(&end, stream + at, left < pieces[p] ? left : pieces[p]);
			turn(&end, false);
		}
		turn_until(&end, 20);
		assert_received(&end, frame, 100, 20);
		end_deinit(&end);
	}
	free(frame);
}
END_TEST

START_TEST(stream__frame_larger_than_any_buffer_arrives_whole)
{
	struct end end;
	size_t size = 3 * 1024 * 1024 + 17;
	uint8_t *frame = make_frame(size);
	uint8_t *small = make_frame(10);

	end_init(&end);
	peer_write(&end, frame, PREFIX + size);
	peer_write(&end, small, PREFIX + 10);
	turn_until(&end, 2);
	ck_assert_uint_eq(buf_len(&end.received), size + 10);
	ck_assert_mem_eq(end.received.data, frame + PREFIX, size);
	ck_assert_mem_eq(end.received.data + size, small + PREFIX, 10);
	end_deinit(&end);
	free(frame);
	free(small);
}
END_TEST

START_TEST(stream__is_not_called_before_the_frame_it_needs_is_there)
{
	struct end end;
	uint8_t *frame = make_frame(50000);
	size_t calls;

	end_init(&end);
	peer_write(&end, frame, PREFIX);
	turn(&end, false);
	calls = end.calls;
	for (size_t at = PREFIX; at < PREFIX + 50000; at += 100) {
		ck_assert_uint_eq(end.calls, calls);
		peer_write(&end, frame + at, 100);
		turn(&end, false);
	}
	ck_assert_uint_eq(end.calls, calls + 1);
	assert_received(&end, frame, 50000, 1);
	end_deinit(&end);
	free(frame);
}
END_TEST

START_TEST(stream__one_peer_has_a_budget_in_each_turn)
{
	struct end end;
	uint8_t *frame = make_frame(1000);
	size_t sent = 0;
	int size = 4 * 1024 * 1024;

	end_init(&end);
	(void)setsockopt(end.peer, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	while (sent < 400 && write(end.peer, frame, PREFIX + 1000) == PREFIX + 1000)
		sent++;
	if (sent * 1004 > 130 * 1024) {
		turn(&end, false);
		ck_assert_uint_gt(end.frames, 0);
		ck_assert_uint_lt(end.frames, sent);
	}
	turn_until(&end, sent);
	assert_received(&end, frame, 1000, sent);
	end_deinit(&end);
	free(frame);
}
END_TEST

START_TEST(stream__writes_all_of_it_to_a_slow_reader)
{
	struct end end;
	size_t size = 2 * 1024 * 1024;
	uint8_t *frame = make_frame(size);
	struct buf got = BUF_INIT;
	uint8_t piece[30000];

	end_init(&end);
	buf_append(stream_out(end.stream), frame, PREFIX + size);
	ck_assert_uint_eq(stream_position(end.stream), PREFIX + size);
	stream_mark(end.stream);
	for (int i = 0; i < TURNS_MAX && buf_len(&got) < PREFIX + size; i++) {
		ssize_t n;

		turn(&end, false);
		n = read(end.peer, piece, sizeof(piece));
		if (n > 0)
			buf_append(&got, piece, (size_t)n);
	}
	ck_assert_uint_eq(buf_len(&got), PREFIX + size);
	ck_assert_mem_eq(got.data, frame, PREFIX + size);
	ck_assert_uint_eq(end.written, PREFIX + size);
	ck_assert_uint_eq(stream_position(end.stream), PREFIX + size);
	buf_deinit(&got);
	end_deinit(&end);
	free(frame);
}
END_TEST

START_TEST(stream__output_of_a_turn_is_one_write)
{
	struct end end;

	end_init(&end);
	for (int i = 0; i < 100; i++) {
		buf_append(stream_out(end.stream), "x", 1);
		stream_mark(end.stream);
	}
	turn(&end, false);
	ck_assert_uint_eq(end.written, 100); /* on_written was called once: it asserts growth, and saw all */
	end_deinit(&end);
}
END_TEST

START_TEST(stream__asks_for_more_while_the_socket_takes_it)
{
	struct end end;

	end_init(&end);
	end.low_left = 5500;
	buf_append(stream_out(end.stream), "x", 1);
	stream_mark(end.stream);
	turn(&end, false);
	ck_assert_uint_eq(end.low_left, 0);
	ck_assert_uint_eq(end.written, 5501);
	end_deinit(&end);
}
END_TEST

START_TEST(stream__idle_one_holds_no_output_block)
{
	struct end end;

	end_init(&end);
	buf_append(stream_out(end.stream), "hello", 5);
	stream_mark(end.stream);
	turn(&end, false);
	ck_assert_uint_eq(end.written, 5);
	/* It went back to the loop: a second stream gets the same one. */
	ck_assert_uint_eq(buf_len(stream_out(end.stream)), 0);
	ck_assert_uint_eq(stream_position(end.stream), 5);
	end_deinit(&end);
}
END_TEST

START_TEST(stream__tells_once_when_the_peer_has_gone)
{
	struct end end;

	end_init(&end);
	(void)close(end.peer);
	end.peer = -1;
	turn(&end, true);
	ck_assert(end.closed);
	ck_assert_str_eq(end.reason, "closed by the peer");
	turn(&end, false);
	end_deinit(&end);
}
END_TEST

START_TEST(stream__reads_what_a_peer_wrote_before_it_went_although_writing_to_it_fails)
{
	struct end end;
	uint8_t *frame = make_frame(1000);

	end_init(&end);
	for (int i = 0; i < 50; i++)
		peer_write(&end, frame, PREFIX + 1000);
	turn_until(&end, 50);
	peer_write(&end, frame, PREFIX + 1000);
	(void)close(end.peer);
	end.peer = -1;
	buf_append(stream_out(end.stream), "answer", 6);
	stream_mark(end.stream);
	for (int i = 0; i < TURNS_MAX && !end.closed; i++)
		turn(&end, true);
	ck_assert(end.closed);
	assert_received(&end, frame, 1000, 51);
	end_deinit(&end);
	free(frame);
}
END_TEST

START_TEST(stream__may_be_closed_while_it_is_being_read)
{
	struct end end;

	end_init(&end);
	end.closes_itself = true;
	peer_write(&end, "abc", 3);
	turn(&end, true);
	ck_assert_ptr_null(end.stream);
	ck_assert(!end.closed);
	ck_assert_int_eq(read(end.peer, &(char){0}, 1), 0);
	end_deinit(&end);
}
END_TEST

START_TEST(stream__writes_its_last_words_before_it_closes)
{
	struct end end;
	char words[16];

	end_init(&end);
	peer_write(&end, "unread", 6);
	buf_append(stream_out(end.stream), "good bye", 8);
	stream_mark(end.stream);
	stream_close(end.stream, USEC_PER_SEC);
	end.stream = NULL;
	ck_assert(loop_is_draining(end.loop));
	turn(&end, false);
	ck_assert(!loop_is_draining(end.loop));
	ck_assert_int_eq(read(end.peer, words, sizeof(words)), 8);
	ck_assert_mem_eq(words, "good bye", 8);
	ck_assert_uint_eq(end.calls, 0);
	end_deinit(&end);
}
END_TEST

START_TEST(stream__gives_up_its_last_words_when_nobody_reads_them)
{
	struct end end;
	size_t size = 8 * 1024 * 1024;
	uint8_t *words = make_frame(size);

	end_init(&end);
	buf_append(stream_out(end.stream), words, size);
	stream_close(end.stream, 20 * USEC_PER_MSEC);
	end.stream = NULL;
	for (int i = 0; i < TURNS_MAX && loop_is_draining(end.loop); i++)
		turn(&end, true);
	ck_assert(!loop_is_draining(end.loop));
	ck_assert(!end.closed);
	end_deinit(&end);
	free(words);
}
END_TEST

START_TEST(stream__loop_that_ends_frees_what_still_drains)
{
	struct end end;
	size_t size = 8 * 1024 * 1024;
	uint8_t *words = make_frame(size);

	end_init(&end);
	buf_append(stream_out(end.stream), words, size);
	stream_close(end.stream, USEC_PER_SEC);
	end.stream = NULL;
	turn(&end, false);
	ck_assert(loop_is_draining(end.loop));
	end_deinit(&end); /* the sanitizer looks whether all was freed */
	free(words);
}
END_TEST

/* ------------------------------------------------------------------ the loop */

struct steps {
	struct loop *loop;
	struct loop_task task;
	struct timer timer;
	struct doomed doomed;
	char order[16];
};

static void step(struct steps *steps, char what)
{
	size_t len = strlen(steps->order);

	ck_assert_uint_lt(len, sizeof(steps->order) - 1);
	steps->order[len] = what;
}

static void on_doomed(struct doomed *doomed)
{
	step(container_of(doomed, struct steps, doomed), 'd');
}

static void on_task(struct loop_task *task)
{
	struct steps *steps = container_of(task, struct steps, task);

	step(steps, 't');
	loop_doom(steps->loop, &steps->doomed, on_doomed);
}

static void on_timer(struct timer *timer, struct mono now)
{
	struct steps *steps = container_of(timer, struct steps, timer);

	step(steps, 'T');
	loop_defer(steps->loop, &steps->task);
	loop_defer(steps->loop, &steps->task);
}

static void hook_begin(void *context, struct mono now)
{
	step(context, 'b');
}

static void hook_turn(void *context)
{
	step(context, 'e');
}

START_TEST(loop__turn_goes_from_clock_to_timers_to_tasks_to_the_end_and_frees_last)
{
	static const struct loop_hooks hooks = {.begin = hook_begin, .turn = hook_turn};
	struct steps steps = {.order = ""};

	ck_assert_int_eq(loop_new(&steps.loop), 0);
	loop_set_hooks(steps.loop, &hooks, &steps);
	loop_task_init(&steps.task, on_task);
	timer_init(&steps.timer, on_timer);
	loop_set_timer(steps.loop, &steps.timer, loop_now(steps.loop));
	ck_assert_int_eq(loop_turn(steps.loop, true), 0);
	ck_assert_str_eq(steps.order, "bTteed"); /* the task gave the end a second round */
	(void)loop_free(steps.loop);
}
END_TEST

START_TEST(loop__timer_does_not_fire_before_its_time)
{
	struct steps steps = {.order = ""};
	struct mono when;

	ck_assert_int_eq(loop_new(&steps.loop), 0);
	loop_task_init(&steps.task, on_task);
	timer_init(&steps.timer, on_timer);
	when = mono_add_usec(loop_now(steps.loop), 30 * USEC_PER_MSEC);
	loop_set_timer(steps.loop, &steps.timer, when);
	for (int i = 0; i < TURNS_MAX && !*steps.order; i++)
		ck_assert_int_eq(loop_turn(steps.loop, true), 0);
	ck_assert_str_eq(steps.order, "Ttd");
	ck_assert(!mono_before(loop_now(steps.loop), when));
	(void)loop_free(steps.loop);
}
END_TEST

START_TEST(stream__look_tells_what_could_be_done_and_was_not)
{
	struct stream_progress before, now;
	struct end end;

	end_init(&end);
	before = stream_look(end.stream);
	ck_assert(!before.may_read && !before.may_write);
	ck_assert_int_eq(write(end.peer, "\0\0\0\1x", 5), 5);
	buf_append(stream_out(end.stream), "abc", 3);
	stream_mark(end.stream);
	/* Nothing turns the loop: what could be done stays undone, whenever one looks. */
	for (int i = 0; i < 2; i++) {
		now = stream_look(end.stream);
		ck_assert(now.may_read && now.may_write);
		ck_assert_uint_eq(now.reads, before.reads);
		ck_assert_uint_eq(now.written, before.written);
	}
	turn(&end, true);
	now = stream_look(end.stream);
	ck_assert(!now.may_read && !now.may_write);
	ck_assert_uint_gt(now.reads, before.reads);
	ck_assert_uint_eq(now.written, before.written + 3);
	end_deinit(&end);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net/stream");
	TCase *tests = tcase_create("stream");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 20);
	tcase_add_test(tests, stream__parses_frames_whatever_the_pieces_they_come_in);
	tcase_add_test(tests, stream__frame_larger_than_any_buffer_arrives_whole);
	tcase_add_test(tests, stream__is_not_called_before_the_frame_it_needs_is_there);
	tcase_add_test(tests, stream__one_peer_has_a_budget_in_each_turn);
	tcase_add_test(tests, stream__writes_all_of_it_to_a_slow_reader);
	tcase_add_test(tests, stream__output_of_a_turn_is_one_write);
	tcase_add_test(tests, stream__asks_for_more_while_the_socket_takes_it);
	tcase_add_test(tests, stream__idle_one_holds_no_output_block);
	tcase_add_test(tests, stream__tells_once_when_the_peer_has_gone);
	tcase_add_test(tests, stream__reads_what_a_peer_wrote_before_it_went_although_writing_to_it_fails);
	tcase_add_test(tests, stream__may_be_closed_while_it_is_being_read);
	tcase_add_test(tests, stream__writes_its_last_words_before_it_closes);
	tcase_add_test(tests, stream__gives_up_its_last_words_when_nobody_reads_them);
	tcase_add_test(tests, stream__loop_that_ends_frees_what_still_drains);
	tcase_add_test(tests, loop__turn_goes_from_clock_to_timers_to_tasks_to_the_end_and_frees_last);
	tcase_add_test(tests, loop__timer_does_not_fire_before_its_time);
	tcase_add_test(tests, stream__look_tells_what_could_be_done_and_was_not);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
