/* publish -l: a message for each line of stdin. */
#pragma once

#include "client/tool/post.h"

/* Publishes to the end of stdin. The exit code, told. */
int lines_publish(struct ctl *ctl, const struct post *post, unsigned int flags, char line_end);
