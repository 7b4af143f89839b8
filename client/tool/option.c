/*
 * Options that all commands have, durations, counts and names.
 */
#include "client/tool/option.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGS_MAX 32

static const struct option common_longs[] = {
    {"socket", required_argument, NULL, 's'},
    {"upstream", required_argument, NULL, OPTION_UPSTREAM},
    {"json", no_argument, NULL, OPTION_JSON},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
};

#define COMMON_COUNT (sizeof(common_longs) / sizeof(common_longs[0]))
#define COMMON_SHORTS "s:qh"

void option_begin(void)
{
	optind = 0; /* the C library then begins anew, its hidden state included */
}

/* False: the letter is not a common one. */
static bool common_option(struct ctl *ctl, int letter, int *ret)
{
	*ret = OPTION_END;
	switch (letter) {
	case 's':
		ctl->socket_path = optarg;
		break;
	case OPTION_UPSTREAM:
		ctl->upstream = optarg;
		break;
	case OPTION_JSON:
		ctl->json = true;
		break;
	case OPTION_TIMEOUT:
		if (!option_duration(ctl, "--timeout", optarg, &ctl->timeout_usec))
			*ret = OPTION_STOP;
		break;
	case 'q':
		ctl->quiet = true;
		break;
	case 'h':
		if (ctl->command)
			command_help(ctl->command);
		else
			command_help_all();
		*ret = OPTION_STOP;
		break;
	case OPTION_VERSION:
		puts("muxctl " PACKAGE_VERSION);
		*ret = OPTION_STOP;
		break;
	default:
		return false;
	}
	return true;
}

int option_next(struct ctl *ctl, int argc, char **argv, const char *shorts, const struct option *longs)
{
	struct option all[LONGS_MAX];
	char letters[64];
	size_t n = 0;
	int letter, r;

	while (longs && longs[n].name && n < LONGS_MAX - COMMON_COUNT - 1) {
		all[n] = longs[n];
		n++;
	}
	memcpy(all + n, common_longs, sizeof(common_longs));
	memset(&all[n + COMMON_COUNT], 0, sizeof(all[0]));
	(void)snprintf(letters, sizeof(letters), "%s" COMMON_SHORTS, shorts);
	for (;;) {
		letter = getopt_long(argc, argv, letters, all, NULL);
		if (letter == -1)
			return OPTION_END;
		if (letter == '?') {
			(void)ctl_usage_hint(ctl); /* getopt has said what is wrong */
			return OPTION_STOP;
		}
		if (!common_option(ctl, letter, &r))
			return letter;
		if (r == OPTION_STOP)
			return r;
	}
}

bool option_duration(struct ctl *ctl, const char *option, const char *text, uint64_t *ret_usec)
{
	static const struct {
		const char *unit;
		double usec;
	} units[] = {{"us", 1}, {"ms", 1e3}, {"s", 1e6}, {"m", 60e6}, {"h", 3600e6}};
	double value;
	char *end;
	size_t i;

	value = isdigit((unsigned char)text[0]) ? strtod(text, &end) : -1;
	for (i = 0; value > 0 && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit) != 0)
			continue;
		value *= units[i].usec;
		if (value < 1 || value > 1e15)
			break;
		*ret_usec = (uint64_t)value;
		return true;
	}
	(void)ctl_usage(ctl,
			"%s: '%s' is no duration; write a number above 0 and its unit, as 200ms, 5s, 2m, 1h",
			option, text);
	return false;
}

bool option_count(struct ctl *ctl, const char *option, const char *text, uint64_t max, uint64_t *ret)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
	if (value == 0 || *end || errno || value > max) {
		(void)ctl_usage(ctl, "%s: '%s' is not a number from 1 to %llu", option, text,
				(unsigned long long)max);
		return false;
	}
	*ret = value;
	return true;
}

bool option_name(struct ctl *ctl, const char *what, const char *text)
{
	size_t len = strlen(text);

	if (len <= 255)
		return true;
	(void)ctl_usage(ctl, "the %s has %zu bytes, AMQP allows 255", what, len);
	return false;
}
