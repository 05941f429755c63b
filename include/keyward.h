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

/* The life of a key (docs/lifecycle.md). All are read-only; those marked "maker" may stand in the template that makes the
 * key. Dates are CK_ULONG: seconds since 1970, UTC. A date that is not set reads as CKR_ATTRIBUTE_TYPE_INVALID.
 *
 * A search, and a C_GetAttributeValue, that names CKA_KEYWARD_STATE also sees keys that are to be destroyed and the
 * tombstones of those that are; to all others these do not exist. */
#define CKA_KEYWARD_STATE (CK_KEYWARD_BASE | 0x01UL)             /* CK_ULONG: CK_KEYWARD_STATE_... */
#define CKA_KEYWARD_VERSION (CK_KEYWARD_BASE | 0x02UL)           /* CK_ULONG, from 1 */
#define CKA_KEYWARD_LOGICAL_KEY (CK_KEYWARD_BASE | 0x03UL)       /* text: unique ID of version 1 */
#define CKA_KEYWARD_CLASS (CK_KEYWARD_BASE | 0x04UL)             /* maker; text: class of the policy */
#define CKA_KEYWARD_ACTIVATION_DATE (CK_KEYWARD_BASE | 0x05UL)   /* maker */
#define CKA_KEYWARD_PROTECT_STOP_DATE (CK_KEYWARD_BASE | 0x06UL) /* maker */
#define CKA_KEYWARD_PROCESS_STOP_DATE (CK_KEYWARD_BASE | 0x07UL) /* maker */
#define CKA_KEYWARD_DEACTIVATION_DATE (CK_KEYWARD_BASE | 0x08UL) /* maker */
#define CKA_KEYWARD_COMPROMISE_DATE (CK_KEYWARD_BASE | 0x09UL)
#define CKA_KEYWARD_DESTRUCTION_DATE (CK_KEYWARD_BASE | 0x0AUL)
#define CKA_KEYWARD_CREATION_DATE (CK_KEYWARD_BASE | 0x0BUL)
#define CKA_KEYWARD_STATE_DATE (CK_KEYWARD_BASE | 0x0CUL)        /* of the last change of state */
#define CKA_KEYWARD_STATE_REASON (CK_KEYWARD_BASE | 0x0DUL)      /* text */
#define CKA_KEYWARD_STATE_ACTOR (CK_KEYWARD_BASE | 0x0EUL)       /* text */
#define CKA_KEYWARD_STATE_BEFORE (CK_KEYWARD_BASE | 0x0FUL)      /* CK_ULONG: before a pending destruction */

/* The token's policy, signed by the security officer: an object that only a search for this class shows. CKA_VALUE is its text. */
#define CKO_KEYWARD_POLICY (CK_KEYWARD_BASE | 0x01UL)
#define CKA_KEYWARD_POLICY_NUMBER (CK_KEYWARD_BASE | 0x10UL)     /* CK_ULONG, one more with each that is applied */
#define CKA_KEYWARD_POLICY_KEY (CK_KEYWARD_BASE | 0x11UL)        /* Ed25519 public key */
#define CKA_KEYWARD_POLICY_SIGNATURE (CK_KEYWARD_BASE | 0x12UL)

/* CK_ULONG: how many uses of a key have been taken out of the limit that its class in the policy sets. */
#define CKA_KEYWARD_USES (CK_KEYWARD_BASE | 0x13UL)

#define CK_KEYWARD_STATE_PRE_ACTIVE 1UL
#define CK_KEYWARD_STATE_ACTIVE 2UL
#define CK_KEYWARD_STATE_DEACTIVATED 3UL
#define CK_KEYWARD_STATE_COMPROMISED 4UL
#define CK_KEYWARD_STATE_DESTROYED 5UL
#define CK_KEYWARD_STATE_SUSPENDED 6UL
#define CK_KEYWARD_STATE_PENDING_DESTROY 7UL

/* Object handles: the upper bits name the slot within this process, the lower 52 the object. Both are opaque to
 * callers; a handle is never given to a second object within a process. */

#ifdef __cplusplus
}
#endif

#endif
