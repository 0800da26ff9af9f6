/*
 * Notes which C functions ran (aws-lc, SQLite, mimalloc), which the profile of Rust code does not know. Linked into the
 * instrumented program by `make release`, never into one that users run: its C is compiled with
 * -finstrument-functions, which has each function call __cyg_profile_func_enter (GCC manual, "Instrumentation Options").
 * At the end of the process the addresses of those that ran, as in the program's file, go to RAN_DIRECTORY.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define NOT_ITSELF __attribute__((no_instrument_function))
/* Several times as many as there are functions: each lies where its address says, or in the next free place. */
#define PLACES 65536

/* Where the program lies in memory, set by the linker. */
extern const char __executable_start;

static _Atomic(uintptr_t) ran[PLACES];

NOT_ITSELF void __cyg_profile_func_enter(void *function, void *caller) {
    (void)caller;
    const uintptr_t address = (uintptr_t)function;
    for (uintptr_t tries = 0; tries < PLACES; tries++) {
        _Atomic(uintptr_t) *place = &ran[((address >> 4) + tries) % PLACES];
        uintptr_t there = atomic_load_explicit(place, memory_order_relaxed);
        if (there == 0 && atomic_compare_exchange_strong(place, &there, address)) {
            return;
        }
        if (there == address) {
            return;
        }
    }
}

NOT_ITSELF void __cyg_profile_func_exit(void *function, void *caller) {
    (void)function;
    (void)caller;
}

__attribute__((destructor)) NOT_ITSELF static void write_down(void) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%s.%d", RAN_DIRECTORY, program_invocation_short_name, (int)getpid());
    FILE *file = fopen(name, "w");
    if (file == NULL) {
        perror(name);
        return;
    }
    for (size_t place = 0; place < PLACES; place++) {
        const uintptr_t address = atomic_load(&ran[place]);
        if (address != 0) {
            fprintf(file, "%016jx\n", (uintmax_t)(address - (uintptr_t)&__executable_start));
        }
    }
    fclose(file);
}
