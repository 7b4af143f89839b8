/*
 * muxctl, the program: how it writes what muxd says. Names that would move the
 * cursor, amounts of every size, tables as wide as they must be. The muxd is a
 * fake that answers with what no real one would have.
 */
#include "tests/unit/client-fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define EVENT(name) MUXD__V1__SERVER_FRAME__EVENT_##name
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Colours, a line of its own, a C1 control character, half a character; and what is none of these. */
#define EVIL "\033[31m\nroot\x7f\xc2\x9b\xc3|sch\xc3\xb6n \xe2\x82\xac"
#define SHOWN "\\x1b[31m\\x0aroot\\x7f\\xc2\\x9b\\xc3|sch\xc3\xb6n \xe2\x82\xac"

static ProtobufCBinaryData bytes(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static const struct {
	uint64_t seconds;
	const char *said;
} ages[] = {{0, " 0s "},       {59, " 59s "},	     {60, " 1m 0s "},	 {3599, " 59m 59s "},
	    {3600, " 1h 0m "}, {86399, " 23h 59m "}, {86400, " 1d 0h "}, {2000000, " 23d 3h "}};

static const struct {
	uint64_t amount;
	const char *said;
} amounts[] = {
    {0, " 0 B\n"},	    {1023, " 1023 B\n"},     {1024, " 1.0 KiB\n"},	 {1536, " 1.5 KiB\n"},
    {102400, " 100 KiB\n"}, {1048576, " 1.0 MiB\n"}, {5000000000, " 4.7 GiB\n"}, {1ull << 41, " 2.0 TiB\n"}};

static void answer_sessions(struct fake *fake, const Muxd__V1__ClientFrame *request)
{
	Muxd__V1__SessionInfo infos[COUNT(ages)], *list[COUNT(ages)];
	Muxd__V1__Sessions sessions = MUXD__V1__SESSIONS__INIT;
	Muxd__V1__ServerFrame frame;
	size_t i;

	for (i = 0; i < COUNT(ages); i++) {
		muxd__v1__session_info__init(list[i] = &infos[i]);
		infos[i].has_id = infos[i].has_program = infos[i].has_upstream = 1;
		infos[i].has_age_seconds = infos[i].has_memory_used = 1;
		infos[i].id = i + 1;
		infos[i].program = bytes(i == 0 ? EVIL : i == 1 ? "" : "program");
		infos[i].upstream = bytes("default");
		infos[i].age_seconds = ages[i].seconds;
		infos[i].memory_used = amounts[i].amount;
	}
	fake_frame(fake, &frame, request->request, 0);
	frame.event_case = EVENT(SESSIONS);
	frame.sessions = &sessions;
	sessions.n_sessions = COUNT(ages);
	sessions.sessions = list;
	fake_send(fake, &frame, SPAN_NULL);
}

static void answer_status(struct fake *fake, const Muxd__V1__ClientFrame *request)
{
	Muxd__V1__UpstreamStatus upstream = MUXD__V1__UPSTREAM_STATUS__INIT, *upstreams[] = {&upstream};
	Muxd__V1__UserStatus user = MUXD__V1__USER_STATUS__INIT, *users[] = {&user};
	Muxd__V1__Status status = MUXD__V1__STATUS__INIT;
	Muxd__V1__ServerFrame frame;

	fake_frame(fake, &frame, request->request, 0);
	frame.event_case = EVENT(STATUS);
	frame.status = &status;
	status.has_version = status.has_uptime_seconds = status.has_sessions = status.has_draining = 1;
	status.version = bytes("9.9");
	status.uptime_seconds = 90000;
	status.sessions = 2;
	status.draining = 1;
	status.n_upstreams = 1;
	status.upstreams = upstreams;
	upstream.has_name = upstream.has_state = upstream.has_endpoint = upstream.has_last_error = 1;
	upstream.name = bytes("default");
	upstream.state = MUXD__V1__UPSTREAM_STATE__FAILED;
	upstream.endpoint = bytes("broker:5672");
	upstream.last_error = bytes(EVIL);
	status.n_users = 1;
	status.users = users;
	user.has_uid = user.has_sessions = 1;
	user.uid = 33;
	user.sessions = 2;
	fake_send(fake, &frame, SPAN_NULL);
}

static bool on_frame(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	if (frame->op_case == OP(SESSIONS))
		answer_sessions(fake, frame);
	else if (frame->op_case == OP(STATUS))
		answer_status(fake, frame);
	else
		return false;
	return true;
}

/* Its exit code is 0; what it writes is in said. */
static void ask(const char *arguments, char *said, size_t size)
{
	struct fake fake;
	char command[256];
	FILE *muxctl;
	size_t len;
	int status;

	fake_init(&fake);
	fake.on_frame = on_frame;
	fake_start(&fake);
	snprintf(command, sizeof(command), "exec timeout 30 client/muxctl -s %s %s 2>&1 </dev/null",
		 fake.path, arguments);
	muxctl = popen(command, "r");
	ck_assert_ptr_nonnull(muxctl);
	len = fread(said, 1, size - 1, muxctl);
	said[len] = 0;
	status = pclose(muxctl);
	fake_stop(&fake);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "exit code %d: %s", WEXITSTATUS(status),
		      said);
}

