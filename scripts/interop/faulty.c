/* A module with a fault: it writes to memory that it has given back. What looks for such faults must find this one.
 * Environment: FAULTY_OVER, the module that does the rest. */
#include <dlfcn.h>
#include <stdlib.h>
#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST *rest, list;

static CK_RV get_info(CK_INFO *info)
{
    char *volatile memory = malloc(100);
    free(memory);
    ((volatile char *)memory)[50] = 1;
    return rest->C_GetInfo(info);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **functions)
{
    void *library = dlopen(getenv("FAULTY_OVER"), RTLD_NOW);
    CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : NULL;
    if (!get || get(&rest) != CKR_OK)
        return CKR_GENERAL_ERROR;
    list = *rest;
    list.C_GetInfo = get_info;
    *functions = &list;
    return CKR_OK;
}
