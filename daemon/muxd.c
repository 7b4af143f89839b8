#include "config.h"

#include "daemon/muxd-private.h"

#include "daemon/base/log.h"
#include "daemon/notify.h"
#include "daemon/translate.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MODE_MASK 0777u

void muxd_log_errors(const struct conf_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		log_error("%s", errors->texts[i]);
	if (errors->incomplete)
		log_error("there is more, but no memory to tell it");
}

/* ------------------------------------------------------------------ hooks and callbacks */

static void random_bytes(void *context, void *out, size_t count)
{
	uint8_t *at = out;

	while (count > 0) {
		ssize_t n = getrandom(at, count, 0);

		assert(n > 0 || errno == EINTR);
		if (n > 0) {
			at += n;
			count -= (size_t)n;
		}
	}
}

static bool sha256(void *context, struct span of, uint8_t ret[MUX_DIGEST_BYTES])
{
	unsigned int len;

	return EVP_Digest(of.data, of.len, ret, &len, EVP_sha256(), NULL) == 1;
}

static bool admit(void *context, const struct mux_creds *creds, const char *upstream,
		  struct front_limits *limits, struct fault *ret_fault)
{
	struct muxd *muxd = context;
	struct limits lowered;

	if (!gate_admit(muxd->gate, creds, upstream, &lowered, ret_fault))
		return false;
	limits->message_max = lowered.message_max_bytes;
	limits->session_memory = lowered.session_memory_bytes;
	limits->channels_max = (uint32_t)lowered.channels_per_session;
	limits->sessions_per_uid = (uint32_t)lowered.sessions_per_uid;
	return true;
}

static bool control(void *context, const struct mux_creds *creds, const char *upstream,
		    struct fault *ret_fault)
{
	struct muxd *muxd = context;

	return gate_control(muxd->gate, creds, upstream, ret_fault);
}

static bool authorize(void *context, const struct mux_creds *creds, const char *upstream,
		      const struct amqc_method *method, struct fault *ret_fault)
{
	struct muxd *muxd = context;

	return gate_authorize(muxd->gate, creds, upstream, method, ret_fault);
}

static void on_accept(void *context, int fd)
{
	struct muxd *muxd = context;

	front_accept(muxd->front, fd);
}

static void on_upstream_changed(void *context)
{
	struct muxd_upstream *upstream = context;

	upstream->changed = true;
}

static void hook_begin(void *context, struct mono now)
{
	struct muxd *muxd = context;

	mux_set_now(muxd->mux, now);
}

static struct mono hook_next_deadline(void *context)
{
	struct muxd *muxd = context;

	return mux_next_deadline(muxd->mux);
}

static void hook_run_timers(void *context)
{
	struct muxd *muxd = context;

	mux_run_timers(muxd->mux);
}

static void hook_turn(void *context)
{
	struct muxd *muxd = context;

	drain_turn(muxd); /* before what it makes mux write is passed on */
	mux_turn(muxd->mux);
	for (size_t i = 0; i < muxd->upstream_count; i++)
		uplink_turn(muxd->upstreams[i].uplink);
	report_turn(muxd);
}

static uint64_t hook_pause_usec(void *context)
{
	const struct muxd *muxd = context;

	return mux_pause_usec(muxd->mux);
}

static const struct loop_hooks hooks = {hook_begin, hook_next_deadline, hook_run_timers, hook_turn,
					hook_pause_usec};

/* ------------------------------------------------------------------ signals */

/* Only what can change while everything runs: the log level. */
static void reload(struct muxd *muxd)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	struct conf *conf;
	int r;

	notify_reloading();
	r = conf_load(muxd->options.source, &conf, &errors);
	if (r < 0) {
		muxd_log_errors(&errors);
		log_error("reload: the configuration stays as it was: %s",
			  r == -EINVAL ? "the new one has errors" : strerror(-r));
	} else {
		if (!muxd->options.keeps_log_level)
			log_set_level(conf->log_level);
		log_notice("reload: the log level is %s; any other change needs a restart",
			   log_level_name(log_get_level()));
		conf_free(conf);
	}
	conf_errors_deinit(&errors);
	notify_ready();
}

