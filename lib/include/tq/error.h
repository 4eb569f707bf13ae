/* Statuses and error messages: how every function of libtq that can fail reports it.
 *
 * A function that can fail returns a tq_status and, when that is not TQ_OK, fills the tq_error it was
 * given. The library never prints, exits, aborts or installs a signal handler. */
#ifndef TQ_ERROR_H
#define TQ_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The values are the tools' exit statuses. */
typedef enum tq_status {
  TQ_OK = 0,
  TQ_ERROR_SYSTEM = 1,  /* the system failed: I/O or memory */
  TQ_ERROR_USAGE = 2,   /* the caller's arguments are wrong */
  TQ_ERROR_CORRUPT = 3, /* the input is corrupt, or of a kind that is not understood */
  TQ_ERROR_REFUSED = 4, /* refused, because something would be lost */
  TQ_DIFFERENT = 5      /* compared, and different */
} tq_status;

/* One line of text without a newline; bytes of hostile names that are not printable are escaped as \xHH. */
typedef struct tq_error {
  tq_status status;
  char message[640];
} tq_error;

#if defined(__GNUC__)
#define TQ_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define TQ_PRINTF(format_index, first_argument)
#endif

/* Fills *error, which may be NULL. */
void tq_error_set(tq_error *error, tq_status status, const char *format, ...) TQ_PRINTF(3, 4);

/* Fills *error and has the value `status`: `return tq_fail(error, TQ_ERROR_CORRUPT, "%s: ...", name, ...)`. A macro, so
 * that compilers see which status is returned. */
#define tq_fail(error, status, ...) (tq_error_set((error), (status), __VA_ARGS__), (tq_status)(status))

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
