/* A PKCS#11 module that stands before another one and does wrong on demand.
 *
 * FAULTY_MODULE    the module behind it
 * FAULTY_CONTROL   a file that is read at every call; without it nothing is wrong. Its lines:
 *     C_Sign rv 0x30            answers this code and does nothing
 *     C_Sign rv 0x30 2          the first two times since the file was written
 *     C_Sign after 0x30 1       does it, and then answers this code
 *     C_Sign crash              writes to address 8
 *     C_Sign crash once         the first time since the file was written
 *     C_Sign exit               ends the process
 *     C_Sign leak 50            takes so many megabytes and forgets them
 *     C_Sign hang 60000         sleeps so many milliseconds first
 *     C_Sign logout 1           logs out first, as an HSM does that forgets; the first time since the file was written
 *     C_Sign number 5 0xffff    writes this number through its fifth argument after the call
 *     C_Sign number 5 0xff 16   the same, 16 bytes behind where that leads
 *     C_Initialize no-threads 9 answers this code where CKF_LIBRARY_CANT_CREATE_OS_THREADS is set
 *     C_Initialize no-locks 10  answers this code where CKF_OS_LOCKING_OK is set
 *     Counts are kept beside it, in the file with .seen at its end: they outlive a process.
 * FAULTY_LOAD      if "crash", crashes while it is loaded
 * FAULTY_TRACE     a file to which the name of every function that is called is appended, and "flags N" at C_Initialize
 * FAULTY_INTERFACE if set, it is a module of PKCS#11 3.2 as the one behind it is; else of 2.40
 * FAULTY_CONF      what SOFTHSM2_CONF is before the module behind it is initialised
 *
 * Compiled with -DSUFFIX='"_X"' the names are FAULTY_MODULE_X and so on, so that several can stand side by side.
 *
 * No header: a function list is its version and pointers, and all arguments are words (System V ABI).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SUFFIX
#define SUFFIX ""
#endif
#define ENV(name) getenv("FAULTY_" name SUFFIX)

typedef unsigned long word;
typedef word (*function)(word, word, word, word, word, word, word, word, word, word);

#define FUNCTIONS_2_40(X) \
    X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetFunctionList) X(C_GetSlotList) X(C_GetSlotInfo) X(C_GetTokenInfo) \
    X(C_GetMechanismList) X(C_GetMechanismInfo) X(C_InitToken) X(C_InitPIN) X(C_SetPIN) X(C_OpenSession) X(C_CloseSession) \
    X(C_CloseAllSessions) X(C_GetSessionInfo) X(C_GetOperationState) X(C_SetOperationState) X(C_Login) X(C_Logout) \
    X(C_CreateObject) X(C_CopyObject) X(C_DestroyObject) X(C_GetObjectSize) X(C_GetAttributeValue) X(C_SetAttributeValue) \
    X(C_FindObjectsInit) X(C_FindObjects) X(C_FindObjectsFinal) X(C_EncryptInit) X(C_Encrypt) X(C_EncryptUpdate) \
    X(C_EncryptFinal) X(C_DecryptInit) X(C_Decrypt) X(C_DecryptUpdate) X(C_DecryptFinal) X(C_DigestInit) X(C_Digest) \
    X(C_DigestUpdate) X(C_DigestKey) X(C_DigestFinal) X(C_SignInit) X(C_Sign) X(C_SignUpdate) X(C_SignFinal) \
    X(C_SignRecoverInit) X(C_SignRecover) X(C_VerifyInit) X(C_Verify) X(C_VerifyUpdate) X(C_VerifyFinal) \
    X(C_VerifyRecoverInit) X(C_VerifyRecover) X(C_DigestEncryptUpdate) X(C_DecryptDigestUpdate) X(C_SignEncryptUpdate) \
    X(C_DecryptVerifyUpdate) X(C_GenerateKey) X(C_GenerateKeyPair) X(C_WrapKey) X(C_UnwrapKey) X(C_DeriveKey) \
    X(C_SeedRandom) X(C_GenerateRandom) X(C_GetFunctionStatus) X(C_CancelFunction) X(C_WaitForSlotEvent)

#define FUNCTIONS_3_2(X) \
    X(C_GetInterfaceList) X(C_GetInterface) X(C_LoginUser) X(C_SessionCancel) X(C_MessageEncryptInit) X(C_EncryptMessage) \
    X(C_EncryptMessageBegin) X(C_EncryptMessageNext) X(C_MessageEncryptFinal) X(C_MessageDecryptInit) X(C_DecryptMessage) \
    X(C_DecryptMessageBegin) X(C_DecryptMessageNext) X(C_MessageDecryptFinal) X(C_MessageSignInit) X(C_SignMessage) \
    X(C_SignMessageBegin) X(C_SignMessageNext) X(C_MessageSignFinal) X(C_MessageVerifyInit) X(C_VerifyMessage) \
    X(C_VerifyMessageBegin) X(C_VerifyMessageNext) X(C_MessageVerifyFinal) X(C_EncapsulateKey) X(C_DecapsulateKey) \
    X(C_VerifySignatureInit) X(C_VerifySignature) X(C_VerifySignatureUpdate) X(C_VerifySignatureFinal) \
    X(C_GetSessionValidationFlags) X(C_AsyncComplete) X(C_AsyncGetID) X(C_AsyncJoin) X(C_WrapKeyAuthenticated) \
    X(C_UnwrapKeyAuthenticated)

enum {
#define NUMBER(name) N_##name,
    FUNCTIONS_2_40(NUMBER) FUNCTIONS_3_2(NUMBER) COUNT
};

static const char *const names[] = {
#define NAME(name) #name,
    FUNCTIONS_2_40(NAME) FUNCTIONS_3_2(NAME)
};

struct list {
    unsigned char version[2];
    function functions[COUNT];
};

struct interface {
    const char *name;
    struct list *list;
    word flags;
};

static struct list *inner;

static struct list *behind(void) {
    if (!inner) {
        const char *path = ENV("MODULE");
        void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        if (!library) abort();
        if (ENV("INTERFACE")) {
            word (*get)(const char *, const unsigned char *, struct interface **, word) = dlsym(library, "C_GetInterface");
            const unsigned char version[2] = {3, 2};
            struct interface *found;
            if (!get || get("PKCS 11", version, &found, 0) != 0) abort();
            return inner = found->list;
        }
        word (*get)(struct list **) = dlsym(library, "C_GetFunctionList");
        if (!get || get(&inner) != 0) abort();
    }
    return inner;
}

static void trace(const char *name) {
    const char *path = ENV("TRACE");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file < 0) return;
    dprintf(file, "%s\n", name);
    close(file);
}

/* How often the function was called since the control file was written, this call included. What others append meanwhile stands
 * behind this call's line and does not count: of calls at the same time each has a number of its own. */