static void says(const char *said, const char *what)
{
	ck_assert_msg(strstr(said, what) != NULL, "'%s' is not in:\n%s", what, said);
}

START_TEST(names__cannot_move_the_cursor_or_fake_a_line)
{
	char said[8192];
	const char *at;
	size_t lines = 0;

	ask("sessions", said, sizeof(said));
	for (at = said; *at; at++) {
		lines += *at == '\n';
		ck_assert_msg(*at == '\n' || ((unsigned char)*at >= ' ' && *at != 0x7f), "byte %02x in:\n%s",
			      (unsigned int)(unsigned char)*at, said);
	}
	ck_assert_uint_eq(lines, 1 + COUNT(ages));
	says(said, " " SHOWN " ");
	says(said, " 2    0    0  -  ");
	ask("status", said, sizeof(said));
	says(said, SHOWN "\n");
}
END_TEST

START_TEST(ages_and_amounts__have_the_unit_that_fits)
{
	char said[8192], *line, *saved = NULL, with_end[1024];
	size_t i;

	ask("sessions", said, sizeof(said));
	line = strtok_r(said, "\n", &saved);
	says(line, "SESSION  ");
	for (i = 0; i < COUNT(ages); i++) {
		line = strtok_r(NULL, "\n", &saved);
		ck_assert_ptr_nonnull(line);
		snprintf(with_end, sizeof(with_end), "%s\n", line);
		says(with_end, ages[i].said);
		says(with_end, amounts[i].said);
	}
}
END_TEST

/* In characters, as a terminal counts them. */
static size_t column_of(const char *line, const char *what)
{
	const char *end = strstr(line, what), *at;
	size_t column = 0;

	ck_assert_msg(end != NULL, "'%s' is not in: %s", what, line);
	for (at = line; at < end; at++)
		column += (*at & 0xc0) != 0x80;
	return column;
}

START_TEST(columns__stand_below_each_other)
{
	char said[8192], *title, *line, *saved = NULL;
	size_t i;

	ask("sessions", said, sizeof(said));
	title = strtok_r(said, "\n", &saved);
	for (i = 0; i < COUNT(ages); i++) {
		line = strtok_r(NULL, "\n", &saved);
		ck_assert_uint_eq(column_of(line, "default"), column_of(title, "UPSTREAM"));
	}
}
END_TEST

START_TEST(status__says_that_muxd_drains_and_who_uses_it)
{
	char said[8192];

	ask("status", said, sizeof(said));
	says(said, "muxd 9.9, pid 0, up 1d 1h, 2 sessions, memory 0 B of 0 B, draining\n");
	says(said, "default   failed  broker:5672  -  ");
	says(said, " 33         2   0     0 B  0 B\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("muxctl-output");
	TCase *tests = tcase_create("muxctl-output");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, names__cannot_move_the_cursor_or_fake_a_line);
	tcase_add_test(tests, ages_and_amounts__have_the_unit_that_fits);
	tcase_add_test(tests, columns__stand_below_each_other);
	tcase_add_test(tests, status__says_that_muxd_drains_and_who_uses_it);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
