/*
 * Queues, exchanges and bindings: declare, bind, unbind, delete, purge.
 */
#include "client/tool/json.h"
#include "client/tool/option.h"
#include "client/tool/print.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum topology_letter {
	TOPOLOGY_DURABLE = OPTION_OWN,
	TOPOLOGY_EXCLUSIVE,
	TOPOLOGY_AUTO_DELETE,
	TOPOLOGY_INTERNAL,
	TOPOLOGY_PASSIVE,
	TOPOLOGY_IF_UNUSED,
	TOPOLOGY_IF_EMPTY
};

/* What such a command line says. */
struct topology {
	struct ctl *ctl;
	bool is_queue;
	const char *operands[2]; /* behind queue or exchange */
	size_t operands_count;
	unsigned int flags;
	const char *routing_key;
	struct muxc_table *arguments; /* owned */
};

/* ----------------------------------------------------------------- options */

static bool take_option(struct topology *t, int letter)
{
	switch (letter) {
	case TOPOLOGY_DURABLE:
		t->flags |= MUXC_DURABLE;
		return true;
	case TOPOLOGY_EXCLUSIVE:
		t->flags |= MUXC_EXCLUSIVE;
		return true;
	case TOPOLOGY_AUTO_DELETE:
		t->flags |= MUXC_AUTO_DELETE;
		return true;
	case TOPOLOGY_INTERNAL:
		t->flags |= MUXC_INTERNAL;
		return true;
	case TOPOLOGY_PASSIVE:
		t->flags |= MUXC_PASSIVE;
		return true;
	case TOPOLOGY_IF_UNUSED:
		t->flags |= MUXC_IF_UNUSED;
		return true;
	case TOPOLOGY_IF_EMPTY:
		t->flags |= MUXC_IF_EMPTY;
		return true;
	case 'r':
		t->routing_key = optarg;
		return option_name(t->ctl, "routing key", optarg);
	case 'a':
		return option_field(t->ctl, t->arguments, optarg, true);
	default:
		return false;
	}
}

/* KIND and at least min, at most max operands of 255 bytes. */
static bool take_operands(struct topology *t, size_t min, size_t max, int argc, char **argv)
{
	const char *kind = optind < argc ? argv[optind] : "";

	t->is_queue = strcmp(kind, "queue") == 0;
	if (!t->is_queue && strcmp(kind, "exchange") != 0) {
		(void)ctl_usage(t->ctl, "first comes `queue` or `exchange`");
		return false;
	}
	for (optind++; optind < argc && t->operands_count < max; optind++) {
		if (!option_name(t->ctl, "name", argv[optind]))
			return false;
		t->operands[t->operands_count++] = argv[optind];
	}
	if (optind < argc || t->operands_count < min) {
		(void)ctl_usage(t->ctl,
				optind < argc ? "'%s' is too much" : "an argument is missing behind '%s'",
				optind < argc ? argv[optind] : argv[argc - 1]);
		return false;
	}
	return true;
}

static bool read_options(struct topology *t, const char *shorts, const struct option *longs, int argc,
			 char **argv)
{
	int letter;

	if (muxc_table_new(&t->arguments) < 0)
		return ctl_fail_errno(t->ctl, "no arguments", ENOMEM) == CTL_DONE;
	while ((letter = option_next(t->ctl, argc, argv, shorts, longs)) != OPTION_END) {
		if (letter == OPTION_STOP || !take_option(t, letter))
			return false;
	}
	return true;
}

/* Ends a command: the library's return into the exit code. */
static int end(struct topology *t, int r, const struct muxc_error *error)
{
	t->arguments = muxc_table_free(t->arguments);
	return r < 0 ? ctl_fail(t->ctl, NULL, error) : CTL_DONE;
}

static int stop(struct topology *t)
{
	t->arguments = muxc_table_free(t->arguments);
	return t->ctl->exit_code;
}

/* ----------------------------------------------------------------- declare */

static int declare_queue(struct topology *t)
{
	struct muxc_queue queue = {
	    .size = sizeof(queue), .name = t->operands[0], .flags = t->flags, .arguments = t->arguments};
	struct muxc_queue_info info = {.size = sizeof(info)};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct ctl *ctl = t->ctl;
	int r;

	r = muxc_queue_declare(ctl->channel, &queue, &info, ctl_timeout(ctl), &error);
	r = end(t, r, &error);
	if (r != CTL_DONE)
		return r;
	if (!ctl->json) {
		puts(info.name);
		return CTL_DONE;
	}
	return print_json(ctl,
			  json_pack("{s:o, s:I, s:I}", "queue", json_replaced(info.name, strlen(info.name)),
				    "messages", (json_int_t)info.messages, "consumers",
				    (json_int_t)info.consumers),
			  JSON_INDENT(2));
}

static int declare_exchange(struct topology *t)
{
	struct muxc_exchange exchange = {.size = sizeof(exchange),
					 .name = t->operands[0],
					 .type = t->operands[1],
					 .flags = t->flags,
					 .arguments = t->arguments};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct ctl *ctl = t->ctl;
	int r;

	r = muxc_exchange_declare(ctl->channel, &exchange, ctl_timeout(ctl), &error);
	r = end(t, r, &error);
	if (r != CTL_DONE)
		return r;
	if (!ctl->json) {
		puts(exchange.name);
		return CTL_DONE;
	}
	return print_json(ctl,
			  json_pack("{s:o}", "exchange", json_replaced(exchange.name, strlen(exchange.name))),
			  JSON_INDENT(2));
}

