/* Keyward's additions to PKCS#11, for C callers. MIT OR Apache-2.0.
 *
 * Include a PKCS#11 header first (OASIS pkcs11.h, or p11-kit's). The functions are those of PKCS#11 3.2 and no others:
 * take them from C_GetInterface (versions 3.2, 3.0 and 2.40 of "PKCS 11") or from C_GetFunctionList (2.40).
 *
 * Vendor-defined attributes, mechanisms and object classes have numbers from one block: the vendor bit, then "KW".
 */
#ifndef KEYWARD_H
#define KEYWARD_H

#ifdef __cplusplus
extern "C" {
#endif

/* CKA_VENDOR_DEFINED, CKM_VENDOR_DEFINED and CKO_VENDOR_DEFINED are all 0x80000000. */
#define CK_KEYWARD_BASE (0x80000000UL | 0x4B570000UL)

/* Object handles: the upper bits name the slot within this process, the lower 52 the object. Both are opaque to
 * callers; a handle is never given to a second object within a process. */

#ifdef __cplusplus
}
#endif

#endif