static void on_signal(void *context, int signal_number)
{
	struct muxd *muxd = context;

	switch (signal_number) {
	case SIGHUP:
		reload(muxd);
		break;
	case SIGUSR1:
		report_dump(muxd);
		break;
	default:
		log_notice("%s: %s", strsignal(signal_number),
			   muxd->phase == MUXD_RUNNING ? "muxd leaves" : "muxd hurries");
		drain_begin(muxd);
		break;
	}
}

static int watch_signals(struct muxd *muxd)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int r = loop_watch_signal(muxd->loop, signals[i], on_signal, muxd);

		if (r < 0)
			return r;
	}
	return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -errno : 0;
}

/* ------------------------------------------------------------------ making */

static int make_mux(struct muxd *muxd)
{
	struct mux_options options = {
	    .limits = translate_limits(muxd->options.conf),
	    .authorize = authorize,
	    .random = random_bytes,
	    .digest = sha256,
	    .context = muxd,
	};
	int r = mux_new(&options, &muxd->mux);

	if (r == 0)
		loop_set_hooks(muxd->loop, &hooks, muxd);
	if (r == 0)
		mux_set_now(muxd->mux, loop_now(muxd->loop));
	return r;
}

static int make_front(struct muxd *muxd)
{
	const struct conf_limits *limits = &muxd->options.conf->limits;
	struct front_options options = {
	    .loop = muxd->loop,
	    .mux = muxd->mux,
	    .version = PACKAGE_VERSION,
	    .limits = {limits->message_max_bytes, limits->session_memory_bytes,
		       (uint32_t)limits->channels_per_session, (uint32_t)limits->sessions_per_uid},
	    .sessions_max = (uint32_t)limits->sessions,
	    .admit = admit,
	    .control = control,
	    .context = muxd,
	};

	return front_new(&options, &muxd->front);
}

static enum muxd_result make_upstream(struct muxd *muxd, size_t index, struct conf_errors *errors)
{
	struct muxd_upstream *upstream = &muxd->upstreams[index];
	struct translated_upstream translated;
	int r = translate_upstream(&muxd->options.conf->upstreams[index], errors, &translated);
	bool is_conf = r < 0 && r != -ENOMEM;

	if (r == 0) {
		struct uplink_options options = {
		    .loop = muxd->loop,
		    .resolver = muxd->resolver,
		    .mux = muxd->mux,
		    .upstream = &translated.options,
		    .endpoints = translated.uplink_endpoints,
		    .tls = translated.tls,
		    .changed = on_upstream_changed,
		    .context = upstream,
		};
		r = uplink_new(&options, &upstream->uplink);
		if (r == 0)
			translated.tls = NULL;
	}
	for (size_t i = 0; i < translated.warnings.count; i++)
		log_warning("%s", translated.warnings.texts[i]);
	translated_upstream_deinit(&translated);
	if (r < 0 && !is_conf)
		log_error("cannot set up upstream \"%s\": %s", muxd->options.conf->upstreams[index].name,
			  strerror(-r));
	return r == 0 ? MUXD_OK : is_conf ? MUXD_BAD_CONFIG : MUXD_FAILED;
}

static enum muxd_result make_upstreams(struct muxd *muxd, struct conf_errors *errors)
{
	enum muxd_result result = MUXD_OK;

	muxd->upstreams = calloc(muxd->options.conf->upstream_count, sizeof(*muxd->upstreams));
	if (!muxd->upstreams)
		return MUXD_FAILED;
	while (result == MUXD_OK && muxd->upstream_count < muxd->options.conf->upstream_count) {
		result = make_upstream(muxd, muxd->upstream_count, errors);
		if (result == MUXD_OK)
			muxd->upstream_count++;
	}
	return result;
}

static enum muxd_result make_listener(struct muxd *muxd, struct conf_errors *errors)
{
	const struct conf *conf = muxd->options.conf;
	struct listener_options options = {on_accept, muxd};
	struct listener_unix_options where = {
	    .path = muxd->options.socket, .mode = (mode_t)conf->socket_mode & MODE_MASK, .group = (gid_t)-1};
	char error[LISTENER_ERROR_MAX];
	int r;

