/* What a test wants the system to do to one process, loaded before the C library (ld.so(8), LD_PRELOAD): a wall
 * clock that is wrong, and name servers that fail or hang. The file that FAULTS names holds two 64-bit numbers,
 * which may change at any time: seconds to add to the clock, and 0, 1 (names fail) or 2 (names hang). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t none[2];
static volatile int64_t *faults = none;

__attribute__((constructor)) static void map(void) {
  const char *name = getenv("FAULTS");
  int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) faults = mapped;
}

int clock_gettime(clockid_t id, struct timespec *time) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, time);
  if (result == 0 && id == CLOCK_REALTIME) time->tv_sec += faults[0];
  return result;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  if (!real)
    real = (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT,
                                                                                                  "getaddrinfo");
  while (faults[1] == 2) usleep(20000);
  if (faults[1] == 1) return EAI_AGAIN;
  return real(node, service, hints, found);
}
