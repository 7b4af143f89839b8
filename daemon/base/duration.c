#include "daemon/base/duration.h"

#include "daemon/base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit time_units[] = {
    {"ms", USEC_PER_MSEC},	{"s", USEC_PER_SEC}, {"m", 60 * USEC_PER_SEC},
    {"h", 3600 * USEC_PER_SEC}, {NULL, 0},
};

static const struct unit size_units[] = {
    {"", 1}, {"K", 1ull << 10}, {"M", 1ull << 20}, {"G", 1ull << 30}, {NULL, 0},
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

/* Reads the digits; *text is then what follows them. A number that is too large is still read to its end. */
static int take_digits(const char **text, uint64_t *ret)
{
	const char *p = *text;
	uint64_t value = 0;
	int r = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			r = -ERANGE;
	*text = p;
	*ret = value;
	return r;
}

static int parse(const char *text, const struct unit *units, uint64_t *ret)
{
	uint64_t value;
	int r = take_digits(&text, &value);

	if (r == -EINVAL)
		return r;
	for (; units->name; units++) {
		if (strcmp(text, units->name) != 0)
			continue;
		if (r < 0 || __builtin_mul_overflow(value, units->factor, &value))
			return -ERANGE;
		*ret = value;
		return 0;
	}
	return -EINVAL;
}

int duration_parse_usec(const char *text, uint64_t *ret_usec)
{
	if (strcmp(text, "0") == 0) {
		*ret_usec = 0;
		return 0;
	}
	return parse(text, time_units, ret_usec);
}

int size_parse_bytes(const char *text, uint64_t *ret_bytes)
{
	return parse(text, size_units, ret_bytes);
}

int number_parse(const char *text, uint64_t *ret)
{
	return parse(text, no_units, ret);
}
