#include "daemon/plan.h"

#include <errno.h>
#include <stdlib.h>

/* What happened first, but that there was no memory says it all. */
static int worse_of(int a, int b)
{
	return a == -ENOMEM || b == 0 ? a : b == -ENOMEM || a == 0 ? b : a;
}

int plan_make(struct conf *conf, struct plan *ret, struct conf_errors *errors)
{
	int r;

	*ret = (struct plan){.upstreams = calloc(conf->upstream_count, sizeof(*ret->upstreams))};
	if (!ret->upstreams)
		return -ENOMEM;
	r = gate_new(conf, errors, &ret->gate);
	r = worse_of(r, translate_group(conf, errors, &ret->group));
	for (; ret->upstream_count < conf->upstream_count; ret->upstream_count++) {
		struct translated_upstream *upstream = &ret->upstreams[ret->upstream_count];
		int one = translate_upstream(&conf->upstreams[ret->upstream_count], errors, upstream);

		for (size_t k = 0; k < upstream->warnings.count; k++)
			translate_error(&conf->warnings, "%s", upstream->warnings.texts[k]);
		r = worse_of(r, one < 0 && one != -ENOMEM ? -EINVAL : one);
	}
	return r;
}

void plan_deinit(struct plan *plan)
{
	(void)gate_free(plan->gate);
	for (size_t i = 0; i < plan->upstream_count; i++)
		translated_upstream_deinit(&plan->upstreams[i]);
	free(plan->upstreams);
	*plan = (struct plan){0};
}