	if (translate_group(conf, errors, &where.group) < 0)
		return MUXD_BAD_CONFIG;
	if (muxd->options.inherited_fd >= 0)
		r = listener_new_inherited(muxd->loop, &options, muxd->options.inherited_fd, error,
					   &muxd->listener);
	else
		r = listener_new_unix(muxd->loop, &options, &where, error, &muxd->listener);
	if (r == 0)
		return MUXD_OK;
	log_error("%s", *error ? error : strerror(-r));
	return r == -ENAMETOOLONG ? MUXD_BAD_CONFIG : MUXD_FAILED;
}

static int make_base(struct muxd *muxd)
{
	int r = loop_new(&muxd->loop);

	if (r == 0)
		r = resolver_new(muxd->loop, &muxd->resolver);
	if (r == 0)
		r = make_mux(muxd);
	if (r == 0)
		r = make_front(muxd);
	if (r == 0)
		r = watch_signals(muxd);
	if (r < 0)
		log_error("cannot start: %s", strerror(-r));
	return r;
}

static enum muxd_result make_all(struct muxd *muxd, struct conf_errors *errors)
{
	enum muxd_result result;
	int r = gate_new(muxd->options.conf, errors, &muxd->gate);

	if (r < 0)
		return r == -EINVAL ? MUXD_BAD_CONFIG : MUXD_FAILED;
	if (make_base(muxd) < 0)
		return MUXD_FAILED;
	result = make_upstreams(muxd, errors);
	return result == MUXD_OK ? make_listener(muxd, errors) : result;
}

int muxd_check(struct conf *conf, struct conf_errors *errors)
{
	struct gate *gate = NULL;
	gid_t group;
	int r = gate_new(conf, errors, &gate);

	(void)gate_free(gate);
	if (translate_group(conf, errors, &group) < 0)
		r = -EINVAL;
	for (size_t i = 0; i < conf->upstream_count; i++) {
		struct translated_upstream translated;

		if (translate_upstream(&conf->upstreams[i], errors, &translated) < 0)
			r = -EINVAL;
		for (size_t k = 0; k < translated.warnings.count; k++)
			translate_error(&conf->warnings, "%s", translated.warnings.texts[k]);
		translated_upstream_deinit(&translated);
	}
	return r;
}

enum muxd_result muxd_new(const struct muxd_options *options, struct muxd **ret)
{
	struct muxd *muxd = calloc(1, sizeof(*muxd));
	struct conf_errors errors = CONF_ERRORS_INIT;
	enum muxd_result result;

	if (!muxd) {
		log_error("cannot start: %s", strerror(ENOMEM));
		return MUXD_FAILED;
	}
	muxd->options = *options;
	result = make_all(muxd, &errors);
	muxd_log_errors(&errors);
	conf_errors_deinit(&errors);
	if (result == MUXD_OK)
		*ret = muxd;
	else
		muxd_free(muxd);
	return result;
}

enum muxd_result muxd_run(struct muxd *muxd)
{
	int r;

	for (size_t i = 0; i < muxd->upstream_count; i++)
		upstream_start(uplink_upstream(muxd->upstreams[i].uplink));
	log_notice("muxd %s listens on %s", PACKAGE_VERSION,
		   muxd->options.inherited_fd >= 0 ? "the socket that systemd handed over"
						   : muxd->options.socket);
	report_init(muxd);
	notify_ready();
	r = loop_run(muxd->loop);
	report_deinit(muxd);
	if (r < 0)
		log_error("the event loop failed: %s", strerror(-r));
	else
		log_notice("muxd has ended");
	return r < 0 ? MUXD_FAILED : MUXD_OK;
}

struct muxd *muxd_free(struct muxd *muxd)
{
	if (!muxd)
		return NULL;
	(void)listener_close(muxd->listener);
	(void)front_free(muxd->front);
	mux_free(muxd->mux);
	for (size_t i = 0; i < muxd->upstream_count; i++)
		(void)uplink_free(muxd->upstreams[i].uplink);
	free(muxd->upstreams);
	(void)resolver_free(muxd->resolver);
	(void)loop_free(muxd->loop);
	(void)gate_free(muxd->gate);
	free(muxd);
	return NULL;
}
