/*
 * get: takes messages one after another, and acknowledges each when stdout has
 * it. With --requeue they are held until all are shown, then given back.
 */
#include "client/tool/option.h"
#include "client/tool/print.h"

struct getting {
	struct ctl *ctl;
	struct print_style style;
	const char *queue;
	uint64_t count;
	bool requeue;
	uint64_t last_tag; /* of those held */
};

/* One message: CTL_DONE, CTL_EMPTY, or another, told. */
static int get_one(struct getting *g)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_message *message;
	struct ctl *ctl = g->ctl;
	int r;

	r = muxc_get(ctl->channel, g->queue, 0, &message, ctl_timeout(ctl), &error);
	if (r < 0)
		return ctl_fail(ctl, NULL, &error);
	if (r == 0)
		return CTL_EMPTY;
	r = print_message(ctl, &g->style, message) ? ctl_flush(ctl) : ctl->exit_code;
	if (r == CTL_DONE) {
		g->last_tag = muxc_message_get_tag(message);
		if (!g->requeue)
			(void)muxc_ack(ctl->channel, g->last_tag, 0);
	}
	(void)muxc_message_unref(message);
	return r;
}

static int get_all(struct getting *g)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct ctl *ctl = g->ctl;
	uint64_t i;
	int r = CTL_DONE;

	for (i = 0; i < g->count && r == CTL_DONE; i++)
		r = get_one(g);
	if (r == CTL_EMPTY && g->last_tag != 0)
		r = CTL_DONE;
	if (g->last_tag == 0)
		return r;
	if (g->requeue)
		(void)muxc_nack(ctl->channel, g->last_tag, MUXC_UP_TO | MUXC_REQUEUE);
	/* Its answer shows that muxd has read what was settled. */
	if (muxc_ping(ctl->c, ctl_timeout(ctl), &error) < 0 && r == CTL_DONE)
		r = ctl_fail(ctl, "messages that were shown may come again", &error);
	return r;
}

static bool read_options(struct getting *g, int argc, char **argv)
{
	enum {
		REQUEUE = OPTION_OWN,
		RAW
	};
	static const struct option longs[] = {{"count", required_argument, NULL, 'n'},
					      {"requeue", no_argument, NULL, REQUEUE},
					      {"null", no_argument, NULL, '0'},
					      {"raw", no_argument, NULL, RAW},
					      {0}};
	int letter;

	while ((letter = option_next(g->ctl, argc, argv, "n:0", longs)) != OPTION_END) {
		if (letter == OPTION_STOP)
			return false;
		if (letter == 'n') {
			g->style.single = false;
			if (!option_count(g->ctl, "-n", optarg, UINT64_MAX, &g->count))
				return false;
		} else if (letter == REQUEUE) {
			g->requeue = true;
		} else if (letter == RAW) {
			g->style.raw = true;
		} else {
			g->style.single = false;
			g->style.separator = '\0';
		}
	}
	if (argc - optind != 1) {
		(void)ctl_usage(g->ctl, "it takes one QUEUE");
		return false;
	}
	g->queue = argv[optind];
	return option_name(g->ctl, "name of the queue", g->queue);
}

int cmd_get(struct ctl *ctl, int argc, char **argv)
{
	struct getting g = {.ctl = ctl, .style = {.single = true, .separator = '\n'}, .count = 1};
	int r;

	if (!read_options(&g, argc, argv))
		return ctl->exit_code;
	r = ctl_open(ctl, NULL);
	return r == CTL_DONE ? get_all(&g) : r;
}
