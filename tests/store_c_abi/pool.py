"""A pool of processes that signs with one key: pool.py WAY LIBRARY SLOT."""

import ctypes
import multiprocessing
import os
import sys
import threading

ULONG = ctypes.c_ulong
OK, NOT_INITIALIZED, USER = 0, 0x190, 1
CLASS, ID, PRIVATE_KEY, ECDSA = 0x0, 0x102, 3, 0x1041


class Attribute(ctypes.Structure):
    _fields_ = [("type", ULONG), ("value", ctypes.c_void_p), ("length", ULONG)]


class Mechanism(ctypes.Structure):
    _fields_ = [("mechanism", ULONG), ("parameter", ctypes.c_void_p), ("length", ULONG)]


module = session = key = None


def call(name, *arguments):
    function = getattr(module, name)
    function.restype = ULONG
    return function(*arguments)


def ok(name, *arguments):
    rv = call(name, *arguments)
    assert rv == OK, f"{name}: {rv:#x}"


def start(library, slot, forked):
    """Initialises the module in this process, logs in and finds the key."""
    global module, session, key
    if forked:
        assert call("C_GetSessionInfo", session, ctypes.byref((ULONG * 4)())) == NOT_INITIALIZED
    module = ctypes.CDLL(library)
    session, key = ULONG(), ULONG()
    ok("C_Initialize", None)
    ok("C_OpenSession", ULONG(slot), ULONG(4), None, None, ctypes.byref(session))
    pin = b"123456"
    ok("C_Login", session, ULONG(USER), pin, ULONG(len(pin)))
    wanted, name, count = ULONG(PRIVATE_KEY), ctypes.create_string_buffer(b"py", 2), ULONG()
    template = (Attribute * 2)(
        Attribute(CLASS, ctypes.cast(ctypes.byref(wanted), ctypes.c_void_p), ctypes.sizeof(wanted)),
        Attribute(ID, ctypes.cast(name, ctypes.c_void_p), 2),
    )
    ok("C_FindObjectsInit", session, template, ULONG(2))
    ok("C_FindObjects", session, ctypes.byref(key), ULONG(1), ctypes.byref(count))
    ok("C_FindObjectsFinal", session)
    assert count.value == 1


def sign(number):
    data, out, length = number.to_bytes(32, "big"), ctypes.create_string_buffer(64), ULONG(64)
    ok("C_SignInit", session, ctypes.byref(Mechanism(ECDSA, None, 0)), key)
    ok("C_Sign", session, data, ULONG(32), out, ctypes.byref(length))
    return out.raw


def main(way, library, slot):
    start(library, slot, False)
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            other = ULONG()
            ok("C_OpenSession", ULONG(slot), ULONG(4), None, None, ctypes.byref(other))
            ok("C_CloseSession", other)

    thread = threading.Thread(target=busy)
    thread.start()
    context = multiprocessing.get_context(way)
    with context.Pool(4, start, (library, slot, way == "fork")) as pool:
        signatures = pool.map(sign, range(63), chunksize=4)
        pool.close()
        pool.join()
    stop.set()
    thread.join()
    # The parent's session and login are as they were.
    signatures.append(sign(63))
    print(len(signatures), "signatures,", len(set(signatures)), "distinct")


if __name__ == "__main__":
    main(sys.argv[1], os.path.abspath(sys.argv[2]), int(sys.argv[3]))
