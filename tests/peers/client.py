"""What an application does with pymemcache, for the tests.

    client.py burst PORT      increments `errors` 50 times in a second; prints when, as JSON
    client.py commands PORT   round trips of every basic command against an empty server

`commands` holds for memcached itself and for a tallyd with `missing_incr = "not_found"`.
"""

import json
import sys
import time

from pymemcache import serde
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError

TIMES = 50


def connect(port, **options):
    return Client(("127.0.0.1", port), connect_timeout=10, timeout=10, **options)


def burst(port):
    client = connect(port)
    first = time.time()
    for count in range(1, TIMES + 1):
        time.sleep(max(0, first + (count - 1) / TIMES - time.time()))
        expect("incr", client.incr("errors", 1), count)
    last = time.time()
    print(json.dumps({"first": first, "last": last}))


def commands(port):
    client = connect(port)

    # Values, byte for byte.
    expect("set", client.set("text", b"caf\xc3\xa9", noreply=False), True)
    expect("get", client.get("text"), b"caf\xc3\xa9")
    expect("get missing", client.get("nothing"), None)
    expect("get missing with a default", client.get("nothing", "default"), "default")
    for name, value in {
        "empty": b"",
        "line ends": b"a\r\nb\r\nEND\r\n",
        "every byte": bytes(range(256)),
        "large": b"x" * 1_000_000,
    }.items():
        expect(f"set {name}", client.set("value", value, noreply=False), True)
        expect(f"get {name}", client.get("value"), value)
    expect("longest key", client.set("k" * 250, b"v", noreply=False), True)
    expect("get longest key", client.get("k" * 250), b"v")

    # Conditions.
    expect("add", client.add("added", b"1st", noreply=False), True)
    expect("add again", client.add("added", b"2nd", noreply=False), False)
    expect("replace", client.replace("added", b"3rd", noreply=False), True)
    expect("replace missing", client.replace("nothing", b"v", noreply=False), False)
    expect("get replaced", client.get("added"), b"3rd")

    # The unique number changes with the value, and only then.
    value, unique = client.gets("text")
    expect("gets", value, b"caf\xc3\xa9")
    expect("gets again", client.gets("text"), (value, unique))
    client.set("text", b"other", noreply=False)
    value, other = client.gets("text")
    expect("gets after set", (value, other != unique), (b"other", True))
    expect("gets missing", client.gets("nothing"), (None, None))

    # Numbers.
    expect("incr missing", client.incr("number", 1, noreply=False), None)
    expect("decr missing", client.decr("number", 1, noreply=False), None)
    expect("set a number", client.set("number", "10", noreply=False), True)
    expect("incr", client.incr("number", 5), 15)
    expect("decr", client.decr("number", 4), 11)
    expect("get a number", client.get("number"), b"11")
    expect("decr below zero", client.decr("number", 100), 0)
    expect("set the largest", client.set("number", str(2**64 - 1), noreply=False), True)
    expect("incr wraps", client.incr("number", 2), 1)
    expect_error("incr of text", lambda: client.incr("text", 1), b"non-numeric value")

    # Several at once.
    many = {f"many{n}": f"value {n}".encode() for n in range(100)}
    expect("set_many", client.set_many(many, noreply=False), [])
    expect("get_many", client.get_many([*many, "nothing"]), many)
    got = client.gets_many(list(many))
    expect("gets_many", {key: value for key, (value, _) in got.items()}, many)
    expect("delete_many", client.delete_many(list(many)[:50], noreply=False), True)
    expect("get_many after it", client.get_many(list(many)), dict(list(many.items())[50:]))

    # The end of a value.
    expect("delete", client.delete("added", noreply=False), True)
    expect("delete again", client.delete("added", noreply=False), False)
    expect("touch", client.touch("text", expire=100, noreply=False), True)
    expect("touch missing", client.touch("nothing", expire=100, noreply=False), False)
    expect("touch into the past", client.touch("text", expire=-1, noreply=False), True)
    expect("get after it", client.get("text"), None)
    expect("set into the past", client.set("text", b"v", expire=-1, noreply=False), True)
    expect("get after that", client.get("text"), None)

    # Without an answer; the next answer is that of the next request.
    client.set("quiet", b"1", noreply=True)
    client.add("quiet", b"2", noreply=True)
    client.replace("quiet", b"7", noreply=True)
    client.incr("quiet", 3, noreply=True)
    client.decr("quiet", 1, noreply=True)
    client.touch("quiet", expire=100, noreply=True)
    # memcached leaves a blank where a number became shorter.
    expect("get after silence", client.get("quiet").rstrip(b" "), b"9")
    client.set_many({"quiet1": b"a", "quiet2": b"b"}, noreply=True)
    client.delete("quiet", noreply=True)
    client.delete_many(["quiet1"], noreply=True)
    left = client.get_many(["quiet", "quiet1", "quiet2"])
    expect("get_many after silence", left, {"quiet2": b"b"})

    # Values that are not bytes, known again by their flags.
    typed = connect(port, serde=serde.pickle_serde)
    for value in ["text", 7, {"a": [1, 2.5, None]}, b"bytes", "x" * 100_000]:
        expect("set typed", typed.set("typed", value, noreply=False), True)
        expect("get typed", typed.get("typed"), value)

    # The server.
    expect("version", client.version()[:1].isdigit(), True)
    figures = client.stats()
    expect("stats", figures[b"curr_connections"] >= 2 and figures[b"cmd_get"] > 0, True)
    expect("stats settings", b"maxconns" in client.stats("settings"), True)
    expect("flush_all", client.flush_all(noreply=False), True)
    expect("get after it", client.get_many(["value", "number", "many99"]), {})
    client.flush_all(noreply=True)
    expect("verbosity", client.raw_command("verbosity 1"), b"OK")
    client.quit()
    typed.close()


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r:.200}, wanted {wanted!r:.200}")


def expect_error(what, act, text):
    try:
        got = act()
    except MemcacheClientError as error:
        if text in error.args[0]:
            return
        got = error
    sys.exit(f"{what}: got {got!r}, wanted an error that says {text!r}")


if __name__ == "__main__":
    {"burst": burst, "commands": commands}[sys.argv[1]](int(sys.argv[2]))
