/*
 * Included by the compiler before each file of the code whose calls are to
 * fail: see failing.h.
 */
#pragma once

#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

void *failing_malloc(size_t size);
void *failing_calloc(size_t count, size_t size);
void *failing_realloc(void *data, size_t size);
void failing_free(void *data);
int failing_socket(int domain, int type, int protocol);
int failing_eventfd(unsigned int count, int flags);
int failing_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int failing_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr);
int failing_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);

#define malloc(size) failing_malloc(size)
#define calloc(count, size) failing_calloc(count, size)
#define realloc(data, size) failing_realloc(data, size)
#define free(data) failing_free(data)
#define socket(domain, type, protocol) failing_socket(domain, type, protocol)
#define eventfd(count, flags) failing_eventfd(count, flags)
#define pthread_create(thread, attr, start, arg) failing_pthread_create(thread, attr, start, arg)
#define pthread_cond_init(cond, attr) failing_pthread_cond_init(cond, attr)
#define pthread_mutex_init(mutex, attr) failing_pthread_mutex_init(mutex, attr)