/* What does not go with the kind. */
static bool check_declare(struct topology *t)
{
	const char *wrong = NULL;

	if (t->is_queue && t->operands_count > 1)
		wrong = "a queue has no type";
	else if (t->is_queue && t->flags & MUXC_INTERNAL)
		wrong = "--internal is for exchanges";
	else if (!t->is_queue && t->flags & MUXC_EXCLUSIVE)
		wrong = "--exclusive is for queues";
	else if (!t->is_queue && t->operands_count < 2 && !(t->flags & MUXC_PASSIVE))
		wrong = "the exchange's type is missing: direct, fanout, topic or headers";
	if (wrong)
		(void)ctl_usage(t->ctl, "%s", wrong);
	else if (t->operands_count < 2)
		t->operands[1] = "direct"; /* a passive declare does not look at it */
	return !wrong;
}

int cmd_declare(struct ctl *ctl, int argc, char **argv)
{
	static const struct option longs[] = {{"durable", no_argument, NULL, TOPOLOGY_DURABLE},
					      {"exclusive", no_argument, NULL, TOPOLOGY_EXCLUSIVE},
					      {"auto-delete", no_argument, NULL, TOPOLOGY_AUTO_DELETE},
					      {"internal", no_argument, NULL, TOPOLOGY_INTERNAL},
					      {"passive", no_argument, NULL, TOPOLOGY_PASSIVE},
					      {"argument", required_argument, NULL, 'a'},
					      {0}};
	struct topology t = {.ctl = ctl};

	if (!read_options(&t, "a:", longs, argc, argv) || !take_operands(&t, 1, 2, argc, argv) ||
	    !check_declare(&t) || ctl_open(ctl, NULL) != CTL_DONE)
		return stop(&t);
	return t.is_queue ? declare_queue(&t) : declare_exchange(&t);
}

/* ------------------------------------------------------------------- bind */

static int bind_or_unbind(struct ctl *ctl, int argc, char **argv, bool bind)
{
	static const struct option longs[] = {
	    {"routing-key", required_argument, NULL, 'r'}, {"argument", required_argument, NULL, 'a'}, {0}};
	int (*call)(struct muxc_channel *, const struct muxc_binding *, uint64_t, struct muxc_error *);
	struct muxc_binding binding = {.size = sizeof(binding)};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct topology t = {.ctl = ctl};

	if (!read_options(&t, "r:a:", longs, argc, argv) || !take_operands(&t, 2, 2, argc, argv) ||
	    ctl_open(ctl, NULL) != CTL_DONE)
		return stop(&t);
	binding.destination = t.operands[0];
	binding.source = t.operands[1];
	binding.routing_key = t.routing_key;
	binding.arguments = t.arguments;
	if (bind)
		call = t.is_queue ? muxc_queue_bind : muxc_exchange_bind;
	else
		call = t.is_queue ? muxc_queue_unbind : muxc_exchange_unbind;
	return end(&t, call(ctl->channel, &binding, ctl_timeout(ctl), &error), &error);
}

int cmd_bind(struct ctl *ctl, int argc, char **argv)
{
	return bind_or_unbind(ctl, argc, argv, true);
}

int cmd_unbind(struct ctl *ctl, int argc, char **argv)
{
	return bind_or_unbind(ctl, argc, argv, false);
}

/* --------------------------------------------------------- delete and purge */

static int print_messages(struct ctl *ctl, uint32_t messages)
{
	if (ctl->json)
		return print_json(ctl, json_pack("{s:I}", "messages", (json_int_t)messages), JSON_INDENT(2));
	printf("%u\n", messages);
	return CTL_DONE;
}

int cmd_delete(struct ctl *ctl, int argc, char **argv)
{
	static const struct option longs[] = {{"if-unused", no_argument, NULL, TOPOLOGY_IF_UNUSED},
					      {"if-empty", no_argument, NULL, TOPOLOGY_IF_EMPTY},
					      {0}};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct topology t = {.ctl = ctl};
	uint32_t messages = 0;
	int r;

	if (!read_options(&t, "", longs, argc, argv) || !take_operands(&t, 1, 1, argc, argv))
		return stop(&t);
	if (!t.is_queue && t.flags & MUXC_IF_EMPTY) {
		(void)ctl_usage(ctl, "--if-empty is for queues");
		return stop(&t);
	}
	if (ctl_open(ctl, NULL) != CTL_DONE)
		return stop(&t);
	if (t.is_queue)
		r = muxc_queue_delete(ctl->channel, t.operands[0], t.flags, &messages, ctl_timeout(ctl),
				      &error);
	else
		r = muxc_exchange_delete(ctl->channel, t.operands[0], t.flags, ctl_timeout(ctl), &error);
	r = end(&t, r, &error);
	return r == CTL_DONE && t.is_queue ? print_messages(ctl, messages) : r;
}

int cmd_purge(struct ctl *ctl, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t messages = 0;

	if (option_next(ctl, argc, argv, "", NULL) == OPTION_STOP)
		return ctl->exit_code;
	if (argc - optind != 1)
		return ctl_usage(ctl, "it takes one QUEUE");
	if (!option_name(ctl, "name of the queue", argv[optind]) || ctl_open(ctl, NULL) != CTL_DONE)
		return ctl->exit_code;
	if (muxc_queue_purge(ctl->channel, argv[optind], &messages, ctl_timeout(ctl), &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	return print_messages(ctl, messages);
}
