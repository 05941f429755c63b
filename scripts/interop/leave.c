/* A host that ends without C_Finalize, in each of the ways there are. Arguments: module, label, PIN, way.
 * Compiled and run by leave.sh, on its own and under valgrind. */

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static CK_FUNCTION_LIST *token;
static CK_SLOT_ID slot;
static CK_OBJECT_HANDLE key;

static void must(const char *what, CK_RV answer) {
    if (answer == CKR_OK)
        return;
    fprintf(stderr, "%s: 0x%lx\n", what, answer);
    _exit(1);
}

static CK_SESSION_HANDLE open_session(void) {
    CK_SESSION_HANDLE session;
    must("C_OpenSession", token->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
    return session;
}

static CK_RV sign(CK_SESSION_HANDLE session) {
    CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};
    unsigned char signature[512], data[] = "data";
    CK_ULONG length = sizeof signature;
    CK_RV answer = token->C_SignInit(session, &mechanism, key);
    return answer == CKR_OK ? token->C_Sign(session, data, sizeof data, signature, &length) : answer;
}

static void start(const char *module, const char *label, const char *pin) {
    void *library = dlopen(module, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(1);
    }
    CK_C_GetFunctionList list = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
    must("C_GetFunctionList", list(&token));
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    must("C_Initialize", token->C_Initialize(&args));
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    must("C_GetSlotList", token->C_GetSlotList(CK_TRUE, slots, &count));
    for (CK_ULONG at = 0; at < count; at++) {
        CK_TOKEN_INFO info;
        must("C_GetTokenInfo", token->C_GetTokenInfo(slots[at], &info));
        if (memcmp(info.label, label, strlen(label)) == 0)
            slot = slots[at];
    }
    CK_SESSION_HANDLE session = open_session();
    must("C_Login", token->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)));
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted = {CKA_CLASS, &class, sizeof class};
    must("C_FindObjectsInit", token->C_FindObjectsInit(session, &wanted, 1));
    must("C_FindObjects", token->C_FindObjects(session, &key, 1, &count));
    must("C_FindObjectsFinal", token->C_FindObjectsFinal(session));
    must("sign", sign(session));
}

static void *sign_for_ever(void *unused) {
    CK_SESSION_HANDLE session = open_session();
    /* Once the process ends, any answer is right; a crash is not. */
    while (sign(session) == CKR_OK)
        ;
    return unused;
}

static void *start_in_thread(void *arguments) {
    char **argv = arguments;
    start(argv[1], argv[2], argv[3]);
    return NULL;
}

static void finalize_at_exit(void) {
    token->C_Finalize(NULL);
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    const char *way = argv[4];
    pthread_t thread;
    if (strcmp(way, "finalize-in-atexit") == 0)
        atexit(finalize_at_exit); /* before the library is loaded, so it runs after the library's own */
    if (strcmp(way, "thread-that-ends") == 0) {
        pthread_create(&thread, NULL, start_in_thread, argv);
        pthread_join(thread, NULL);
    } else {
        start(argv[1], argv[2], argv[3]);
    }
    if (strcmp(way, "active-operation") == 0) {
        CK_MECHANISM mechanism = {CKM_SHA256_RSA_PKCS, NULL, 0};
        must("C_SignInit", token->C_SignInit(open_session(), &mechanism, key));
    }
    if (strcmp(way, "threads-at-work") == 0) {
        for (int at = 0; at < 4; at++)
            pthread_create(&thread, NULL, sign_for_ever, NULL);
        usleep(100 * 1000);
    }
    if (strcmp(way, "fork") == 0) {
        pid_t child = fork();
        if (child == 0) {
            must("C_Initialize in the child", token->C_Initialize(NULL));
            exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (status != 0)
            return 1;
        must("sign after the child has gone", sign(open_session()));
    }
    if (strcmp(way, "_exit") == 0)
        _exit(0);
    if (strcmp(way, "quick_exit") == 0)
        quick_exit(0);
    exit(0);
}