static word times_seen(const char *control, const char *name) {
    char path[4096], line[64];
    snprintf(path, sizeof path, "%s.seen", control);
    int appended = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (appended < 0) return 0;
    dprintf(appended, "%s\n", name);
    off_t end = lseek(appended, 0, SEEK_CUR);
    close(appended);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    word count = 0;
    while (ftello(file) < end && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        count += !strcmp(line, name);
    }
    fclose(file);
    return count;
}

__attribute__((constructor)) static void loaded(void) {
    const char *how = getenv("FAULTY_LOAD");
    if (how && !strcmp(how, "crash")) *(volatile int *)8 = 1;
}

static word call(int number, word a, word b, word c, word d, word e, word f, word g, word h, word i, word j) {
    trace(names[number]);
    word flags = 0;
    if (number == N_C_Initialize) {
        struct { void *functions[4]; word flags; } *how = (void *)a;
        char told[64];
        flags = how ? how->flags : 0;
        snprintf(told, sizeof told, "flags %lu%s", flags, how && how->functions[0] ? " functions" : "");
        trace(told);
    }
    word args[10] = {a, b, c, d, e, f, g, h, i, j};
    char line[200], name[64], what[16], one[32], two[32], three[32];
    word after = 0, place = 0, value = 0, behind_it = 0;
    const char *path = ENV("CONTROL");
    FILE *control = path ? fopen(path, "r") : NULL;
    word seen = control ? times_seen(path, names[number]) : 0;
    while (control && fgets(line, sizeof line, control)) {
        one[0] = two[0] = three[0] = 0;
        int found = sscanf(line, "%63s %15s %31s %31s %31s", name, what, one, two, three);
        if (found < 2 || strcmp(name, names[number])) continue;
        word first = strtoul(one, NULL, 0), second = strtoul(two, NULL, 0);
        if (!strcmp(what, "crash") && (!one[0] || seen == 1)) *(volatile int *)8 = 1;
        if (!strcmp(what, "exit")) exit(3);
        if (!strcmp(what, "leak")) memset(malloc(first << 20), 1, first << 20);
        if (!strcmp(what, "hang") && (!two[0] || seen <= second)) usleep(first * 1000);
        int forbidden = !strcmp(what, "no-threads") && flags & 1 || !strcmp(what, "no-locks") && flags & 2;
        if (forbidden || !strcmp(what, "rv") && (!two[0] || seen <= second)) {
            fclose(control);
            return first;
        }
        if (!strcmp(what, "after") && (!two[0] || seen <= second)) after = first;
        if (!strcmp(what, "logout") && (!one[0] || seen <= first)) behind()->functions[N_C_Logout](a, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        if (!strcmp(what, "number")) place = first, value = second, behind_it = strtoul(three, NULL, 0);
    }
    if (control) fclose(control);
    /* A vendor's mechanism: what it was given is told, and nothing is done. */
    struct { word type; unsigned char *parameter; word length; } *mechanism = (void *)b;
    if (strstr(names[number], "Init") && number >= N_C_EncryptInit && number <= N_C_VerifyRecoverInit && mechanism->type >> 31) {
        char hex[256] = "";
        for (word at = 0; at < mechanism->length && at < 100; at++) sprintf(hex + 2 * at, "%02x", mechanism->parameter[at]);
        trace(hex);
        return 0x70;
    }
    const char *conf = number == N_C_Initialize ? ENV("CONF") : NULL;
    if (conf) setenv("SOFTHSM2_CONF", conf, 1);
    function function = behind()->functions[number];
    word rv = function ? function(a, b, c, d, e, f, g, h, i, j) : 0x54;
    if (place && args[place - 1]) *(word *)(args[place - 1] + behind_it) = value;
    return after ? after : rv;
}

#define ENTRY(name) \
    static word own_##name(word a, word b, word c, word d, word e, word f, word g, word h, word i, word j) { \
        return call(N_##name, a, b, c, d, e, f, g, h, i, j); \
    }
FUNCTIONS_2_40(ENTRY)
FUNCTIONS_3_2(ENTRY)

static struct list list = {{2, 40}, {
#define POINTER(name) own_##name,
    FUNCTIONS_2_40(POINTER) FUNCTIONS_3_2(POINTER)
}};

word C_GetInterface(const char *name, const unsigned char *version, struct interface **out, word flags) {
    static struct list newest;
    static struct interface interface = {"PKCS 11", &newest, 0};
    if (!ENV("INTERFACE")) return 0x54;
    newest = list;
    newest.version[0] = 3, newest.version[1] = 2;
    *out = &interface;
    return 0;
}

word C_GetFunctionList(struct list **out) {
    const char *version = ENV("VERSION");
    if (version) list.version[0] = (unsigned char)atoi(version);
    *out = &list;
    return 0;
}
