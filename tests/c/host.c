/* An application of the shared library, as C applications are: loads it, walks it, unloads it, and loads it again.
 *
 *   host LIBRARY walk NAME...   every NAME is exported; interfaces, lists, initialise, info, finalise; three times over
 *   host LIBRARY threads        load, use and unload in threads that end
 *   host LIBRARY leave          ends without C_Finalize
 *   host LIBRARY atexit         calls C_Finalize in an exit handler
 *   host LIBRARY fork           child and parent, each its own
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../include/keyward.h"

typedef unsigned long ulong_t;
typedef struct { unsigned char major, minor; } version_t;
typedef struct { const char *name; void *list; ulong_t flags; } interface_t;
typedef struct {
    version_t cryptoki;
    unsigned char manufacturer[32];
    ulong_t flags;
    unsigned char description[32];
    version_t library;
} info_t;
/* The head of every function list. */
typedef struct {
    version_t version;
    ulong_t (*initialize)(void *);
    ulong_t (*finalize)(void *);
    ulong_t (*get_info)(info_t *);
    ulong_t (*get_function_list)(void *);
} list_t;

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "host.c:%d: not so: %s\n", __LINE__, #what);                                               \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static const char *library;

/* A host may have functions of these names itself (a proxy module has): the library's lists must not lead here. */
ulong_t C_Initialize(void *args);
ulong_t C_Initialize(void *args) {
    (void)args;
    return 0xbad;
}

static void *open_library(void) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) fprintf(stderr, "%s\n", dlerror());
    CHECK(handle);
    return handle;
}

static list_t *function_list(void *handle) {
    ulong_t (*get)(list_t **);
    list_t *list = NULL;
    *(void **)&get = dlsym(handle, "C_GetFunctionList");
    CHECK(get && get(&list) == 0 && list);
    CHECK(list->version.major == 2 && list->version.minor == 40);
    CHECK(list->initialize != C_Initialize);
    return list;
}

static void interfaces(void *handle) {
    static const version_t expected[3] = {{3, 2}, {3, 0}, {2, 40}};
    ulong_t (*get_list)(interface_t *, ulong_t *);
    ulong_t (*get)(const char *, version_t *, interface_t **, ulong_t);
    interface_t all[3], *one = NULL;
    ulong_t count = 0, i;
    *(void **)&get_list = dlsym(handle, "C_GetInterfaceList");
    *(void **)&get = dlsym(handle, "C_GetInterface");
    CHECK(get_list && get && get_list(NULL, &count) == 0 && count == 3 && get_list(all, &count) == 0);
    for (i = 0; i < count; i++) {
        list_t *list = all[i].list;
        CHECK(strcmp(all[i].name, "PKCS 11") == 0);
        CHECK(list->version.major == expected[i].major && list->version.minor == expected[i].minor);
        CHECK(list->initialize != C_Initialize);
        CHECK(get("PKCS 11", &list->version, &one, 0) == 0 && one->list == list);
    }
    CHECK(get(NULL, NULL, &one, 1) == 0 && one->list == all[0].list);
}

static void use(list_t *list) {
    info_t info;
    CHECK(list->get_info(&info) == 0x190); /* CKR_CRYPTOKI_NOT_INITIALIZED */
    CHECK(list->initialize(NULL) == 0);
    CHECK(list->get_info(&info) == 0 && info.cryptoki.major == 3 && info.cryptoki.minor == 2);
    CHECK(memcmp(info.manufacturer, "Keyward", 7) == 0 && info.manufacturer[31] == ' ');
    CHECK(list->finalize(NULL) == 0);
    CHECK(list->finalize(NULL) == 0x190);
}

static void walk(char **names) {
    for (int round = 0; round < 3; round++) {
        void *handle = open_library();
        for (char **name = names; *name; name++) CHECK(dlsym(handle, *name));
        interfaces(handle);
        use(function_list(handle));
        CHECK(dlclose(handle) == 0);
    }
}

static void *load_and_leave(void *unused) {
    void *handle = open_library();
    use(function_list(handle));
    dlclose(handle);
    return unused;
}

static void threads(void) {
    for (int round = 0; round < 50; round++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, load_and_leave, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

static list_t *to_finalize;

static void finalize_late(void) { CHECK(to_finalize->finalize(NULL) == 0); }

static void forked(void) {
    list_t *list = function_list(open_library());
    info_t info;
    int status = 1;
    CHECK(list->initialize(NULL) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(list->get_info(&info) == 0x190);
        use(list);
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(list->get_info(&info) == 0);
    CHECK(list->finalize(NULL) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc >= 3 && CK_KEYWARD_BASE == 0xCB570000UL);
    library = argv[1];
    if (strcmp(argv[2], "walk") == 0) {
        walk(argv + 3);
    } else if (strcmp(argv[2], "threads") == 0) {
        threads();
    } else if (strcmp(argv[2], "fork") == 0) {
        forked();
    } else {
        to_finalize = function_list(open_library());
        CHECK(to_finalize->initialize(NULL) == 0);
        if (strcmp(argv[2], "atexit") == 0) CHECK(atexit(finalize_late) == 0);
    }
    return 0;
}
